"""Every error the client raises.

ClientError
├── InvalidRequestError   the server refused the input: its message says why
├── ModelNotFoundError    no such model, version or label is being served
├── UnavailableError      no connection, or the server is shutting down; was retried
├── OverloadedError       the server has too much to do, or the message is too large
├── DeadlineError         no answer in time
└── ServerError           the server failed
"""

from __future__ import annotations

from serving.protocol.codes import Code


class ClientError(Exception):
    """A request failed.

    Attributes:
      message: What the server, or the connection, said.
      code: The gRPC code; for REST the one that its HTTP status stands for.
      model: The model asked for.
      version: The version asked for: a number, a label, or None for the latest.
      signature: The signature asked for; empty for status and metadata.
    """

    def __init__(
        self,
        message: str,
        code: Code = Code.UNKNOWN,
        model: str = "",
        version: int | str | None = None,
        signature: str = "",
    ) -> None:
        super().__init__(message, code, model, version, signature)
        self.message = message
        self.code = code
        self.model = model
        self.version = version
        self.signature = signature

    def __str__(self) -> str:
        version = "latest" if self.version is None else self.version
        signature = f", signature {self.signature}" if self.signature else ""
        return (
            f"{self.message} [{self.code.name}; model {self.model}, version {version}{signature}]"
        )


class InvalidRequestError(ClientError):
    """The server refused the input."""


class ModelNotFoundError(ClientError):
    """No such model, version or label is being served."""


class UnavailableError(ClientError):
    """No connection, or the server is shutting down."""


class OverloadedError(ClientError):
    """The server has too much to do, or the message is too large."""


class DeadlineError(ClientError):
    """No answer in time."""


class ServerError(ClientError):
    """The server failed."""


_BY_CODE: dict[Code, type[ClientError]] = {
    Code.INVALID_ARGUMENT: InvalidRequestError,
    Code.FAILED_PRECONDITION: InvalidRequestError,
    Code.OUT_OF_RANGE: InvalidRequestError,
    Code.UNIMPLEMENTED: InvalidRequestError,
    Code.NOT_FOUND: ModelNotFoundError,
    Code.UNAVAILABLE: UnavailableError,
    Code.RESOURCE_EXHAUSTED: OverloadedError,
    Code.DEADLINE_EXCEEDED: DeadlineError,
}


def error_class(code: Code) -> type[ClientError]:
    """The class of error a code is raised as."""
    return _BY_CODE.get(code, ServerError)
