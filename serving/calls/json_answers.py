"""TF Serving's JSON, to arrays and back.

Semantics and messages are those of tensorflow_serving/util/json_tensor.cc. What it walks
value by value, numpy does in one call; only what numpy cannot take at once (a mistake, or a
number that float32 cannot hold) is walked here as well, to say where it is.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import orjson
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import classification_pb2, input_pb2, regression_pb2

from serving.models.tensors import numpy_dtype
from serving.protocol.codes import Code, StatusError, invalid_argument

Format = Literal["row", "columnar"]

_SIGNATURE = "signature_name"
_INSTANCES = "instances"
_INPUTS = "inputs"
_BYTES_SUFFIX = "_bytes"
_EXCERPT = 200

_INTEGER_RANGES = {
    # AddValueToTensor tests the small ones with rapidjson's IsInt: what fits int32.
    types_pb2.DT_INT8: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT16: (-(2**31), 2**31 - 1),
    types_pb2.DT_UINT8: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT32: (-(2**31), 2**31 - 1),
    types_pb2.DT_INT64: (-(2**63), 2**63 - 1),
    types_pb2.DT_UINT32: (0, 2**32 - 1),
    types_pb2.DT_UINT64: (0, 2**64 - 1),
}
_FLOATS = {
    types_pb2.DT_FLOAT: ("float", 2**24 - 1, float(np.finfo(np.float32).max)),
    types_pb2.DT_DOUBLE: ("double", 2**53 - 1, float(np.finfo(np.float64).max)),
}


def parse(body: bytes) -> dict[str, Any]:
    """Reads a request body. NaN, Infinity and -Infinity are numbers.

    Raises:
      StatusError: INVALID_ARGUMENT when it is not a JSON object.
    """
    if not body.strip():
        raise invalid_argument("JSON Parse error: The document is empty")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        # orjson knows no NaN, and the standard library says where the mistake is.
        try:
            document = json.loads(body)
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            at = error.pos if isinstance(error, json.JSONDecodeError) else error.start
            raise invalid_argument(
                f"JSON Parse error: Invalid value. at offset: {at} ({error})"
            ) from error
        except RecursionError as error:
            raise invalid_argument("JSON Parse error: nested too deeply") from error
    if not isinstance(document, dict):
        raise invalid_argument(f"JSON Value: {_text(document)} Is not object")
    return document


def signature_name(document: Mapping[str, Any]) -> str:
    """The `signature_name` of a request, or an empty string.

    Raises:
      StatusError: INVALID_ARGUMENT when it is not a string.
    """
    name = document.get(_SIGNATURE, "")
    if not isinstance(name, str):
        raise invalid_argument(
            f"JSON Value: {_text(document)} not formatted correctly. 'signature_name' key must "
            "be a string value."
        )
    return name


def request_format(document: Mapping[str, Any]) -> Format:
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
                f"JSON Value: {_text(document)} Excepting '{_INSTANCES}' to be an list/array"
            )
        if not document[_INSTANCES]:
            raise invalid_argument(
                f"JSON Value: {_text(document)} No values in '{_INSTANCES}' array"
            )
        return "row"
    if _INPUTS in document:
        return "columnar"
    raise invalid_argument("Missing 'inputs' or 'instances' key")


def predict_arrays(
    document: Mapping[str, Any], inputs: Mapping[str, Any], may_have_bool: bool = True
) -> dict[str, np.ndarray]:
    """The input arrays of a predict request.

    Args:
      document: The request.
      inputs: TensorInfo by name, of the signature it asks for.
      may_have_bool: Whether `true` or `false` is anywhere in its text. numpy takes them for
        numbers among numbers, JSON does not, and looking for them is slow.

    Raises:
      StatusError: INVALID_ARGUMENT, saying which element is wrong and how.
    """
    if request_format(document) == "row":
        return _row_arrays(document[_INSTANCES], inputs, may_have_bool)
    return _columnar_arrays(document[_INPUTS], inputs, may_have_bool)


def _row_arrays(
    instances: list[Any], inputs: Mapping[str, Any], may_have_bool: bool
) -> dict[str, np.ndarray]:
    named = _is_named(instances[0])
    if not named and len(inputs) > 1:
        raise invalid_argument(
            "instances is a plain list, but expecting list of objects as multiple input tensors "
            "required as per tensorinfo_map"
        )
    if not named:
        name = next(iter(inputs))
        for position, item in enumerate(instances):
            if _is_named(item):
                raise invalid_argument(
                    f"Expecting value/list but got object at item {position} of input list"
                )
        return {name: _array(instances, inputs[name].dtype, may_have_bool, row=True)}
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
        name: _array(
            [item[name] for item in instances], info.dtype, may_have_bool, row=True, key=name
        )
        for name, info in inputs.items()
    }


def _columnar_arrays(
    values: Any, inputs: Mapping[str, Any], may_have_bool: bool
) -> dict[str, np.ndarray]:
    if not _is_named(values):
        if len(inputs) > 1:
            raise invalid_argument(
                "inputs is a plain value/list, but expecting an object as multiple input tensors "
                "required as per tensorinfo_map"
            )
        return {name: _array(values, info.dtype, may_have_bool) for name, info in inputs.items()}
    arrays = {}
    for name, info in inputs.items():
        if name not in values:
            raise invalid_argument(f"Missing named input: {name} in 'inputs' object.")
        arrays[name] = _array(values[name], info.dtype, may_have_bool)
    return arrays


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() == {"b64"} and isinstance(value.get("b64"), str)


def _array(
    value: Any, dtype: int, may_have_bool: bool, row: bool = False, key: str = ""
) -> np.ndarray:
    """An array from nested lists.

    Args:
      value: The lists.
      dtype: The tensorflow.DataType wanted.
      may_have_bool: See `predict_arrays`.
      row: Whether it is a list of instances, so that a mistake names the instance.
      key: The instances' key, for the same.

    Raises:
      StatusError: INVALID_ARGUMENT, or UNIMPLEMENTED for a type that JSON is not read to.
    """
    array = None if may_have_bool else _numeric_array(value, dtype)
    if array is not None:
        return array
    if not row:
        shape = _shape(value)
        flat: list[Any] = []
        _walk(value, 0, shape, dtype, flat)
        return _from_values(flat, shape, dtype)
    flat = []
    first: tuple[int, ...] | None = None
    for position, item in enumerate(value):
        try:
            shape = _shape(item)
            start = len(flat)
            _walk(item, 0, shape, dtype, flat)
            if first is None:
                first, size = shape, len(flat)
            elif len(flat) - start != size:
                raise invalid_argument(
                    f"Expecting tensor size: {size} but got: {len(flat) - start}"
                )
            elif shape != first:
                raise invalid_argument(
                    f"Expecting shape {_shape_text(first)} but got: {_shape_text(shape)}"
                )
        except StatusError as error:
            where = f"{position} key: {key}" if key else str(position)
            raise invalid_argument(
                f"Failed to process element: {where} of 'instances' list. Error: "
                f"{error.code.name}: {error.message}"
            ) from error
    return _from_values(flat, (len(value), *(first or ())), dtype)


def _numeric_array(value: Any, dtype: int) -> np.ndarray | None:
    """The array at once, or None when that would not be exactly what a walk gives."""
    if dtype in _FLOATS:
        kinds = "fiu"
    elif dtype in _INTEGER_RANGES:
        kinds = "iu"
    else:
        return None
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return None  # ragged
    if array.dtype.kind not in kinds or not array.size:
        return None
    lowest, highest = array.min(), array.max()
    if dtype in _FLOATS:
        _, integer_limit, limit = _FLOATS[dtype]
        finite = np.isfinite(lowest) and np.isfinite(highest)
        bound = integer_limit if array.dtype.kind in "iu" else min(integer_limit, limit)
        if not finite or max(abs(float(lowest)), abs(float(highest))) > bound:
            return None
    else:
        low, high = _INTEGER_RANGES[dtype]
        if int(lowest) < low or int(highest) > high:
            return None
    wanted = numpy_dtype(dtype)
    if dtype in _INTEGER_RANGES:
        info = np.iinfo(wanted)
        if int(lowest) < info.min or int(highest) > info.max:
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
        name, integer_limit, limit = _FLOATS[dtype]
        lossy = (
            abs(value) > integer_limit
            if isinstance(value, int)
            else math.isfinite(value) and abs(value) > limit
        )
        if lossy:
            raise invalid_argument(
                f"Cannot convert JSON value: {_text(value)} to {name} without loss of precision."
            )
        return float(value)
    if dtype in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[dtype]
        if not number or isinstance(value, float) or not low <= value <= high:
            raise _type_error(value, dtype)
        info = np.iinfo(numpy_dtype(dtype))
        if not info.min <= value <= info.max:
            raise _type_error(value, dtype)
        return value
    if dtype == types_pb2.DT_BOOL:
        if not isinstance(value, bool):
            raise _type_error(value, dtype)
        return value
    if dtype == types_pb2.DT_STRING:
        if isinstance(value, dict):
            return _decode_base64(value)
        if not isinstance(value, str):
            raise _type_error(value, dtype)
        return value.encode("utf-8", "surrogatepass")
    raise StatusError(
        Code.UNIMPLEMENTED,
        f"Conversion of JSON Value: {_text(value)} to type: {tf.as_dtype(dtype).name}",
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


def _from_values(flat: list[Any], shape: tuple[int, ...], dtype: int) -> np.ndarray:
    array = np.empty(len(flat), numpy_dtype(dtype))
    if flat:
        array[:] = flat
    return array.reshape(shape)


def _shape_text(shape: tuple[int, ...]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"


def _text(value: Any) -> str:
    """A value for a message, cut: a request may be megabytes."""
    try:
        text = json.dumps(value)
    except RecursionError:
        return "..."
    return text if len(text) <= _EXCERPT else text[:_EXCERPT] + "..."


def _type_name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value)
    names = {type(None): "Null", dict: "Object", list: "Array", str: "String"}
    return names.get(type(value), "Number")


def _type_error(value: Any, dtype: int) -> StatusError:
    return invalid_argument(
        f"JSON Value: {_text(value)} Type: {_type_name(value)} is not of expected type: "
        f"{tf.as_dtype(dtype).name}"
    )


# Answers.


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
        return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return json.dumps(_with_tokens(value)).encode()


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


# Classify and Regress.


def fill_examples(document: Mapping[str, Any], message: input_pb2.Input) -> None:
    """FillClassifyRegressRequestFromJson.

    Raises:
      StatusError: INVALID_ARGUMENT, saying which feature is wrong.
    """
    context = document.get("context")
    if context is not None:
        _fill_example(context, message.example_list_with_context.context)
    examples = document.get("examples")
    if examples is None:
        raise invalid_argument(
            f"JSON Value: {_text(document)} When method is classify, key 'examples' is expected "
            "and was not found"
        )
    if not isinstance(examples, list):
        raise invalid_argument(
            f"JSON Value: {_text(document)} Expecting 'examples' value to be an list/array"
        )
    if not examples:
        raise invalid_argument(f"JSON Value: {_text(document)} 'examples' value is an empty array")
    target = message.example_list if context is None else message.example_list_with_context
    for example in examples:
        _fill_example(example, target.examples.add())


def _fill_example(value: Any, example: Any) -> None:
    if not isinstance(value, dict):
        raise invalid_argument(f"Example must be JSON object but got JSON {_type_name(value)}")
    for name, content in value.items():
        feature = example.features.feature[name]
        for item in content if isinstance(content, list) else [content]:
            _add_to_feature(item, name, feature)


def _add_to_feature(value: Any, name: str, feature: Any) -> None:
    if isinstance(value, bool):
        kind, value = "int64_list", int(value)
    elif isinstance(value, str):
        kind, value = "bytes_list", value.encode("utf-8", "surrogatepass")
    elif _is_base64(value):
        kind, value = "bytes_list", _decode_base64(value)
    elif isinstance(value, float):
        kind, value = "float_list", _value(value, types_pb2.DT_FLOAT)
    elif isinstance(value, int):
        if value >= 2**63:
            raise invalid_argument(f"Feature: {name} has uint64 element. Only int64 is supported.")
        kind = "int64_list"
    else:
        raise invalid_argument(
            f"Feature: {name} has element with unexpected JSON type: {_type_name(value)}"
        )
    current = feature.WhichOneof("kind")
    if current not in (None, kind):
        raise invalid_argument(
            f"Unexpected element type in feature: {name} expecting type: "
            f"{current.removesuffix('_list')}"
        )
    getattr(feature, kind).value.append(value)


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
