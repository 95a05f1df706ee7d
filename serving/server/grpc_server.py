"""The gRPC front end: PredictionService, ModelService, health and reflection.

Services as in tensorflow_serving/apis/prediction_service.proto and model_service.proto.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    predict_pb2,
    regression_pb2,
)

from components.base.errors import UsageError
from serving.protocol import messages
from serving.protocol.codes import Code, from_exception
from serving.server import profiler
from serving.server.core import Core
from serving.server.options import ServerOptions, read_text_proto
from serving.server.reception import Reception

_log = logging.getLogger(__name__)
_ENTRYPOINT = "GRPC"
_MAX_CALLS = 100_000
_CALLS_FOR_EACH_SLOT = 4
"""So that overload is told by those who compute (RESOURCE_EXHAUSTED, UNAVAILABLE), while status
and health are answered."""
_STATUS_CODES = {code.value[0]: code for code in grpc.StatusCode}


def _describe(name: str, file_name: str, messages_of: dict[str, str], *dependencies: Any) -> str:
    """Makes a service known to reflection and returns its full name.

    tensorflow-serving-api's own *_service_pb2 modules are old generated code, which protobuf 4
    and newer refuse to import; this adds the very same file to the pool.

    Args:
      name: The service's.
      file_name: The file in tensorflow_serving/apis that defines it.
      messages_of: By method, what its messages' names begin with.
      *dependencies: Modules of the messages.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"tensorflow_serving/apis/{file_name}",
        package="tensorflow.serving",
        dependency=[module.DESCRIPTOR.name for module in dependencies],
        syntax="proto3",
    )
    file.options.cc_enable_arenas = True
    service = file.service.add(name=name)
    for method, message in messages_of.items():
        service.method.add(
            name=method,
            input_type=f".{file.package}.{message}Request",
            output_type=f".{file.package}.{message}Response",
        )
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
    return f"{file.package}.{name}"


_SERVICES = (
    _describe(
        "PredictionService",
        "prediction_service.proto",
        {
            "Classify": "Classification",
            "Regress": "Regression",
            "Predict": "Predict",
            "MultiInference": "MultiInference",
            "GetModelMetadata": "GetModelMetadata",
        },
        classification_pb2,
        get_model_metadata_pb2,
        inference_pb2,
        predict_pb2,
        regression_pb2,
    ),
    _describe(
        "ModelService",
        "model_service.proto",
        {
            "GetModelStatus": "GetModelStatus",
            "HandleReloadConfigRequest": "ReloadConfig",
        },
        get_model_status_pb2,
        model_management_pb2,
    ),
)


async def _answer(context: grpc.aio.ServicerContext, answer: Awaitable[Any]) -> Any:
    try:
        return await answer
    except Exception as error:
        # The status itself is not kept: its traceback leads to this frame, and both to the
        # request's arrays, which then only the cyclic collector would free.
        code, message = _described(error)
    await context.abort(code, message)


def _described(error: Exception) -> tuple[grpc.StatusCode, str]:
    status = from_exception(error)
    if status.code == Code.INTERNAL:
        _log.error("a request failed", exc_info=error)
    return _STATUS_CODES[status.code], status.message


async def _immediately(call: Callable[[Any], Any], request: Any) -> Any:
    return call(request)


def _handlers(core: Core) -> dict[str, dict[str, Any]]:
    """The methods by service. Prediction requests stay bytes: they are read as far as they are
    right, and not on the event loop if they are large (serving.calls.proto_requests)."""

    reception = Reception(core.options.max_pending_bytes // core.options.max_message_bytes)

    def of_bytes(call: Callable[[bytes, str], Awaitable[Any]]) -> Any:
        async def handle(_: Any, context: grpc.aio.ServicerContext) -> bytes:
            message = await reception.read(context)
            response = await _answer(context, call(message, _ENTRYPOINT))
            return response if isinstance(response, bytes) else response.SerializeToString()

        # A stream of one message is the same on the wire, but is not received unasked.
        return grpc.stream_unary_rpc_method_handler(handle)

    def of_messages(kind: Any, call: Callable[[Any], Awaitable[Any]]) -> Any:
        async def handle(request: Any, context: grpc.aio.ServicerContext) -> Any:
            return await _answer(context, call(request))

        return grpc.unary_unary_rpc_method_handler(
            handle, kind.FromString, lambda response: response.SerializeToString()
        )

    def metadata(request: Any) -> Awaitable[Any]:
        return _immediately(core.model_metadata, request)

    def status(request: Any) -> Awaitable[Any]:
        return _immediately(core.model_status, request)

    services = {
        "tensorflow.serving.PredictionService": {
            "Predict": of_bytes(core.predict),
            "Classify": of_bytes(core.classify),
            "Regress": of_bytes(core.regress),
            "MultiInference": of_bytes(core.multi_inference),
            "GetModelMetadata": of_messages(
                get_model_metadata_pb2.GetModelMetadataRequest, metadata
            ),
        },
        "tensorflow.serving.ModelService": {
            "GetModelStatus": of_messages(get_model_status_pb2.GetModelStatusRequest, status),
            "HandleReloadConfigRequest": of_messages(
                model_management_pb2.ReloadConfigRequest, core.reload_config
            ),
        },
    }
    if core.options.enable_profiler:
        services[profiler.SERVICE] = {"Profile": of_bytes(profiler.Profiler().profile)}
    return services


def server_credentials(options: ServerOptions) -> grpc.ServerCredentials | None:
    """TLS, mutual if client_verify is set (BuildServerCredentialsFromSSLConfigFile in
    tensorflow_serving/model_servers/server.cc); None without an ssl_config_file.

    Raises:
      UsageError: the file is not an SSLConfig with a key and a certificate.
    """
    if options.ssl_config_file is None:
        return None
    config = read_text_proto(options.ssl_config_file, messages.SSLConfig())
    if not config.server_key or not config.server_cert:
        raise UsageError(
            f"--ssl_config_file {options.ssl_config_file}: expected server_key and server_cert, "
            "each the text of a PEM file."
        )
    if config.client_verify and not config.custom_ca:
        raise UsageError(
            f"--ssl_config_file {options.ssl_config_file}: client_verify needs custom_ca, the "
            "authority that signs the clients' certificates."
        )
    return grpc.ssl_server_credentials(
        [(config.server_key.encode(), config.server_cert.encode())],
        config.custom_ca.encode() or None,
        config.client_verify,
    )


class GrpcServer:
    """The gRPC port."""

    def __init__(self, core: Core) -> None:
        """Not listening yet; needs a running event loop."""
        options = core.options
        self._options = options
        idle = int(options.connection_idle_seconds * 1000)
        self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", options.max_message_bytes),
                ("grpc.max_send_message_length", 2**31 - 1),
                # A port in use must be an error, not shared with whoever has it.
                ("grpc.so_reuseport", 0),
                # A connection that never becomes one, has no calls, or whose client has gone.
                ("grpc.server_handshake_timeout_ms", idle),
                ("grpc.max_connection_idle_ms", idle),
                ("grpc.keepalive_time_ms", idle),
                ("grpc.keepalive_timeout_ms", 20_000),
                # Beyond these gRPC itself would answer CANCELLED.
                ("grpc.server.max_pending_requests", _MAX_CALLS),
                ("grpc.server.max_pending_requests_hard_limit", _MAX_CALLS),
                *options.channel_arguments,
            ],
            maximum_concurrent_rpcs=_CALLS_FOR_EACH_SLOT * options.max_pending_requests,
        )
        for service, methods in _handlers(core).items():
            handler = grpc.method_handlers_generic_handler(service, methods)
            self._server.add_generic_rpc_handlers((handler,))
        names = [*_SERVICES, reflection.SERVICE_NAME]
        self._health: Any = None
        if options.enable_grpc_healthcheck_service:
            self._health = health.aio.HealthServicer()
            health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
            names.append(health.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self) -> int:
        """Listens.

        Returns:
          The port.

        Raises:
          UsageError: the address is in use, or the TLS files are wrong.
        """
        options = self._options
        credentials = server_credentials(options)
        host = f"[{options.host}]" if ":" in options.host else options.host
        try:
            address = f"{host}:{options.port}"
            if credentials is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, credentials)
            if options.grpc_socket_path is not None:
                address = f"unix:{options.grpc_socket_path.absolute()}"
                self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise UsageError(f"gRPC cannot listen on {address}; is it in use?") from error
        await self._set_health(health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        return port

    async def _set_health(self, status: Any) -> None:
        if self._health is not None:
            for service in ("", *_SERVICES):
                await self._health.set(service, status)

    async def stop(self, grace: float) -> None:
        """Refuses new calls and gives those in progress `grace` seconds."""
        await self._set_health(health_pb2.HealthCheckResponse.NOT_SERVING)
        await self._server.stop(grace)
