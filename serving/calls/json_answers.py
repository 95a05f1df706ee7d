"""From arrays and TF Serving's messages to its JSON.

Semantics and messages are those of tensorflow_serving/util/json_tensor.cc.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import orjson
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, regression_pb2

from serving.calls.json_requests import Format
from serving.protocol.codes import Code, invalid_argument

_BYTES_SUFFIX = "_bytes"
_VALUES_AT_ONCE = 2**16
"""Of an answer that are written in one call, in which Python's lock is held."""


def predict_response(outputs: Mapping[str, np.ndarray], response_format: Format) -> bytes:
    """MakeJsonFromTensors.

    Args:
      outputs: Arrays by output name.
      response_format: The request's.

    Raises:
      StatusError: INVALID_ARGUMENT when the row format cannot hold them: an output without a
        batch dimension, or of another batch size than the others.
    """
    values = {name: _jsonable(name, np.asarray(outputs[name])) for name in sorted(outputs)}
    if response_format == "columnar":
        result = values if len(values) > 1 else next(iter(values.values()))
        return _dump({"outputs": result})
    batch_size = -1
    for name in values:
        shape = np.shape(outputs[name])
        if not shape:
            raise invalid_argument(f"Tensor name: {name} has no shape information ")
        if batch_size not in (-1, shape[0]):
            raise invalid_argument(
                f"Tensor name: {name} has inconsistent batch size: {shape[0]} expecting: "
                f"{batch_size}"
            )
        batch_size = shape[0]
    if len(values) == 1:
        return _dump({"predictions": next(iter(values.values()))})
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return _dump({"predictions": rows})


def _jsonable(name: str, array: np.ndarray) -> Any:
    if array.dtype.hasobject:
        as_bytes = name.endswith(_BYTES_SUFFIX)
        return _strings(array.tolist(), as_bytes)
    if array.dtype.name in ("bfloat16", "float16"):
        array = array.astype(np.float32)
    if array.dtype.kind not in "fiub":
        raise invalid_argument(
            f"Failed to write JSON value for tensor type: {tf.as_dtype(array.dtype).name}"
        )
    return np.ascontiguousarray(array) if array.ndim else array[()]


def _strings(value: Any, as_bytes: bool) -> Any:
    if isinstance(value, list):
        return [_strings(item, as_bytes) for item in value]
    if as_bytes:
        return {"b64": base64.b64encode(value).decode()}
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _dump(value: Any) -> bytes:
    """JSON with the shortest decimals that read back to the same float32, as WriteDecimal
    has them, and NaN, Infinity and -Infinity for what is not finite."""
    if all(np.isfinite(array).all() for array in _floats(value)):
        return b"".join(_pieces(value))
    return json.dumps(_with_tokens(value)).encode()


def _pieces(value: Any) -> Iterator[bytes]:
    """JSON of finite values, a large array row by row."""
    if isinstance(value, dict):
        yield b"{"
        for position, (key, item) in enumerate(value.items()):
            yield (b"," if position else b"") + orjson.dumps(key) + b":"
            yield from _pieces(item)
        yield b"}"
    elif isinstance(value, np.ndarray) and value.size > _VALUES_AT_ONCE and value.ndim > 1:
        rows = max(_VALUES_AT_ONCE * len(value) // value.size, 1)
        for first in range(0, len(value), rows):
            text = orjson.dumps(value[first : first + rows], option=orjson.OPT_SERIALIZE_NUMPY)
            yield (b"," if first else b"[") + text[1:-1]
        yield b"]"
    else:
        yield orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _floats(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray | np.generic):
        return [value] if value.dtype.kind == "f" else []
    if isinstance(value, dict):
        return [found for item in value.values() for found in _floats(item)]
    if isinstance(value, list) and value and not isinstance(value[0], str):
        return [found for item in value for found in _floats(item)]
    return []


def _with_tokens(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return [_with_tokens(item) for item in value]
    if isinstance(value, np.floating):
        return float(value) if not np.isfinite(value) else float(np.format_float_scientific(value))
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, dict):
        return {key: _with_tokens(item) for key, item in value.items()}
    return [_with_tokens(item) for item in value] if isinstance(value, list) else value


def classification_response(result: classification_pb2.ClassificationResult) -> bytes:
    """MakeJsonFromClassificationResult: a list of [label, score] for each example."""
    rows = [
        [[item.label, np.float32(item.score)] for item in classes.classes]
        for classes in result.classifications
    ]
    return _dump({"results": rows})


def regression_response(result: regression_pb2.RegressionResult) -> bytes:
    """MakeJsonFromRegressionResult: a value for each example."""
    return _dump({"results": np.array([item.value for item in result.regressions], np.float32)})


def error_response(message: str) -> bytes:
    """MakeJsonFromStatus."""
    return orjson.dumps({"error": message})


# Status and metadata: protobuf's JSON mapping with default values printed, written out
# because the option for that differs between protobuf 3 and 6.


def status_response(response: Any) -> bytes:
    """ToJsonString(GetModelStatusResponse) in
    tensorflow_serving/model_servers/http_rest_api_util.cc; int64 are strings in proto JSON."""
    entries = []
    for item in response.model_version_status:
        state = item.DESCRIPTOR.fields_by_name["state"].enum_type
        entries.append(
            {
                "version": str(item.version),
                "state": state.values_by_number[item.state].name,
                "status": {
                    "error_code": Code(item.status.error_code).name,
                    "error_message": item.status.error_message,
                },
            }
        )
    return orjson.dumps({"model_version_status": entries}, option=orjson.OPT_INDENT_2)


def metadata_response(spec: Any, signatures: Mapping[str, Any]) -> bytes:
    """ToJsonString(GetModelMetadataResponse) in the same file.

    Args:
      spec: The response's ModelSpec.
      signatures: SignatureDef by name.
    """

    def tensor(info: Any) -> dict[str, Any]:
        return {
            "dtype": types_pb2.DataType.Name(info.dtype),
            "tensor_shape": {
                "dim": [{"size": str(d.size), "name": d.name} for d in info.tensor_shape.dim],
                "unknown_rank": info.tensor_shape.unknown_rank,
            },
            "name": info.name,
        }

    signature_def = {
        name: {
            "inputs": {alias: tensor(info) for alias, info in sorted(signature.inputs.items())},
            "outputs": {alias: tensor(info) for alias, info in sorted(signature.outputs.items())},
            "method_name": signature.method_name,
            "defaults": {},
        }
        for name, signature in sorted(signatures.items())
    }
    return orjson.dumps(
        {
            "model_spec": {
                "name": spec.name,
                "signature_name": spec.signature_name,
                "version": str(spec.version.value),
            },
            "metadata": {"signature_def": {"signature_def": signature_def}},
        },
        option=orjson.OPT_INDENT_2,
    )
