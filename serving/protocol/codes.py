"""Status codes of both front ends and how they map to HTTP."""

from __future__ import annotations

import enum
import http


class Code(enum.IntEnum):
    """google.rpc.Code, as gRPC and TensorFlow number it."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16


HTTP_STATUS: dict[Code, int] = {
    Code.OK: http.HTTPStatus.OK,
    Code.CANCELLED: 499,
    Code.UNKNOWN: http.HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.INVALID_ARGUMENT: http.HTTPStatus.BAD_REQUEST,
    Code.DEADLINE_EXCEEDED: http.HTTPStatus.GATEWAY_TIMEOUT,
    Code.NOT_FOUND: http.HTTPStatus.NOT_FOUND,
    Code.ALREADY_EXISTS: http.HTTPStatus.CONFLICT,
    Code.PERMISSION_DENIED: http.HTTPStatus.FORBIDDEN,
    Code.RESOURCE_EXHAUSTED: http.HTTPStatus.TOO_MANY_REQUESTS,
    Code.FAILED_PRECONDITION: http.HTTPStatus.BAD_REQUEST,
    Code.ABORTED: http.HTTPStatus.CONFLICT,
    Code.OUT_OF_RANGE: http.HTTPStatus.BAD_REQUEST,
    Code.UNIMPLEMENTED: http.HTTPStatus.NOT_IMPLEMENTED,
    Code.INTERNAL: http.HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAVAILABLE: http.HTTPStatus.SERVICE_UNAVAILABLE,
    Code.DATA_LOSS: http.HTTPStatus.INTERNAL_SERVER_ERROR,
    Code.UNAUTHENTICATED: http.HTTPStatus.UNAUTHORIZED,
}
"""ToHTTPStatusCode in tensorflow_serving/model_servers/http_server.cc."""

_MAX_MESSAGE = 6144
"""Bytes of a message in a gRPC trailer, in which each byte that is not ASCII takes three: a
trailer of more than 8 KiB drops the call."""


class StatusError(Exception):
    """A request failed with a status code; the front end turns it into an answer."""

    def __init__(self, code: Code, message: str) -> None:
        # A lone surrogate, which JSON can spell, is no text that can be sent.
        message = message[:_MAX_MESSAGE].encode("utf-8", "replace").decode()
        if not message.isascii():
            message = message[: _MAX_MESSAGE // 12]
        super().__init__(message)
        self.code = code

    @property
    def message(self) -> str:
        """What the client is told."""
        return str(self.args[0])


def invalid_argument(message: str) -> StatusError:
    """The request itself is wrong."""
    return StatusError(Code.INVALID_ARGUMENT, message)


def from_exception(error: BaseException) -> StatusError:
    """Any error of a request as a status: TensorFlow's keep their code, others are INTERNAL."""
    if isinstance(error, StatusError):
        return error
    code = getattr(error, "error_code", None)
    if isinstance(code, int) and 0 < code <= max(Code):
        return StatusError(Code(code), str(getattr(error, "message", error)))
    return StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}")
