"""From TF Serving's JSON to arrays and tf.Examples.

Semantics and messages are those of tensorflow_serving/util/json_tensor.cc. What it walks value
by value, numpy does in one call; only what numpy cannot take at once (a mistake, or a type of
its own) is walked here as well, to say where it is.

Nothing here imports TensorFlow, so that a process that reads large bodies starts at once and
stays small (json_worker.py).
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from typing import Any, Literal

import numpy as np
import orjson

from serving.calls.limits import Limits, too_many_rows
from serving.protocol import wire
from serving.protocol.codes import Code, StatusError, invalid_argument
from serving.protocol.dtypes import DataType, type_name

Format = Literal["row", "columnar"]
Signatures = Mapping[str, Mapping[str, int]]
"""By signature, the tensorflow.DataType of each of its inputs."""

_SIGNATURE = "signature_name"
_INSTANCES = "instances"
_INPUTS = "inputs"
_EXCERPT = 256  # kMaxJsonDebugStringBytes
_MAX_DIMENSIONS = 32
"""Of a numpy array."""

# AddValueToTensor tests the small ones with rapidjson's IsInt: what fits int32.
_INTEGERS: dict[int, tuple[Any, int, int]] = {
    DataType.INT8: (np.int8, -(2**31), 2**31 - 1),
    DataType.INT16: (np.int16, -(2**31), 2**31 - 1),
    DataType.UINT8: (np.uint8, -(2**31), 2**31 - 1),
    DataType.INT32: (np.int32, -(2**31), 2**31 - 1),
    DataType.INT64: (np.int64, -(2**63), 2**63 - 1),
    DataType.UINT32: (np.uint32, 0, 2**32 - 1),
    DataType.UINT64: (np.uint64, 0, 2**64 - 1),
}
_FLOATS: dict[int, Any] = {DataType.FLOAT: np.float32, DataType.DOUBLE: np.float64}
_OTHERS: dict[int, Any] = {DataType.BOOL: np.bool_, DataType.STRING: object}


@dataclasses.dataclass(frozen=True)
class Predict:
    """What a body for :predict asks for."""

    signature_name: str
    """As it was given: may be empty."""
    format: Format
    arrays: dict[str, np.ndarray]
    """By input name."""


def read_predict(body: bytes, signatures: Signatures, default: str, limits: Limits) -> Predict:
    """FillPredictRequestFromJson.

    Args:
      body: The request's body.
      signatures: Those of the model.
      default: The name of the signature that an empty name means.
      limits: How much one request may ask for.

    Raises:
      StatusError: INVALID_ARGUMENT, saying which element is wrong and how; UNIMPLEMENTED for a
        type that JSON is not read to; RESOURCE_EXHAUSTED.
    """
    document = parse(body)
    name = _signature_name(document)
    inputs = signatures.get(name or default)
    if inputs is None:
        raise invalid_argument(
            f'Serving signature name: "{name or default}" not found in signature def'
        )
    if not inputs:
        raise invalid_argument(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    request_format = _format(document)
    # numpy takes `true` for a number among numbers and JSON does not; looking for one is slow.
    reader = _Reader(b"true" in body or b"false" in body)
    if request_format == "row":
        rows = len(document[_INSTANCES])
        if rows > limits.rows:
            raise too_many_rows(rows, limits.rows)
        arrays = reader.rows(document[_INSTANCES], inputs)
    else:
        arrays = reader.columns(document[_INPUTS], inputs)
    return Predict(name or default, request_format, arrays)


def parse(body: bytes) -> dict[str, Any]:
    """Reads a request body. NaN, Infinity and -Infinity are numbers, and what follows the
    object is not read (kParseStopWhenDoneFlag).

    Raises:
      StatusError: INVALID_ARGUMENT when it is not a JSON object.
    """
    if not body or body.isspace():
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = _parse_slowly(body)
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {_text(document)} Is not object")
    return document


def _parse_slowly(body: bytes) -> Any:
    """What orjson does not take: it knows no NaN, and the standard library says where a mistake
    is."""
    decoder = json.JSONDecoder(parse_int=_integer, parse_float=_number)
    try:
        document, _ = decoder.raw_decode(body.decode("utf-8").lstrip("\ufeff \t\n\r"))
        # JSON can spell a lone surrogate, which is no text.
        json.dumps(document, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise invalid_argument(
            f"JSON Parse error: Invalid value. at offset: {error.pos} ({error})"
        ) from error
    except UnicodeDecodeError as error:
        raise invalid_argument(
            f"JSON Parse error: Invalid encoding in string. at offset: {error.start}"
        ) from error
    except UnicodeEncodeError as error:
        raise invalid_argument(
            "JSON Parse error: The surrogate pair in string is invalid."
        ) from error
    except RecursionError as error:
        raise invalid_argument("JSON Parse error: nested too deeply") from error
    return document


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise invalid_argument("JSON Parse error: Number too big to be stored in double.")
    return value


def _integer(digits: str) -> int | float:
    double = _number(digits)  # First: to read many digits takes `int` quadratic time.
    value = int(digits)
    return value if -(2**63) <= value < 2**64 else double


def _signature_name(document: Mapping[str, Any]) -> str:
    name = document.get(_SIGNATURE, "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {_text(document)} not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    return name


def _format(document: Mapping[str, Any]) -> Format:
    """Whether a predict request is in row or columnar format.

    Raises:
      StatusError: INVALID_ARGUMENT for neither, for both, and for no instances.
    """
    if _INSTANCES in document and _INPUTS in document:
        raise invalid_argument(
            f"JSON Value: {_text(document)} Not formatted correctly expecting only one of "
            f"'{_INPUTS}' or '{_INSTANCES}' keys to exist "
        )
    if _INSTANCES in document:
        if not isinstance(document[_INSTANCES], list):
            raise invalid_argument(
                f"JSON Value: {_text(document)} Expecting '{_INSTANCES}' to be an list/array"
            )
        if not document[_INSTANCES]:
            raise invalid_argument(
                f"JSON Value: {_text(document)} No values in '{_INSTANCES}' array"
            )
        return "row"
    if _INPUTS in document:
        return "columnar"
    raise invalid_argument("Missing 'inputs' or 'instances' key")


class _Reader:
    """Nested lists to arrays."""

    def __init__(self, may_have_bool: bool) -> None:
        """Of a body in whose text `true` or `false` is somewhere, or is not."""
        self._may_have_bool = may_have_bool

    def rows(self, instances: list[Any], inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
        """FillTensorMapFromInstancesList."""
        named = _is_named(instances[0])
        if not named and len(inputs) > 1:
            raise invalid_argument(
                "instances is a plain list, but expecting list of objects as multiple input "
                "tensors required as per tensorinfo_map"
            )
        if not named:
            name, dtype = next(iter(inputs.items()))
            for position, item in enumerate(instances):
                if _is_named(item):
                    raise invalid_argument(
                        f"Expecting value/list but got object at item {position} of input list"
                    )
            return {name: self._stacked(instances, dtype)}
        names = set(inputs)
        for position, item in enumerate(instances):
            if not _is_named(item):
                raise invalid_argument(
                    f"Expecting object but got list at item {position} of input list"
                )
            for key in item:
                if key not in names:
                    raise invalid_argument(
                        f"Failed to process element: {position} key: {key} of 'instances' list. "
                        f"Error: INVALID_ARGUMENT: JSON object: does not have named input: {key}"
                    )
            if item.keys() != names:
                raise invalid_argument(
                    f"Failed to process element: {position} of 'instances' list. JSON object: "
                    f"{_text(item)} keys must be equal to: {','.join(sorted(names))}"
                )
        return {
            name: self._stacked([item[name] for item in instances], dtype, name)
            for name, dtype in inputs.items()
        }

    def columns(self, values: Any, inputs: Mapping[str, int]) -> dict[str, np.ndarray]:
        """FillTensorMapFromInputsMap."""
        if not _is_named(values):
            if len(inputs) > 1:
                raise invalid_argument(
                    "inputs is a plain value/list, but expecting an object as multiple input "
                    "tensors required as per tensorinfo_map"
                )
            return {name: self._array(values, dtype) for name, dtype in inputs.items()}
        arrays = {}
        for name, dtype in inputs.items():
            if name not in values:
                raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
            arrays[name] = self._array(values[name], dtype)
        return arrays

    def _stacked(self, items: list[Any], dtype: int, key: str = "") -> np.ndarray:
        """One array of instances, each of which must have the shape of the first.

        Args:
          items: The instances.
          dtype: The tensorflow.DataType wanted.
          key: The instances' key, for a message that names the instance.

        Raises:
          StatusError: see `read_predict`.
        """
        if not self._may_have_bool and (array := _numeric_array(items, dtype)) is not None:
            return array
        arrays: list[np.ndarray] = []
        for position, item in enumerate(items):
            try:
                array = self._array(item, dtype)
                if arrays and array.size != arrays[0].size:
                    raise invalid_argument(
                        f"Expecting tensor size: {arrays[0].size} but got: {array.size}"
                    )
                if arrays and array.shape != arrays[0].shape:
                    raise invalid_argument(
                        f"Expecting shape {_shape_text(arrays[0].shape)} but got: "
                        f"{_shape_text(array.shape)}"
                    )
            except StatusError as error:
                where = f"{position} key: {key}" if key else str(position)
                raise invalid_argument(
                    f"Failed to process element: {where} of 'instances' list. Error: "
                    f"{error.code.name}: {error.message}"
                ) from error
            arrays.append(array)
        return np.stack(arrays)

    def _array(self, value: Any, dtype: int) -> np.ndarray:
        """One array of nested lists."""
        try:
            if not self._may_have_bool or not _has_bool(value):
                array = _numeric_array(value, dtype)
                if array is not None:
                    return array
            shape = _shape(value)
            flat: list[Any] = []
            _walk(value, 0, shape, dtype, flat)
        except RecursionError as error:
            raise invalid_argument("JSON Value: nested too deeply") from error
        if len(shape) > _MAX_DIMENSIONS:
            raise invalid_argument(
                f"JSON Value: nested {len(shape)} deep, more than the {_MAX_DIMENSIONS} "
                "dimensions that a tensor may have"
            )
        array = np.empty(len(flat), _numpy_type(dtype))
        if flat:
            with np.errstate(over="ignore"):  # a double beyond float32 becomes inf
                array[:] = flat
        return array.reshape(shape)


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value.get("b64"), str)


def _has_bool(value: Any) -> bool:
    """Whether there is a bool anywhere in nested lists."""
    if not isinstance(value, list):
        return isinstance(value, bool)
    kinds = set(map(type, value))
    return bool in kinds or (list in kinds and any(map(_has_bool, value)))


def _numpy_type(dtype: int) -> Any:
    if dtype in _INTEGERS:
        return _INTEGERS[dtype][0]
    return _FLOATS[dtype] if dtype in _FLOATS else _OTHERS[dtype]


def _numeric_array(value: Any, dtype: int) -> np.ndarray | None:
    """The array at once, or None when that would not be exactly what a walk gives."""
    if dtype not in _FLOATS and dtype not in _INTEGERS:
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None  # ragged
    if array.dtype.kind not in ("fiu" if dtype in _FLOATS else "iu") or not array.size:
        return None
    if dtype in _FLOATS:
        with np.errstate(over="ignore"):
            return array.astype(np.float64, copy=False).astype(_FLOATS[dtype], copy=False)
    wanted, low, high = _INTEGERS[dtype]
    info = np.iinfo(wanted)
    if int(array.min()) < max(low, info.min) or int(array.max()) > min(high, info.max):
        return None
    return array.astype(wanted, copy=False)


def _shape(value: Any) -> tuple[int, ...]:
    """GetDenseTensorShape: the lengths of the first lists."""
    shape = []
    while isinstance(value, list):
        shape.append(len(value))
        if not value:
            break
        value = value[0]
    return tuple(shape)


def _walk(value: Any, level: int, shape: tuple[int, ...], dtype: int, flat: list[Any]) -> None:
    """FillTensorProto."""
    if not isinstance(value, list):
        if level != len(shape):
            raise invalid_argument(
                f"JSON Value: {_text(value)} found at incorrect level: {level + 1} in the JSON "
                f"DOM. Expected at level: {len(shape)}"
            )
        flat.append(_value(value, dtype))
        return
    if level >= len(shape):
        raise invalid_argument(
            f"Encountered list at unexpected level: {level} expected < {len(shape)}"
        )
    if len(value) != shape[level]:
        raise invalid_argument(
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: "
            f"{shape[level]}"
        )
    for item in value:
        _walk(item, level + 1, shape, dtype, flat)


def _value(value: Any, dtype: int) -> Any:
    """AddValueToTensor and JsonDecodeBase64Object."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if dtype in _FLOATS:
        if not number:
            raise _type_error(value, dtype)
        return float(value)
    if dtype in _INTEGERS:
        wanted, low, high = _INTEGERS[dtype]
        info = np.iinfo(wanted)
        if not number or isinstance(value, float):
            raise _type_error(value, dtype)
        if not max(low, info.min) <= value <= min(high, info.max):
            raise _type_error(value, dtype)
        return value
    if dtype == DataType.BOOL:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    if dtype == DataType.STRING:
        if isinstance(value, dict):
            return _decode_base64(value)
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        return value.encode()
    raise StatusError(
        Code.UNIMPLEMENTED, f"Conversion of JSON Value: {_text(value)} to type: {type_name(dtype)}"
    )


def _decode_base64(value: Any) -> bytes:
    if not _is_base64(value):
        raise invalid_argument(
            f"JSON Value: {_text(value)} not formatted correctly for base64 data"
        )
    text = "".join(value["b64"].split()).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_argument("Unable to base64 decode") from error


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _text(value: Any) -> str:
    """A value for a message, cut: no more is written than is told."""
    text = ""
    try:
        for part in json.JSONEncoder().iterencode(value):
            text += part
            if len(text) > _EXCERPT:
                return text[:_EXCERPT] + "..."
    except RecursionError:
        return text[:_EXCERPT] + "..."
    return text


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _type_error(value: Any, dtype: int) -> StatusError:
    return invalid_argument(
        f"JSON Value: {_text(value)} Type: {_json_type(value)} is not of expected type: "
        f"{type_name(dtype)}"
    )


# Classify and Regress.


@dataclasses.dataclass(frozen=True)
class ExamplesBody:
    """What a body for :classify or :regress asks for."""

    signature_name: str
    """As it was given: may be empty."""
    input: bytes
    """A serialised tensorflow.serving.Input."""


def read_examples(
    body: bytes, signatures: Collection[str], default: str, limits: Limits
) -> ExamplesBody:
    """FillClassifyRegressRequestFromJson.

    Args:
      body: The request's body.
      signatures: Those of the model that take tf.Examples. For any other the examples are not
        read: it is refused by its name.
      default: The name of the signature that an empty name means.
      limits: How much one request may ask for.

    Raises:
      StatusError: INVALID_ARGUMENT, saying which feature is wrong.
    """
    document = parse(body)
    name = _signature_name(document)
    if (name or default) not in signatures:
        return ExamplesBody(name, b"")
    context = document.get("context")
    parts = []
    if "context" in document:
        parts.append(wire.field(2, _example(context)))
    if "examples" not in document:
        raise invalid_argument(
            f"JSON Value: {_text(document)} When method is classify, key 'examples' is expected "
            "and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid_argument(
            f"JSON Value: {_text(document)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise invalid_argument(f"JSON Value: {_text(document)} 'examples' value is an empty array")
    if len(examples) > limits.rows:
        raise too_many_rows(len(examples), limits.rows)
    parts += [wire.field(1, _example(example)) for example in examples]
    return ExamplesBody(name, wire.field(2 if "context" in document else 1, *parts))


def _example(value: Any) -> bytes:
    """A serialised tf.Example (tensorflow/core/example/example.proto, feature.proto)."""
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {_json_type(value)}")
    features = [
        wire.field(1, wire.field(1, name.encode()), wire.field(2, _feature(name, content)))
        for name, content in value.items()
    ]
    return wire.field(1, *features)


def _feature(name: str, content: Any) -> bytes:
    """A serialised Feature: of bytes (1), floats (2) or int64 (3)."""
    kinds: set[str] = set()
    values: list[Any] = []
    for item in content if isinstance(content, list) else [content]:
        kind, value = _element(item, name)
        if kinds and kind not in kinds:
            raise invalid_argument(
                f"Unexpected element type in feature: {name} expecting type: {kinds.pop()}"
            )
        kinds.add(kind)
        values.append(value)
    if not kinds:
        return b""
    kind = kinds.pop()
    if kind == "bytes":
        return wire.field(1, *(wire.field(1, value) for value in values))
    if kind == "float":
        with np.errstate(over="ignore"):
            floats = np.array(values, np.float64).astype("<f4")
        return wire.field(2, wire.field(1, floats.tobytes()))
    return wire.field(3, wire.field(1, *(wire.varint(value % 2**64) for value in values)))


def _element(value: Any, name: str) -> tuple[str, Any]:
    """AddValueToFeature."""
    if isinstance(value, bool):
        return "int64", int(value)
    if isinstance(value, str):
        return "bytes", value.encode()
    if _is_base64(value):
        return "bytes", _decode_base64(value)
    if isinstance(value, float):
        return "float", value
    if not isinstance(value, int):
        raise invalid_argument(
            f"Feature: {name} has element with unexpected JSON type: {_json_type(value)}"
        )
    if value >= 2**63:
        raise invalid_argument(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
    return "int64", value
