"""Connections to a server: gRPC and REST, each blocking and asynchronous."""

from __future__ import annotations

import json
import pathlib
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from serving.client import transport
from serving.client.transport import Shapes, Target, Tls, VersionStatus
from serving.protocol import messages
from serving.protocol.codes import Code

if TYPE_CHECKING:
    import httpx

_SERVICE = "/tensorflow.serving"
_METHODS: dict[str, tuple[str, Any, Any]] = {
    "predict": (
        f"{_SERVICE}.PredictionService/Predict",
        messages.PredictRequest,
        messages.PredictResponse,
    ),
    "metadata": (
        f"{_SERVICE}.PredictionService/GetModelMetadata",
        messages.GetModelMetadataRequest,
        messages.GetModelMetadataResponse,
    ),
    "status": (
        f"{_SERVICE}.ModelService/GetModelStatus",
        messages.GetModelStatusRequest,
        messages.GetModelStatusResponse,
    ),
}
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # The client retries, and says when; the channel must be ready to try again by then.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


class Connection(Protocol):
    """A blocking connection; errors are ClientErrors."""

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...],
        timeout: float,
    ) -> dict[str, np.ndarray]: ...

    def status(self, timeout: float) -> list[VersionStatus]: ...

    def shapes(self, timeout: float) -> Shapes: ...

    def close(self) -> None: ...


class AsyncConnection(Protocol):
    """An asynchronous connection; errors are ClientErrors."""

    async def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...],
        timeout: float,
    ) -> dict[str, np.ndarray]: ...

    async def status(self, timeout: float) -> list[VersionStatus]: ...

    async def shapes(self, timeout: float) -> Shapes: ...

    async def close(self) -> None: ...


def connect(target: Target, tls: Tls) -> Connection:
    """A blocking connection to a target."""
    return _Rest(target, tls) if target.is_rest else _Grpc(target, tls)


def connect_async(target: Target, tls: Tls) -> AsyncConnection:
    """An asynchronous connection to a target."""
    return _AsyncRest(target, tls) if target.is_rest else _AsyncGrpc(target, tls)


def _read(path: pathlib.Path | str | None) -> bytes | None:
    return None if path is None else pathlib.Path(path).read_bytes()


def _channel(module: Any, target: Target, tls: Tls) -> Any:
    if target.scheme == "grpc":
        return module.insecure_channel(target.address, options=_CHANNEL_OPTIONS)
    import grpc

    credentials = grpc.ssl_channel_credentials(
        _read(tls.root_certificates), _read(tls.key), _read(tls.certificate)
    )
    return module.secure_channel(target.address, credentials, options=_CHANNEL_OPTIONS)


def _calls(channel: Any) -> dict[str, Any]:
    return {
        name: channel.unary_unary(method, request.SerializeToString, response.FromString)
        for name, (method, request, response) in _METHODS.items()
    }


def _grpc_error(target: Target, error: Any, signature: str) -> Exception:
    return target.error(Code(error.code().value[0]), error.details() or "", signature)


class _Grpc:
    def __init__(self, target: Target, tls: Tls) -> None:
        import grpc

        self._target = target
        self._error = grpc.RpcError
        self._channel = _channel(grpc, target, tls)
        self._calls = _calls(self._channel)

    def _call(self, name: str, request: Any, timeout: float, signature: str = "") -> Any:
        try:
            return self._calls[name](request, timeout=timeout)
        except self._error as error:
            raise _grpc_error(self._target, error, signature) from error

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        request = transport.predict_message(self._target, signature, inputs, outputs)
        return transport.predict_result(self._call("predict", request, timeout, signature))

    def status(self, timeout: float) -> list[VersionStatus]:
        request = transport.status_message(self._target)
        return transport.status_result(self._call("status", request, timeout))

    def shapes(self, timeout: float) -> Shapes:
        request = transport.metadata_message(self._target)
        return transport.metadata_result(self._call("metadata", request, timeout))

    def close(self) -> None:
        self._channel.close()


class _AsyncGrpc:
    def __init__(self, target: Target, tls: Tls) -> None:
        import grpc

        self._target = target
        self._error = grpc.RpcError
        self._channel = _channel(grpc.aio, target, tls)
        self._calls = _calls(self._channel)

    async def _call(self, name: str, request: Any, timeout: float, signature: str = "") -> Any:
        try:
            return await self._calls[name](request, timeout=timeout)
        except self._error as error:
            raise _grpc_error(self._target, error, signature) from error

    async def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        request = transport.predict_message(self._target, signature, inputs, outputs)
        return transport.predict_result(await self._call("predict", request, timeout, signature))

    async def status(self, timeout: float) -> list[VersionStatus]:
        request = transport.status_message(self._target)
        return transport.status_result(await self._call("status", request, timeout))

    async def shapes(self, timeout: float) -> Shapes:
        request = transport.metadata_message(self._target)
        return transport.metadata_result(await self._call("metadata", request, timeout))

    async def close(self) -> None:
        await self._channel.close()


def _http_options(target: Target, tls: Tls) -> dict[str, Any]:
    options: dict[str, Any] = {"base_url": target.base_url, "trust_env": False}
    if target.scheme == "https":
        root = None if tls.root_certificates is None else str(tls.root_certificates)
        context = ssl.create_default_context(cafile=root)
        if tls.certificate is not None:
            context.load_cert_chain(str(tls.certificate), tls.key and str(tls.key))
        options["verify"] = context
    return options


def _http_module() -> Any:
    try:
        import httpx
    except ImportError as error:
        message = "REST needs httpx: pip install 'denoise-pipeline[client]'"
        raise ModuleNotFoundError(message, name="httpx") from error
    return httpx


def _http_result(target: Target, response: httpx.Response, signature: str) -> Any:
    try:
        answer = json.loads(response.content)
    except ValueError:
        answer = {"error": response.text[:200]}
    if response.is_success:
        return answer
    message = answer.get("error", "") if isinstance(answer, dict) else str(answer)[:200]
    code = transport.code_of_http(response.status_code)
    raise target.error(code, message or f"HTTP status {response.status_code}", signature)


def _http_error(target: Target, error: Exception, signature: str) -> Exception:
    httpx = _http_module()
    if isinstance(error, httpx.TimeoutException):
        return target.error(Code.DEADLINE_EXCEEDED, "no answer in time", signature)
    return target.error(Code.UNAVAILABLE, f"{target.base_url}: {error}", signature)


_Decode = Callable[[Any], Any]


class _Rest:
    def __init__(self, target: Target, tls: Tls) -> None:
        httpx = _http_module()
        self._target = target
        self._error = httpx.HTTPError
        self._client = httpx.Client(**_http_options(target, tls))

    def _ask(self, method: str, path: str, timeout: float, signature: str = "", **body: Any) -> Any:
        try:
            response = self._client.request(method, path, timeout=timeout, **body)
        except self._error as error:
            raise _http_error(self._target, error, signature) from error
        return _http_result(self._target, response, signature)

    def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        path = transport.model_path(self._target) + ":predict"
        body = json.dumps(transport.predict_json(signature, inputs))
        answer = self._ask("POST", path, timeout, signature, content=body)
        return transport.predict_json_result(answer, outputs)

    def status(self, timeout: float) -> list[VersionStatus]:
        return transport.status_json_result(
            self._ask("GET", transport.model_path(self._target), timeout)
        )

    def shapes(self, timeout: float) -> Shapes:
        path = transport.model_path(self._target) + "/metadata"
        return transport.metadata_json_result(self._ask("GET", path, timeout))

    def close(self) -> None:
        self._client.close()


class _AsyncRest:
    def __init__(self, target: Target, tls: Tls) -> None:
        httpx = _http_module()
        self._target = target
        self._error = httpx.HTTPError
        self._client = httpx.AsyncClient(**_http_options(target, tls))

    async def _ask(
        self, method: str, path: str, timeout: float, signature: str = "", **body: Any
    ) -> Any:
        try:
            response = await self._client.request(method, path, timeout=timeout, **body)
        except self._error as error:
            raise _http_error(self._target, error, signature) from error
        return _http_result(self._target, response, signature)

    async def predict(
        self,
        signature: str,
        inputs: Mapping[str, np.ndarray],
        outputs: tuple[str, ...],
        timeout: float,
    ) -> dict[str, np.ndarray]:
        path = transport.model_path(self._target) + ":predict"
        body = json.dumps(transport.predict_json(signature, inputs))
        answer = await self._ask("POST", path, timeout, signature, content=body)
        return transport.predict_json_result(answer, outputs)

    async def status(self, timeout: float) -> list[VersionStatus]:
        return transport.status_json_result(
            await self._ask("GET", transport.model_path(self._target), timeout)
        )

    async def shapes(self, timeout: float) -> Shapes:
        path = transport.model_path(self._target) + "/metadata"
        return transport.metadata_json_result(await self._ask("GET", path, timeout))

    async def close(self) -> None:
        await self._client.aclose()
