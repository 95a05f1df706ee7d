"""What goes over the wire, by gRPC or by REST."""

from __future__ import annotations

import dataclasses
import math
import pathlib
import random
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from serving.client.errors import ClientError, error_class
from serving.protocol import messages
from serving.protocol.codes import Code

# tensorflow.DataType of tensorflow/core/framework/types.proto, and the field values are in.
_DTYPES: dict[int, tuple[Any, str]] = {
    1: (np.float32, "float_val"),
    2: (np.float64, "double_val"),
    3: (np.int32, "int_val"),
    4: (np.uint8, "int_val"),
    5: (np.int16, "int_val"),
    6: (np.int8, "int_val"),
    7: (object, "string_val"),
    9: (np.int64, "int64_val"),
    10: (np.bool_, "bool_val"),
    17: (np.uint16, "int_val"),
    22: (np.uint32, "uint32_val"),
    23: (np.uint64, "uint64_val"),
}
_ENUMS = {np.dtype(dtype): enum for enum, (dtype, _) in _DTYPES.items()}
_DEFAULT_PORTS = {"grpc": 8500, "grpcs": 8500, "http": 8501, "https": 8501}
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0


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

    def error(self, code: Code, message: str, signature: str = "") -> ClientError:
        """The error for a status, with what was asked."""
        return error_class(code)(message, code, self.model, self.version, signature)


@dataclasses.dataclass(frozen=True)
class VersionStatus:
    """State of one version of a model: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error: str = ""


_STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}


def pauses() -> Iterator[float]:
    """Seconds before each retry: twice as long each time, at random below that so that
    clients which failed together do not come back together."""
    longest = _FIRST_PAUSE
    while True:
        yield random.uniform(0, longest)
        longest = min(2 * longest, _LONGEST_PAUSE)


# gRPC.


def _fill_spec(spec: Any, target: Target, signature: str = "") -> None:
    spec.name = target.model
    spec.signature_name = signature
    if isinstance(target.version, str):
        spec.version_label = target.version
    elif target.version is not None:
        spec.version.value = target.version


def predict_message(
    target: Target, signature: str, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]
) -> Any:
    """A PredictRequest.

    Raises:
      TypeError: an array is of a type that no tensor has.
    """
    request = messages.PredictRequest()
    _fill_spec(request.model_spec, target, signature)
    request.output_filter.extend(outputs)
    for name, array in inputs.items():
        tensor = request.inputs[name]
        if array.dtype not in _ENUMS:
            raise TypeError(f"{name}: {array.dtype} is not the type of a tensor")
        tensor.dtype = _ENUMS[array.dtype]
        tensor.tensor_shape.SetInParent()
        for size in array.shape:
            tensor.tensor_shape.dim.add().size = size
        if array.dtype.hasobject:
            tensor.string_val.extend(array.ravel().tolist())
        else:
            tensor.tensor_content = array.tobytes()
    return request


def array_from(tensor: Any) -> np.ndarray:
    """The values of a TensorProto.

    Raises:
      ValueError: it is not a tensor of a type this client knows.
    """
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"the answer is a tensor of type {tensor.dtype}")
    dtype, field = _DTYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = getattr(tensor, field)
    if field in ("float_val", "double_val"):
        array = np.frombuffer(values, np.dtype(dtype).newbyteorder("<"))
    elif dtype is object:
        array = np.empty(len(values), dtype)
        array[:] = list(values)
    else:
        array = np.fromiter(values, dtype, len(values))
    if len(array) == 1:
        return np.broadcast_to(array, math.prod(shape)).reshape(shape)
    return array.reshape(shape)


def predict_result(response: Any) -> dict[str, np.ndarray]:
    """Arrays by output name, of a PredictResponse."""
    return {name: array_from(tensor) for name, tensor in response.outputs.items()}


def status_message(target: Target) -> Any:
    """A GetModelStatusRequest."""
    request = messages.GetModelStatusRequest()
    _fill_spec(request.model_spec, target)
    return request


def status_result(response: Any) -> list[VersionStatus]:
    """Of a GetModelStatusResponse, the newest version first."""
    versions = [
        VersionStatus(
            entry.version, _STATES.get(entry.state, "UNKNOWN"), entry.status.error_message
        )
        for entry in response.model_version_status
    ]
    return sorted(versions, key=lambda status: -status.version)


def metadata_message(target: Target) -> Any:
    """A GetModelMetadataRequest."""
    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    _fill_spec(request.model_spec, target)
    return request


Shapes = dict[str, dict[str, tuple[int, ...]]]
"""Input shapes by signature and input name; -1 for the batch size."""


def metadata_result(response: Any) -> Shapes:
    """Of a GetModelMetadataResponse."""
    signatures = messages.SignatureDefMap.FromString(response.metadata["signature_def"].value)
    return {
        name: {
            alias: tuple(dim.size for dim in info.tensor_shape.dim)
            for alias, info in signature.inputs.items()
        }
        for name, signature in signatures.signature_def.items()
    }


# REST.

_CODES_BY_HTTP = {
    400: Code.INVALID_ARGUMENT,
    401: Code.UNAUTHENTICATED,
    403: Code.PERMISSION_DENIED,
    404: Code.NOT_FOUND,
    408: Code.DEADLINE_EXCEEDED,
    409: Code.ABORTED,
    413: Code.RESOURCE_EXHAUSTED,
    429: Code.RESOURCE_EXHAUSTED,
    501: Code.UNIMPLEMENTED,
    502: Code.UNAVAILABLE,
    503: Code.UNAVAILABLE,
    504: Code.DEADLINE_EXCEEDED,
}


def code_of_http(status: int) -> Code:
    """The gRPC code an HTTP status stands for."""
    return _CODES_BY_HTTP.get(status, Code.UNKNOWN)


def model_path(target: Target) -> str:
    """`/v1/models/NAME` with its version or label."""
    path = f"/v1/models/{urllib.parse.quote(target.model, safe='')}"
    if isinstance(target.version, str):
        return f"{path}/labels/{urllib.parse.quote(target.version, safe='')}"
    return path if target.version is None else f"{path}/versions/{target.version}"


def predict_json(signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """A predict request in columnar format."""
    return {
        "signature_name": signature,
        "inputs": {name: _json_values(array) for name, array in inputs.items()},
    }


def _json_values(array: np.ndarray) -> Any:
    import base64

    if array.dtype.hasobject:
        return [{"b64": base64.b64encode(value).decode()} for value in array.tolist()]
    return array.tolist()


def predict_json_result(
    answer: Mapping[str, Any], outputs: tuple[str, ...]
) -> dict[str, np.ndarray]:
    """Arrays by output name, of a columnar answer.

    Args:
      answer: The decoded JSON.
      outputs: The outputs wanted; one alone is not named in the answer.

    Raises:
      KeyError: an output is not in the answer.
    """
    import base64

    values = answer["outputs"]
    if not isinstance(values, dict) or values.keys() == {"b64"}:
        values = dict.fromkeys(outputs, values)
    arrays = {}
    for name in outputs or values:
        items = values[name]
        if isinstance(items, list) and items and isinstance(items[0], dict):
            array = np.empty(len(items), object)
            array[:] = [base64.b64decode(item["b64"]) for item in items]
        else:
            array = np.array(items)
        arrays[name] = array
    return arrays


def status_json_result(answer: Mapping[str, Any]) -> list[VersionStatus]:
    """Of a REST status."""
    versions = [
        VersionStatus(
            int(entry["version"]), entry["state"], entry.get("status", {}).get("error_message", "")
        )
        for entry in answer["model_version_status"]
    ]
    return sorted(versions, key=lambda status: -status.version)


def metadata_json_result(answer: Mapping[str, Any]) -> Shapes:
    """Of REST metadata."""
    signatures = answer["metadata"]["signature_def"]["signature_def"]
    return {
        name: {
            alias: tuple(int(dim["size"]) for dim in info["tensor_shape"].get("dim", []))
            for alias, info in signature["inputs"].items()
        }
        for name, signature in signatures.items()
    }
