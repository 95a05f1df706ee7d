"""Which server and model, and one question to it."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import urllib.parse
from collections.abc import Callable
from typing import Any, NamedTuple

from serving.client.errors import ClientError, error_class
from serving.protocol.codes import Code

_DEFAULT_PORTS = {"grpc": 8500, "grpcs": 8500, "http": 8501, "https": 8501}


class Call(NamedTuple):
    """One question on the wire, and how its answer is read."""

    method: str
    """gRPC: the method's path; REST: the verb and the path of the URL."""
    body: bytes
    read: Callable[[bytes], Any]
    signature: str = ""
    """For the text of an error."""


@dataclasses.dataclass(frozen=True)
class Tls:
    """Certificates for grpcs:// and https://, each the path of a PEM file.

    Attributes:
      root_certificates: The authority that signed the server's certificate; None: the
        system's.
      key: The client's key, for mutual TLS.
      certificate: The client's certificate, for mutual TLS.
    """

    root_certificates: pathlib.Path | str | None = None
    key: pathlib.Path | str | None = None
    certificate: pathlib.Path | str | None = None


@dataclasses.dataclass(frozen=True)
class Target:
    """Which server and model."""

    scheme: str
    address: str
    """host:port, or a socket's unix:/path."""
    base_url: str
    model: str
    version: int | str | None

    @classmethod
    def parse(cls, url: str, model: str, version: int | str | None) -> Target:
        """Reads a URL.

        Raises:
          ValueError: it is not grpc://, grpcs://, http://, https:// or unix:.
        """
        if url.startswith("unix:"):
            return cls("grpc", url, url, model, version)
        parts = urllib.parse.urlsplit(url if "://" in url else f"grpc://{url}")
        if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
            raise ValueError(
                f"{url!r}: expected grpc://host:8500 or http://host:8501, with TLS grpcs:// or "
                "https://, or unix:/path"
            )
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        address = f"{host}:{parts.port or _DEFAULT_PORTS[parts.scheme]}"
        base_url = f"{parts.scheme}://{address}{parts.path.rstrip('/')}"
        return cls(parts.scheme, address, base_url, model, version)

    @property
    def is_rest(self) -> bool:
        """Whether it is asked over REST."""
        return self.scheme.startswith("http")

    @property
    def is_loopback(self) -> bool:
        """Whether it is on this machine, where no proxy can be between."""
        host = urllib.parse.urlsplit(f"//{self.address}").hostname or ""
        if host == "localhost" or self.address.startswith("unix:"):
            return True
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def error(self, code: Code, message: str, signature: str = "") -> ClientError:
        """The error for a status, with what was asked."""
        return error_class(code)(message, code, self.model, self.version, signature)


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """State of one version of a model: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error: str = ""


Shapes = dict[str, tuple[int, ...]]
"""By name of an input or output; -1 for a size that is free, such as that of the batch."""


@dataclasses.dataclass(frozen=True)
class Signature:
    """What a signature takes and answers."""

    inputs: Shapes
    outputs: Shapes


Signatures = dict[str, Signature]
"""By name."""
