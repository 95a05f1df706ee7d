"""tf.TensorProto to numpy and back, at the speed of one copy."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.protocol import wire
from serving.protocol.dtypes import type_name
from serving.protocol.wire import varint

_VALUES: dict[int, tuple[str, int]] = {
    types_pb2.DT_FLOAT: ("float_val", 5),
    types_pb2.DT_DOUBLE: ("double_val", 6),
    types_pb2.DT_INT32: ("int_val", 7),
    types_pb2.DT_INT16: ("int_val", 7),
    types_pb2.DT_INT8: ("int_val", 7),
    types_pb2.DT_UINT16: ("int_val", 7),
    types_pb2.DT_UINT8: ("int_val", 7),
    types_pb2.DT_STRING: ("string_val", 8),
    types_pb2.DT_INT64: ("int64_val", 10),
    types_pb2.DT_BOOL: ("bool_val", 11),
    types_pb2.DT_HALF: ("half_val", 13),
    types_pb2.DT_BFLOAT16: ("half_val", 13),
    types_pb2.DT_UINT32: ("uint32_val", 16),
    types_pb2.DT_UINT64: ("uint64_val", 17),
}
"""By tensorflow.DataType, the field of its values in a TensorProto, and the field's number."""
_DTYPE, _SHAPE, _CONTENT = 1, 2, 4
_MAX_DIMENSIONS = 254  # TensorShape::MaxDimensions()
_MAX_ARRAY_DIMENSIONS = 32
_OTHER_FIELDS = 1000
"""Fields of a TensorProto that are read beside one for each of its values."""
STRING_BYTES = 64
"""What a string of a tensor takes beside its text: as a Python object, and as TensorFlow's."""


def numpy_dtype(dtype: int) -> np.dtype:
    """The numpy type of a tensorflow.DataType; strings are objects.

    Raises:
      ValueError: there is none.
    """
    try:
        return np.dtype(tf.dtypes.as_dtype(dtype).as_numpy_dtype)
    except (TypeError, KeyError) as error:
        raise ValueError(f"unsupported data type {dtype}") from error


@dataclasses.dataclass(frozen=True)
class SentTensor:
    """A TensorProto on the wire: its type and shape are known, its values are not read."""

    dtype: int
    """The tensorflow.DataType."""
    shape: tuple[int, ...]
    content: memoryview
    """`tensor_content`."""
    message: memoryview
    """All of it."""

    @property
    def size(self) -> int:
        """Number of values that the shape claims."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What its array takes, whatever was sent: a missing value repeats the last."""
        if self.dtype == types_pb2.DT_STRING:
            return self.size * STRING_BYTES + len(self.message)
        return self.size * numpy_dtype(self.dtype).itemsize

    @classmethod
    def read(cls, message: memoryview) -> SentTensor:
        """Reads no more than it must to know how much there is.

        Raises:
          ValueError: the message is no tensor of a type and shape that values can be sent in.
        """
        dtype, shapes, content, most = 0, [], memoryview(b""), 0
        for count, (number, kind, value) in enumerate(wire.fields(message)):
            if number == _DTYPE and kind == wire.VARINT:
                dtype = value & 0xFFFF_FFFF
            elif number == _SHAPE and kind == wire.BYTES:
                shapes.append(value)
            elif number == _CONTENT and kind == wire.BYTES:
                content = value
            elif count > _OTHER_FIELDS:
                most = most or math.prod(_dimensions(shapes)) + _OTHER_FIELDS
                if count > most:
                    raise ValueError("more fields than values for its shape")
        if dtype not in _VALUES:
            raise ValueError(f"unsupported data type {type_name(dtype)}")
        shape = _dimensions(shapes)
        if len(shape) > _MAX_ARRAY_DIMENSIONS:
            raise ValueError(
                f"a shape of {len(shape)} dimensions, more than {_MAX_ARRAY_DIMENSIONS}"
            )
        return cls(dtype, shape, content, message)

    def array(self) -> np.ndarray:
        """The values; missing ones repeat the last, as Tensor::FromProto does.

        Raises:
          ValueError: the values do not fit the type or the shape.
        """
        dtype, size = numpy_dtype(self.dtype), self.size
        if len(self.content):
            if dtype.hasobject or len(self.content) != size * dtype.itemsize:
                raise ValueError(f"tensor_content does not hold {size} values")
            return np.frombuffer(self.content, dtype).reshape(self.shape)
        parts = self._parts(dtype)
        found = sum(map(len, parts))
        if found > size:
            raise ValueError(f"{found} values for a shape of {size}")
        if found < size:
            empty: Any = b"" if dtype.hasobject else dtype.type(0)
            last = next((part[-1] for part in reversed(parts) if len(part)), empty)
            filling = np.empty((), dtype)
            filling[()] = last
            if found < 2:
                return np.broadcast_to(filling, self.shape)  # takes no memory
            parts.append(np.broadcast_to(filling, size - found))
        array = parts[0] if len(parts) == 1 else np.concatenate([np.empty(0, dtype), *parts])
        return array.reshape(self.shape)

    def _parts(self, dtype: np.dtype) -> list[np.ndarray]:
        """The values that were sent, in arrays one after another."""
        name, wanted = _VALUES[self.dtype]
        if name == "string_val":
            texts = _within(self.size, _texts(self.message, wanted))
            array = np.empty(len(texts), dtype=object)
            array[:] = texts
            return [array]
        parts: list[np.ndarray] = []
        singles: list[int] = []  # of a list that is not packed
        raw = bytearray()
        for number, kind, value in wire.fields(self.message):
            if number != wanted:
                continue
            if name in _FIXED:
                if kind != wire.BYTES and kind != _FIXED[name][0]:
                    continue
                if kind == wire.BYTES and len(value) % _FIXED[name][1]:
                    raise ValueError(f"{name} ends within a value")
                if kind == wire.BYTES and not raw:
                    parts.append(np.frombuffer(value, dtype))
                    continue
                raw += value
                continue
            if kind == wire.VARINT:
                singles.append(value)
                if len(singles) > self.size:
                    break
            elif kind == wire.BYTES:
                parts += _integers([np.array(singles, np.uint64)] if singles else [], name, dtype)
                singles = []
                parts += _integers(wire.packed_varints(value), name, dtype)
        if raw:
            parts.append(np.frombuffer(bytes(raw), dtype))
        if singles:
            parts += _integers([np.array(singles, np.uint64)], name, dtype)
        return parts


_FIXED = {"float_val": (wire.FIXED32, 4), "double_val": (wire.FIXED64, 8)}


def _integers(values: Iterable[np.ndarray], name: str, dtype: np.dtype) -> Iterator[np.ndarray]:
    """Varints as values of a type."""
    for array in values:
        if name == "bool_val":
            yield array != 0
        elif name == "half_val":
            yield array.astype(np.uint16).view(dtype)
        else:
            yield array.astype(dtype)


def _texts(message: memoryview, wanted: int) -> Iterator[bytes]:
    for number, kind, value in wire.fields(message):
        if number == wanted and kind == wire.BYTES:
            yield bytes(value)


def _within(size: int, values: Iterator[bytes]) -> list[bytes]:
    found = list(itertools.islice(values, size + 1))
    if len(found) > size:
        raise ValueError(f"more than {size} values for a shape of {size}")
    return found


def _dimensions(shapes: list[memoryview]) -> tuple[int, ...]:
    """The sizes in a TensorShapeProto.

    Raises:
      ValueError: it is not fully defined.
    """
    sizes: list[int] = []
    for shape in shapes:
        for number, kind, value in wire.fields(shape):
            if number == 3 and kind == wire.VARINT and value:
                raise ValueError("the shape is not fully defined")
            if number != 2 or kind != wire.BYTES:
                continue
            size = 0
            for part, part_kind, part_value in wire.fields(value):
                if part == 1 and part_kind == wire.VARINT:
                    size = part_value
            if size >= 2**63:
                raise ValueError("the shape is not fully defined")
            sizes.append(size)
            if len(sizes) > _MAX_DIMENSIONS:
                raise ValueError(f"a shape of more than {_MAX_DIMENSIONS} dimensions")
    if math.prod(sizes) >= 2**63:
        raise ValueError("a shape of more values than an int64 can count")
    return tuple(sizes)


def to_array(tensor: tensor_pb2.TensorProto) -> np.ndarray:
    """A TensorProto's values; see `SentTensor.array`.

    Raises:
      ValueError: it is no tensor of a type that values can be sent in, or they do not fit.
    """
    return SentTensor.read(memoryview(tensor.SerializeToString())).array()


_PACKED_TAGS = {"f": b"\x2a", "d": b"\x32"}
"""By numpy's character of a type, of float_val (field 5) and double_val (6), length-delimited."""
_INT_VAL_TAG = b"\x3a"  # field 7


def _packed_small_integers(values: np.ndarray) -> bytes:
    """Varints of integers from 0 to 16383, two bytes at most, without a Python object each."""
    pairs = np.empty((values.size, 2), np.uint8)
    flat = values.ravel()
    wide = flat > 0x7F
    pairs[:, 0] = (flat & 0x7F) | (wide * np.uint8(0x80))
    pairs[:, 1] = flat >> 7
    keep = np.stack([np.ones_like(wide), wide], axis=1)
    return pairs[keep].tobytes()


def encoded(array: np.ndarray, as_content: bool = False) -> bytes:
    """An array as a serialised TensorProto; see `fill_tensor`."""
    tag = b"" if as_content else _PACKED_TAGS.get(array.dtype.char, b"")
    if not tag or not array.size:
        tensor = tensor_pb2.TensorProto()
        fill_tensor(tensor, array, as_content)
        return tensor.SerializeToString()
    # The wire format of packed floats is their memory.
    values = np.ascontiguousarray(array).data.cast("B")
    head = _packed_head(array.dtype.char, array.shape)
    return b"".join([head, tag, varint(len(values)), values])


@functools.lru_cache(maxsize=256)
def _packed_head(character: str, shape: tuple[int, ...]) -> bytes:
    """Serialised dtype and shape; the same for most answers of a model."""
    tensor = tensor_pb2.TensorProto()
    _fill_header(tensor, np.broadcast_to(np.zeros((), character), shape))
    return tensor.SerializeToString()


def _fill_header(tensor: tensor_pb2.TensorProto, array: np.ndarray) -> None:
    dtype = types_pb2.DT_STRING if array.dtype.hasobject else tf.as_dtype(array.dtype)
    tensor.dtype = dtype if isinstance(dtype, int) else dtype.as_datatype_enum
    tensor.tensor_shape.SetInParent()
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size


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
    _fill_header(tensor, array)
    if not array.size:
        return
    field, _ = _VALUES.get(tensor.dtype, (None, 0))
    if field == "string_val":
        tensor.string_val.extend(array.ravel().tolist())
    elif as_content or field is None:
        tensor.tensor_content = array.tobytes()
    elif field in ("float_val", "double_val"):
        values = array.tobytes()
        tensor.MergeFromString(_PACKED_TAGS[array.dtype.char] + varint(len(values)) + values)
    elif field == "half_val":
        tensor.half_val.extend(array.view(np.uint16).ravel().tolist())
    elif field == "int_val" and array.min() >= 0 and array.max() < 1 << 14:
        values = _packed_small_integers(array)
        tensor.MergeFromString(_INT_VAL_TAG + varint(len(values)) + values)
    else:
        getattr(tensor, field).extend(array.ravel().tolist())
