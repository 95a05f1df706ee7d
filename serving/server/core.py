"""What both front ends do with a request; neither knows of the other.

The front ends turn their wire format into TF Serving's messages or arrays and call this.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from tensorflow.core.protobuf import config_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)
from tensorflow_serving.config import model_server_config_pb2

from components.base.errors import UsageError
from serving.calls import inference, warmup
from serving.calls.batching import BatchingParameters, BatchingRunner, DirectRunner, Runner
from serving.models.manager import ModelManager, single_model_config
from serving.models.servable import DEFAULT_SIGNATURE, Servable
from serving.protocol import messages
from serving.protocol.codes import Code, StatusError, from_exception, invalid_argument
from serving.protocol.metrics import Metrics
from serving.server.options import ServerOptions, read_text_proto

_RELOAD_SECONDS = 300.0


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
            max_num_load_retries=options.max_num_load_retries,
            load_retry_interval=options.load_retry_interval_micros / 1e6,
            allow_labels_for_unavailable=options.allow_version_labels_for_unavailable_models,
            force_allow_labels_for_unavailable=(
                options.force_allow_any_version_labels_for_unavailable_models
            ),
        )
        self._session_config = _session_config(options)
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

    def _load_servable(self, name: str, version: int, path: pathlib.Path) -> Servable:
        tags = self.options.saved_model_tags.split(",")
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
        self.manager.stop()

    # Inference.

    async def predict(
        self, request: predict_pb2.PredictRequest, entrypoint: str
    ) -> predict_pb2.PredictResponse:
        """PredictionService.Predict.

        Raises:
          StatusError: as TF Serving answers.
        """
        _require_spec(request)
        with self._counted(request.model_spec.name, "Predict", entrypoint):
            with self.manager.use(request.model_spec) as servable:
                invocation = inference.prepare_predict(
                    servable, request, self.options.enable_signature_method_name_check
                )
                outputs = await self._runner.submit(invocation)
            return inference.finish_predict(
                invocation, outputs, self.options.enable_serialization_as_tensor_content
            )

    async def predict_arrays(
        self,
        spec: model_pb2.ModelSpec,
        make_arrays: Callable[[Any], Mapping[str, np.ndarray]],
        entrypoint: str,
    ) -> dict[str, np.ndarray]:
        """Predict for a front end that has arrays rather than a PredictRequest.

        Args:
          spec: Which model, version and signature.
          make_arrays: From the signature's inputs (TensorInfo by name) to arrays by name.
          entrypoint: For the metrics.

        Returns:
          Arrays by output name.

        Raises:
          StatusError: as TF Serving answers.
        """
        with self._counted(spec.name, "Predict", entrypoint):
            with self.manager.use(spec) as servable:
                name = spec.signature_name or DEFAULT_SIGNATURE
                signature = servable.signatures.get(name)
                if signature is None:
                    raise invalid_argument(
                        f'Serving signature name: "{name}" not found in signature def'
                    )
                arrays = make_arrays(signature.inputs)
                invocation = inference.prepare_arrays(
                    servable,
                    name,
                    arrays,
                    check_method_name=self.options.enable_signature_method_name_check,
                )
                outputs = await self._runner.submit(invocation)
            return dict(zip(invocation.aliases, outputs, strict=True))

    async def classify(
        self, request: classification_pb2.ClassificationRequest, entrypoint: str
    ) -> classification_pb2.ClassificationResponse:
        """PredictionService.Classify; errors as `predict`."""
        return await self._examples(request, inference.CLASSIFY_METHOD, "Classify", entrypoint)

    async def regress(
        self, request: regression_pb2.RegressionRequest, entrypoint: str
    ) -> regression_pb2.RegressionResponse:
        """PredictionService.Regress; errors as `predict`."""
        return await self._examples(request, inference.REGRESS_METHOD, "Regress", entrypoint)

    async def _examples(self, request: Any, method: str, api: str, entrypoint: str) -> Any:
        _require_spec(request)
        with self._counted(request.model_spec.name, api, entrypoint):
            with self.manager.use(request.model_spec) as servable:
                invocation = inference.prepare_examples(
                    servable, request, method, self.options.enable_signature_method_name_check
                )
                self.metrics.examples(servable.name, invocation.examples)
                outputs = await self._runner.submit(invocation)
            return inference.finish_examples(invocation, outputs, method)

    async def multi_inference(
        self, request: inference_pb2.MultiInferenceRequest, entrypoint: str
    ) -> inference_pb2.MultiInferenceResponse:
        """PredictionService.MultiInference; errors as `predict`."""
        if not request.tasks:
            raise invalid_argument("Inference request contains no tasks.")
        spec = request.tasks[0].model_spec
        with self._counted(spec.name, "MultiInference", entrypoint):
            with self.manager.use(spec) as servable:
                invocation = inference.prepare_multi(
                    servable, request, self.options.enable_signature_method_name_check
                )
                self.metrics.examples(servable.name, invocation.examples)
                outputs = await self._runner.submit(invocation)
            return inference.finish_multi(invocation, outputs, request)

    @contextlib.contextmanager
    def _counted(self, model: str, api: str, entrypoint: str) -> Iterator[None]:
        start = time.perf_counter()
        code = Code.OK
        try:
            yield
        except asyncio.CancelledError:
            code = Code.CANCELLED  # gone, or out of time: the front end knows which
            raise
        except Exception as error:
            status = from_exception(error)
            code = status.code
            raise status from error
        finally:
            if model in self.manager.names():
                self.metrics.request(model, api, entrypoint, code, time.perf_counter() - start)

    # Models.

    def model_metadata(
        self, request: get_model_metadata_pb2.GetModelMetadataRequest
    ) -> get_model_metadata_pb2.GetModelMetadataResponse:
        """PredictionService.GetModelMetadata; errors as `predict`."""
        _require_spec(request)
        with self.manager.use(request.model_spec) as servable:
            return inference.model_metadata(servable, request.metadata_field)

    def model_status(
        self, request: get_model_status_pb2.GetModelStatusRequest
    ) -> get_model_status_pb2.GetModelStatusResponse:
        """ModelService.GetModelStatus; errors as `predict`."""
        _require_spec(request)
        return self.manager.status(request.model_spec)

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
        await asyncio.to_thread(self.manager.reload, request.config, _RELOAD_SECONDS)
        return model_management_pb2.ReloadConfigResponse()


def _require_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")


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
