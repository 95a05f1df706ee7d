"""What both front ends do with a request; neither knows of the other.

The front ends turn their wire format into TF Serving's messages or arrays and call this.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import os
import pathlib
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from components.base.errors import UsageError
from serving.calls import inference, warmup
from serving.calls.batching import BatchingParameters, BatchingRunner, DirectRunner, Runner
from serving.calls.limits import Limits
from serving.calls.proto_requests import (
    ExamplesRequest,
    MultiInferenceRequest,
    PredictRequest,
)
from serving.models.manager import ModelManager, single_model_config
from serving.models.servable import Loaded, Servable, return_memory
from serving.models.tflite import FILE as TFLITE_FILE
from serving.models.tflite import TfliteServable
from serving.protocol import messages
from serving.protocol.codes import Code, StatusError, from_exception, invalid_argument
from serving.protocol.metrics import Metrics
from serving.server.options import ServerOptions, read_text_proto

_RELOAD_SECONDS = 300.0
_SMALL = 32 * 1024
"""Bytes that are read or written on the event loop: a few images."""
_LARGE = 2**20
_RETURN_SECONDS = 5.0
"""After a request of more than `_LARGE` bytes, the memory that was taken for such goes back to
the system."""
_RESULT_BYTES = 512
"""An example's classes or value take as long to write as so many bytes."""
_T = TypeVar("_T")


class Core:
    """The models and how they are asked. One event loop uses it."""

    def __init__(self, options: ServerOptions) -> None:
        """Starts no model; see `load`.

        Raises:
          UsageError: a file the options name is wrong.
        """
        self.options = options
        self.metrics = Metrics()
        self.manager = ModelManager(
            self._load_servable,
            self.metrics,
            poll_wait_seconds=options.file_system_poll_wait_seconds,
            alternative=TFLITE_FILE if options.prefer_tflite_model else None,
            max_num_load_retries=options.max_num_load_retries,
            load_retry_interval=options.load_retry_interval_micros / 1e6,
            allow_labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
            force_allow_labels_for_unavailable=(
                options.force_allow_any_version_labels_for_unavailable_models
            ),
        )
        self._session_config = _session_config(options)
        self.limits = Limits(options.max_request_rows, options.max_message_bytes)
        self._held = 0
        self._returning = False
        # One: what is large is read one after the other, beside the event loop.
        self._aside_pool = concurrent.futures.ThreadPoolExecutor(1, "serving-read")
        # Not asyncio's own threads: a reload may wait for minutes, also when nobody waits for it.
        self._reload_pool = concurrent.futures.ThreadPoolExecutor(4, "serving-reload")
        threads = options.grpc_max_threads or 4 * (os.cpu_count() or 1)
        self._alone = DirectRunner(threads, options.max_pending_requests, self.metrics)
        self._runner: Runner = self._alone
        if options.enable_batching:
            self._runner = BatchingRunner(_batching_parameters(options), self.metrics)

    def load(self) -> None:
        """Loads the models the options name. Blocks; models that fail are in the status.

        Raises:
          UsageError: the configuration is wrong.
        """
        try:
            self.manager.reload(self.configuration(), timeout=10)
        except StatusError as error:
            if error.code != Code.UNKNOWN:
                raise UsageError(error.message) from error
        self.manager.start()

    def configuration(self) -> Any:
        """The ModelServerConfig the options name.

        Raises:
          UsageError: the file is not one.
        """
        options = self.options
        if options.model_config_file is not None:
            return read_text_proto(
                options.model_config_file, model_server_config_pb2.ModelServerConfig()
            )
        assert options.model_base_path is not None
        return single_model_config(options.model_name, options.model_base_path.absolute())

    def _load_servable(self, name: str, version: int, path: pathlib.Path) -> Loaded:
        tags = self.options.saved_model_tags.split(",")
        servable: Loaded
        if self.options.prefer_tflite_model and (path / TFLITE_FILE).is_file():
            servable = TfliteServable(name, version, path)
        else:
            servable = Servable(name, version, path, tags, self._session_config)
        if self.options.enable_model_warmup:
            start = time.perf_counter()
            try:
                warmup.warm_up(servable, self.options.num_request_iterations_for_warmup)
            except Exception as error:
                status = from_exception(error)
                self.metrics.warmup(str(path), status.code, time.perf_counter() - start)
                servable.close()
                raise status from error
            self.metrics.warmup(str(path), Code.OK, time.perf_counter() - start)
        return servable

    def close(self) -> None:
        """Finishes what was accepted and unloads everything. Blocks."""
        self._runner.close()
        self._alone.close()
        self._aside_pool.shutdown()
        self.manager.stop()
        self._reload_pool.shutdown()

    # Inference.

    async def predict(self, message: bytes, entrypoint: str) -> bytes:
        """PredictionService.Predict, of a serialised PredictRequest.

        Returns:
          The serialised PredictResponse.

        Raises:
          StatusError: as TF Serving answers.
        """
        options = self.options
        with self.holding(len(message)):
            request = await self._aside(len(message), PredictRequest.read, message)
            spec = _required(request.spec)
            with self._counted(spec.name, "Predict", entrypoint):
                with self.manager.use(spec) as servable:
                    invocation = await self._aside(
                        len(message),
                        inference.prepare_predict,
                        servable,
                        request,
                        self.limits,
                        options.enable_signature_method_name_check,
                    )
                    outputs = await self._runner.submit(invocation)
                size = sum(np.asarray(output).nbytes for output in outputs)
                self._after(size)
                return await self._aside(
                    size,
                    inference.finish_predict,
                    invocation,
                    outputs,
                    options.enable_serialization_as_tensor_content,
                )

    async def predict_arrays(
        self,
        spec: model_pb2.ModelSpec,
        read: Callable[[Loaded], Awaitable[tuple[str, Mapping[str, np.ndarray]]]],
        entrypoint: str,
    ) -> dict[str, np.ndarray]:
        """Predict for a front end that has arrays rather than a PredictRequest.

        Args:
          spec: Which model and version.
          read: From the servable to the name of one of its signatures and arrays by input name.
          entrypoint: For the metrics.

        Returns:
          Arrays by output name.

        Raises:
          StatusError: as TF Serving answers.
        """
        with self._counted(spec.name, "Predict", entrypoint), self.manager.use(spec) as servable:
            name, arrays = await read(servable)
            invocation = inference.prepare_arrays(
                servable,
                name,
                arrays,
                self.limits,
                self.options.enable_signature_method_name_check,
            )
            outputs = await self._runner.submit(invocation)
            return dict(zip(invocation.aliases, outputs, strict=True))

    async def classify(
        self, message: bytes, entrypoint: str
    ) -> classification_pb2.ClassificationResponse:
        """PredictionService.Classify; as `predict`."""
        return await self._examples(message, inference.CLASSIFY_METHOD, "Classify", entrypoint)

    async def regress(self, message: bytes, entrypoint: str) -> regression_pb2.RegressionResponse:
        """PredictionService.Regress; as `predict`."""
        return await self._examples(message, inference.REGRESS_METHOD, "Regress", entrypoint)

    async def _examples(self, message: bytes, method: str, api: str, entrypoint: str) -> Any:
        with self.holding(len(message)):
            request = await self._aside(len(message), ExamplesRequest.read, message)

            async def read(_: Loaded) -> ExamplesRequest:
                return request

            return await self.examples(_required(request.spec), read, method, api, entrypoint)

    async def examples(
        self,
        spec: model_pb2.ModelSpec,
        read: Callable[[Loaded], Awaitable[ExamplesRequest]],
        method: str,
        api: str,
        entrypoint: str,
    ) -> Any:
        """Classify or Regress; `read` makes the request once the model is found to be there.

        Raises:
          StatusError: as TF Serving answers.
        """
        with self._counted(spec.name, api, entrypoint), self.manager.use(spec) as servable:
            request = await read(servable)
            invocation = await self._aside(
                request.input.bytes,
                inference.prepare_examples,
                servable,
                request,
                method,
                self.limits,
                self.options.enable_signature_method_name_check,
            )
            self.metrics.examples(servable.name, invocation.examples)
            outputs = await self._runner.submit(invocation)
            size = _RESULT_BYTES * invocation.examples
            return await self._aside(size, inference.finish_examples, invocation, outputs, method)

    async def multi_inference(
        self, message: bytes, entrypoint: str
    ) -> inference_pb2.MultiInferenceResponse:
        """PredictionService.MultiInference; as `predict`."""
        with self.holding(len(message)):
            request = await self._aside(len(message), MultiInferenceRequest.read, message)
            if not request.tasks:
                raise invalid_argument("Inference request contains no tasks.")
            spec = request.tasks[0].spec
            with (
                self._counted(spec.name, "MultiInference", entrypoint),
                self.manager.use(spec) as servable,
            ):
                invocation = await self._aside(
                    len(message),
                    inference.prepare_multi,
                    servable,
                    request,
                    self.limits,
                    self.options.enable_signature_method_name_check,
                )
                self.metrics.examples(servable.name, invocation.examples)
                outputs = await self._runner.submit(invocation)
                size = _RESULT_BYTES * invocation.examples
                return await self._aside(size, inference.finish_multi, invocation, outputs, request)

    async def _aside(self, size: int, call: Callable[..., _T], *arguments: Any) -> _T:
        """A call whose time goes with so many bytes: on a thread where that is more than a
        millisecond or two, for the event loop has other clients."""
        if size <= _SMALL:
            return call(*arguments)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._aside_pool, call, *arguments)

    @contextlib.contextmanager
    def holding(self, size: int = 0) -> Iterator[Callable[[int], None]]:
        """Counts the bytes of a request while it is worked on; yields what counts more of them.

        Raises:
          StatusError: RESOURCE_EXHAUSTED, there are too many with those of other requests.
        """
        held = 0

        def add(more: int) -> None:
            nonlocal held
            others = self._held - held
            if others and self._held + more > self.options.max_pending_bytes:
                # At once, not when the error has come through: clients that send in step would all
                # be refused for what the first of them still held.
                free()
                raise StatusError(
                    Code.RESOURCE_EXHAUSTED,
                    f"Requests of {others} bytes are being worked on, and no more than "
                    f"{self.options.max_pending_bytes} are taken (--max_pending_bytes)",
                )
            self._held += more
            held += more

        def free() -> None:
            nonlocal held
            self._held -= held
            self._after(held)
            held = 0

        try:
            add(size)
            yield add
        finally:
            free()

    def _after(self, size: int) -> None:
        """Returns the memory of a large request, some time after it and those beside it."""
        if size > _LARGE and not self._returning:
            self._returning = True
            asyncio.get_running_loop().call_later(_RETURN_SECONDS, self._return_memory)

    def _return_memory(self) -> None:
        self._returning = False
        with contextlib.suppress(RuntimeError):  # the server is ending
            self._aside_pool.submit(return_memory)

    @contextlib.contextmanager
    def _counted(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        start = time.perf_counter()
        code = Code.OK
        try:
            yield
        except asyncio.CancelledError:
            code = Code.CANCELLED  # gone, or out of time: the front end knows which
            raise
        except StatusError as error:
            code = error.code
            raise
        except Exception as error:
            code = from_exception(error).code
            raise from_exception(error) from error
        finally:
            if model in self.manager.names():
                self.metrics.request(model, api, entrypoint, code, time.perf_counter() - start)

    # Models.

    def model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """PredictionService.GetModelMetadata; errors as `predict`."""
        with self.manager.use(_spec_of(request)) as servable:
            return inference.model_metadata(servable, request.metadata_field)

    def model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """ModelService.GetModelStatus; errors as `predict`."""
        return self.manager.status(_spec_of(request))

    async def reload_config(
        self, request: model_management_pb2.ReloadConfigRequest
    ) -> model_management_pb2.ReloadConfigResponse:
        """ModelService.HandleReloadConfigRequest: the whole model set is replaced
        (tensorflow_serving/model_servers/model_service_impl.cc).

        Raises:
          StatusError: the configuration was refused, or a new model did not load.
        """
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only "
                "ModelConfigList is currently supported"
            )
        self._check_roots(request.config)
        await self.take(request.config, _RELOAD_SECONDS)
        return model_management_pb2.ReloadConfigResponse()

    async def take(self, config: Any, timeout: float | None = None) -> None:
        """As `ModelManager.reload`."""
        reload = functools.partial(self.manager.reload, config, timeout)
        await asyncio.get_running_loop().run_in_executor(self._reload_pool, reload)

    def _check_roots(self, config: Any) -> None:
        roots = [root.resolve() for root in self.options.model_roots]
        for model in config.model_config_list.config if roots else ():
            path = pathlib.Path(model.base_path).resolve()
            if not any(path.is_relative_to(root) for root in roots):
                raise StatusError(
                    Code.PERMISSION_DENIED,
                    f"The base_path {model.base_path} of model {model.name} is in none of the "
                    f"folders of --model_roots: {', '.join(map(str, roots))}",
                )


def _required(spec: model_pb2.ModelSpec | None) -> model_pb2.ModelSpec:
    if spec is None:
        raise invalid_argument("Missing ModelSpec")
    return spec


def _spec_of(request: Any) -> model_pb2.ModelSpec:
    return _required(request.model_spec if request.HasField("model_spec") else None)


def _session_config(options: ServerOptions) -> config_pb2.ConfigProto:
    both = options.tensorflow_session_parallelism
    config = config_pb2.ConfigProto(
        intra_op_parallelism_threads=options.tensorflow_intra_op_parallelism or both,
        inter_op_parallelism_threads=options.tensorflow_inter_op_parallelism or both,
    )
    config.gpu_options.allow_growth = True
    config.gpu_options.per_process_gpu_memory_fraction = options.per_process_gpu_memory_fraction
    return config


def _batching_parameters(options: ServerOptions) -> BatchingParameters:
    path = options.batching_parameters_file
    if path is None:
        return BatchingParameters.model_validate({})
    message = read_text_proto(path, messages.BatchingParameters())
    try:
        return BatchingParameters.from_message(message)
    except ValueError as error:
        raise UsageError(f"--batching_parameters_file {path}: {error}") from error
