"""The calls over REST: TF Serving's JSON and what it answers."""

from __future__ import annotations

import base64
import json
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.client.target import Call, Shapes, Signature, Signatures, Target, VersionStatus
from serving.protocol.codes import Code

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


def predict(
    target: Target, signature: str, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]
) -> Call:
    """Asks for arrays by output name, in columnar format.

    Args:
      outputs: Those wanted; empty: all. One alone is not named in the answer, so name it.
    """
    values = {name: _values(array) for name, array in inputs.items()}
    body = json.dumps({"signature_name": signature, "inputs": values})

    def read(answer: bytes) -> dict[str, np.ndarray]:
        values = json.loads(answer)["outputs"]
        if not isinstance(values, dict) or values.keys() == {"b64"}:
            values = dict.fromkeys(outputs, values)
        return {name: _array(values[name]) for name in outputs or values}

    return Call(f"POST {_path(target)}:predict", body.encode(), read, signature)


def status(target: Target) -> Call:
    """Asks for a list of VersionStatus, the newest version first."""

    def read(answer: bytes) -> list[VersionStatus]:
        versions = [
            VersionStatus(
                int(entry["version"]),
                entry["state"],
                entry.get("status", {}).get("error_message", ""),
            )
            for entry in json.loads(answer)["model_version_status"]
        ]
        return sorted(versions, key=lambda status: -status.version)

    return Call(f"GET {_path(target)}", b"", read)


def signatures(target: Target) -> Call:
    """Asks for the shapes of inputs and outputs."""

    def read(answer: bytes) -> Signatures:
        found = json.loads(answer)["metadata"]["signature_def"]["signature_def"]
        return {
            name: Signature(_shapes(entry["inputs"]), _shapes(entry["outputs"]))
            for name, entry in found.items()
        }

    return Call(f"GET {_path(target)}/metadata", b"", read)


def _shapes(tensors: Mapping[str, Any]) -> Shapes:
    return {
        name: tuple(int(dim["size"]) for dim in info["tensor_shape"].get("dim", []))
        for name, info in tensors.items()
    }


def _path(target: Target) -> str:
    """`/v1/models/NAME` with its version or label."""
    path = f"/v1/models/{urllib.parse.quote(target.model, safe='')}"
    if isinstance(target.version, str):
        return f"{path}/labels/{urllib.parse.quote(target.version, safe='')}"
    return path if target.version is None else f"{path}/versions/{target.version}"


def _values(array: np.ndarray) -> Any:
    if array.dtype.hasobject:
        return [{"b64": base64.b64encode(value).decode()} for value in array.tolist()]
    return array.tolist()


def _array(values: Any) -> np.ndarray:
    if isinstance(values, list) and values and isinstance(values[0], dict):
        array = np.empty(len(values), object)
        array[:] = [base64.b64decode(value["b64"]) for value in values]
        return array
    return np.array(values)
