"""Connections to a server: gRPC and REST, each blocking and asynchronous. They only send."""

from __future__ import annotations

import asyncio
import json
import pathlib
import ssl
import time
from typing import TYPE_CHECKING, Any

from serving.client import rest_wire
from serving.client.target import Call, Target, Tls
from serving.protocol.codes import Code

if TYPE_CHECKING:
    import httpx

_LATE = (TimeoutError, asyncio.TimeoutError)
"""One and the same from Python 3.11 on."""
_CHANNEL_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # The client retries, and says when; the channel must be ready to try again by then.
    ("grpc.enable_retries", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2000),
]


def connect(target: Target, tls: Tls) -> Grpc | Rest:
    """A blocking connection; `send` raises ClientErrors."""
    return Rest(target, tls) if target.is_rest else Grpc(target, tls)


def connect_async(target: Target, tls: Tls) -> AsyncGrpc | AsyncRest:
    """An asynchronous connection; `send` raises ClientErrors."""
    return AsyncRest(target, tls) if target.is_rest else AsyncGrpc(target, tls)


def _read(path: pathlib.Path | str | None) -> bytes | None:
    return None if path is None else pathlib.Path(path).read_bytes()


def _channel(module: Any, target: Target, tls: Tls) -> Any:
    # gRPC takes http_proxy for addresses of this machine, too, which no proxy can reach.
    proxy = [("grpc.enable_http_proxy", 0)] if target.is_loopback else []
    options = [*_CHANNEL_OPTIONS, *proxy]
    if target.scheme == "grpc":
        return module.insecure_channel(target.address, options=options)
    import grpc

    credentials = grpc.ssl_channel_credentials(
        _read(tls.root_certificates), _read(tls.key), _read(tls.certificate)
    )
    return module.secure_channel(target.address, credentials, options=options)


def _grpc_error(target: Target, error: Any, signature: str) -> Exception:
    return target.error(Code(error.code().value[0]), error.details() or "", signature)


class Grpc:
    """A gRPC channel."""

    def __init__(self, target: Target, tls: Tls) -> None:
        import grpc

        self._target = target
        self._error = grpc.RpcError
        self._channel = _channel(grpc, target, tls)

    def send(self, call: Call, timeout: float) -> Any:
        try:
            answer = self._channel.unary_unary(call.method)(call.body, timeout=timeout)
        except self._error as error:
            raise _grpc_error(self._target, error, call.signature) from error
        return call.read(answer)

    def close(self) -> None:
        self._channel.close()


class AsyncGrpc:
    """A gRPC channel of asyncio."""

    def __init__(self, target: Target, tls: Tls) -> None:
        import grpc

        self._target = target
        self._error = grpc.RpcError
        self._channel = _channel(grpc.aio, target, tls)

    async def send(self, call: Call, timeout: float) -> Any:
        try:
            answer = await self._channel.unary_unary(call.method)(call.body, timeout=timeout)
        except self._error as error:
            raise _grpc_error(self._target, error, call.signature) from error
        return call.read(answer)

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


def _http_request(call: Call, timeout: float) -> dict[str, Any]:
    method, _, url = call.method.partition(" ")
    return {"method": method, "url": url, "content": call.body or None, "timeout": timeout}


def _http_result(target: Target, response: httpx.Response, content: bytes, call: Call) -> Any:
    if response.is_success:
        try:
            return call.read(content)
        except (ValueError, LookupError, TypeError) as error:
            text = f"{target.base_url}: not an answer of TF Serving: {_text(content)[:200]}"
            raise target.error(Code.UNKNOWN, text, call.signature) from error
    try:
        answer = json.loads(content)
    except ValueError:
        answer = _text(content)
    message = answer.get("error", "") if isinstance(answer, dict) else str(answer)[:200]
    code = rest_wire.code_of_http(response.status_code)
    raise target.error(code, message or f"HTTP status {response.status_code}", call.signature)


def _text(content: bytes) -> str:
    return content.decode("utf-8", "replace")


def _http_error(target: Target, error: Exception, signature: str) -> Exception:
    # httpx's own is of one read: a server that sends a little now and then never exceeds it.
    if isinstance(error, (_http_module().TimeoutException, *_LATE)):
        return target.error(Code.DEADLINE_EXCEEDED, "no answer in time", signature)
    return target.error(Code.UNAVAILABLE, f"{target.base_url}: {error}", signature)


class Rest:
    """An HTTP client."""

    def __init__(self, target: Target, tls: Tls) -> None:
        httpx = _http_module()
        self._target = target
        self._error = httpx.HTTPError
        self._client = httpx.Client(**_http_options(target, tls))

    def send(self, call: Call, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        parts = []
        try:
            with self._client.stream(**_http_request(call, timeout)) as response:
                for part in response.iter_bytes():
                    parts.append(part)
                    if time.monotonic() > deadline:
                        raise TimeoutError
        except (self._error, TimeoutError) as error:
            raise _http_error(self._target, error, call.signature) from error
        return _http_result(self._target, response, b"".join(parts), call)

    def close(self) -> None:
        self._client.close()


class AsyncRest:
    """An HTTP client of asyncio."""

    def __init__(self, target: Target, tls: Tls) -> None:
        httpx = _http_module()
        self._target = target
        self._error = httpx.HTTPError
        self._client = httpx.AsyncClient(**_http_options(target, tls))

    async def send(self, call: Call, timeout: float) -> Any:
        try:
            request = self._client.request(**_http_request(call, timeout))
            response = await asyncio.wait_for(request, timeout)
        except (self._error, *_LATE) as error:
            raise _http_error(self._target, error, call.signature) from error
        return _http_result(self._target, response, response.content, call)

    async def close(self) -> None:
        await self._client.aclose()
