"""tensorflow.DataType without TensorFlow."""

from __future__ import annotations

import enum


class DataType(enum.IntEnum):
    """The types that values are sent in (tensorflow/core/framework/types.proto)."""

    FLOAT = 1
    DOUBLE = 2
    INT32 = 3
    UINT8 = 4
    INT16 = 5
    INT8 = 6
    STRING = 7
    COMPLEX64 = 8
    INT64 = 9
    BOOL = 10
    BFLOAT16 = 14
    UINT16 = 17
    COMPLEX128 = 18
    HALF = 19
    RESOURCE = 20
    VARIANT = 21
    UINT32 = 22
    UINT64 = 23


def type_name(number: int) -> str:
    """DataTypeString, as messages name a type."""
    return DataType(number).name.lower() if number in _NUMBERS else f"unknown dtype enum ({number})"


_NUMBERS = frozenset(DataType)
