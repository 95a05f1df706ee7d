"""tf.TensorProto to numpy and back, at the speed of one copy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

_VALUE_FIELDS = {
    types_pb2.DT_FLOAT: "float_val",
    types_pb2.DT_DOUBLE: "double_val",
    types_pb2.DT_INT32: "int_val",
    types_pb2.DT_INT16: "int_val",
    types_pb2.DT_INT8: "int_val",
    types_pb2.DT_UINT16: "int_val",
    types_pb2.DT_UINT8: "int_val",
    types_pb2.DT_INT64: "int64_val",
    types_pb2.DT_UINT32: "uint32_val",
    types_pb2.DT_UINT64: "uint64_val",
    types_pb2.DT_BOOL: "bool_val",
    types_pb2.DT_STRING: "string_val",
    types_pb2.DT_HALF: "half_val",
    types_pb2.DT_BFLOAT16: "half_val",
}
# A shape may claim any size behind a single value, which is then repeated: without a bound
# forty bytes could ask for all memory.
_MAX_REPEATED_BYTES = 2**28

_FLOAT_VAL_TAG = b"\x2a"  # field 5, length-delimited
_DOUBLE_VAL_TAG = b"\x32"  # field 6
_INT_VAL_TAG = b"\x3a"  # field 7


def numpy_dtype(dtype: int) -> np.dtype:
    """The numpy type of a tensorflow.DataType; strings are objects.

    Raises:
      ValueError: there is none.
    """
    try:
        return np.dtype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    except (TypeError, KeyError) as error:
        raise ValueError(f"unsupported data type {dtype}") from error


def to_array(tensor: tensor_pb2.TensorProto) -> np.ndarray:
    """The tensor's values; missing ones repeat the last, as Tensor::FromProto does.

    Raises:
      ValueError: the values do not fit the type or the shape.
    """
    dtype = numpy_dtype(tensor.dtype)
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    if tensor.tensor_shape.unknown_rank or any(size < 0 for size in shape):
        raise ValueError("the shape is not fully defined")
    size = math.prod(shape)
    if tensor.tensor_content:
        if dtype.hasobject or len(tensor.tensor_content) != size * dtype.itemsize:
            raise ValueError(f"tensor_content does not hold {size} values")
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    field = _VALUE_FIELDS.get(tensor.dtype)
    if field is None:
        raise ValueError(f"unsupported data type {types_pb2.DataType.Name(tensor.dtype)}")
    values = getattr(tensor, field)
    if len(values) > size:
        raise ValueError(f"{len(values)} values for a shape of {size}")
    if field == "string_val":
        array = np.empty(len(values), dtype=object)
        array[:] = list(values)
    elif field == "half_val":
        array = np.fromiter(values, np.uint16, len(values)).view(dtype)
    else:
        array = np.fromiter(values, dtype, len(values))
    if len(array) < size:
        if size * max(dtype.itemsize, 1) > _MAX_REPEATED_BYTES:
            raise ValueError(f"{len(array)} values for a shape of {size}")
        empty: Any = b"" if dtype.hasobject else dtype.type(0)
        last = array[-1] if len(array) else empty
        padding = np.empty(size - len(array), dtype)
        padding[:] = last
        array = np.concatenate([array, padding])
    return array.reshape(shape)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def _packed_small_integers(values: np.ndarray) -> bytes:
    """Varints of integers from 0 to 16383, two bytes at most, without a Python object each."""
    pairs = np.empty((values.size, 2), np.uint8)
    flat = values.ravel()
    wide = flat > 0x7F
    pairs[:, 0] = (flat & 0x7F) | (wide * np.uint8(0x80))
    pairs[:, 1] = flat >> 7
    keep = np.stack([np.ones_like(wide), wide], axis=1)
    return pairs[keep].tobytes()


def fill_tensor(
    tensor: tensor_pb2.TensorProto, array: np.ndarray, as_content: bool = False
) -> None:
    """Writes an array into an empty TensorProto.

    Values go into `float_val` and its like, where clients that read the field by name expect
    them (PredictResponseTensorSerializationOption in
    tensorflow_serving/servables/tensorflow/predict_response_tensor_serialization_option.h).

    Args:
      tensor: Written to.
      array: Of any numeric type, bool, or object (bytes).
      as_content: Use tensor_content, as with --enable_serialization_as_tensor_content.
    """
    dtype = types_pb2.DT_STRING if array.dtype.hasobject else tf.as_dtype(array.dtype)
    tensor.dtype = dtype if isinstance(dtype, int) else dtype.as_datatype_enum
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    if not array.size:
        return
    field = _VALUE_FIELDS.get(tensor.dtype)
    if field == "string_val":
        tensor.string_val.extend(array.ravel().tolist())
    elif as_content or field is None:
        tensor.tensor_content = array.tobytes()
    elif field in ("float_val", "double_val"):
        # The wire format of packed floats is their memory: parsed, they are copied at once.
        values = array.astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
        tag = _FLOAT_VAL_TAG if field == "float_val" else _DOUBLE_VAL_TAG
        tensor.MergeFromString(tag + _varint(len(values)) + values)
    elif field == "half_val":
        tensor.half_val.extend(array.view(np.uint16).ravel().tolist())
    elif field == "int_val" and array.min() >= 0 and array.max() < 1 << 14:
        values = _packed_small_integers(array)
        tensor.MergeFromString(_INT_VAL_TAG + _varint(len(values)) + values)
    else:
        getattr(tensor, field).extend(array.ravel().tolist())
