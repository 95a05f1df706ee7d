"""Protobuf's wire format, read field by field without making a message.

Parsing 32 MiB of hostile protobuf takes seconds and half a gigabyte, and holds Python's lock
all the while, so no other request is answered. What is read here costs what the reader asks
for: a packed list of floats stays the bytes that it is, and a reader that has seen enough stops.

https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

VARINT, FIXED64, BYTES, START_GROUP, END_GROUP, FIXED32 = range(6)
_GROUP_DEPTH = 100
_BLOCK = 2**20
"""Bytes of packed integers that are decoded at once: ten times as much is needed beside."""


class WireError(ValueError):
    """The bytes are no protobuf message of this type."""


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    """A varint, and the position behind it."""
    value = shift = 0
    while True:
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, position
        shift += 7
        if shift >= 70:
            raise WireError("a varint of more than ten bytes")


def fields(data: memoryview) -> Iterator[tuple[int, int, Any]]:
    """The fields of a message in their order: (number, wire type, value).

    A value is an unsigned int for VARINT, else the bytes, of which FIXED32 has four and FIXED64
    eight. Groups are skipped.

    Raises:
      WireError: the bytes end within a field, or are none.
    """
    position, end = 0, len(data)
    try:
        while position < end:
            tag, position = _read_varint(data, position)
            number, kind = tag >> 3, tag & 7
            if not 0 < number < 2**29:
                raise WireError(f"a field of number {number}")
            if kind == VARINT:
                value, position = _read_varint(data, position)
                yield number, kind, value
                continue
            if kind == START_GROUP:
                position = _skip_group(data, position, number)
                continue
            if kind == BYTES:
                size, position = _read_varint(data, position)
            elif kind == FIXED32:
                size = 4
            elif kind == FIXED64:
                size = 8
            else:
                raise WireError(f"a field of wire type {kind}")
            start, position = position, position + size
            if position > end:
                raise WireError("the bytes end within a field")
            yield number, kind, data[start:position]
    except IndexError as error:
        raise WireError("the bytes end within a field") from error


def _skip_group(data: memoryview, position: int, number: int) -> int:
    """The position behind a group that starts before `position`."""
    open_groups = [number]
    while open_groups:
        tag, position = _read_varint(data, position)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            _, position = _read_varint(data, position)
        elif kind == BYTES:
            size, position = _read_varint(data, position)
            position += size
        elif kind in (FIXED32, FIXED64):
            position += 4 if kind == FIXED32 else 8
        elif kind == START_GROUP and len(open_groups) < _GROUP_DEPTH:
            open_groups.append(number)
        elif kind != END_GROUP or open_groups.pop() != number:
            raise WireError("a group that does not end")
    if position > len(data):
        raise WireError("the bytes end within a field")
    return position


def text(value: memoryview) -> str:
    """A `string` field.

    Raises:
      WireError: it is not UTF-8.
    """
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise WireError("a string that is not UTF-8") from error


def merged(parts: list[memoryview]) -> memoryview:
    """A message of which several parts were sent, or none: joined, protobuf merges them."""
    return parts[0] if len(parts) == 1 else memoryview(b"".join(parts))


def map_entry(entry: memoryview) -> tuple[str, memoryview]:
    """Key and value of an entry of a map from string to a message."""
    key, parts = "", []
    for number, kind, value in fields(entry):
        if kind == BYTES and number == 1:
            key = text(value)
        elif kind == BYTES and number == 2:
            parts.append(value)
    return key, merged(parts)


def packed_varints(data: memoryview) -> Iterator[np.ndarray]:
    """The integers of a packed list, uint64 arrays one after another.

    Raises:
      WireError: the last one is cut short, or one has more than ten bytes.
    """
    content = np.frombuffer(data, np.uint8)
    start = 0
    while start < len(content):
        block = content[start : start + _BLOCK]
        ends = np.flatnonzero(block < 0x80)
        if not len(ends):
            raise WireError("a varint of more than ten bytes, or cut short")
        block = block[: ends[-1] + 1]
        start += len(block)
        if len(ends) == len(block):
            yield block.astype(np.uint64)
            continue
        starts = np.concatenate([[0], ends[:-1] + 1])
        sizes = ends - starts + 1
        if sizes.max() > 10:
            raise WireError("a varint of more than ten bytes")
        values = np.zeros(len(ends), np.uint64)
        for place in range(int(sizes.max())):
            has = sizes > place
            digits = (block[starts[has] + place] & 0x7F).astype(np.uint64)
            values[has] |= digits << np.uint64(7 * place)
        yield values


def varint(value: int) -> bytes:
    """An unsigned integer, seven bits a byte."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def field(number: int, *content: bytes) -> bytes:
    """A field of bytes."""
    size = sum(map(len, content))
    return b"".join([varint(number << 3 | BYTES), varint(size), *content])
