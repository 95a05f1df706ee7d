"""Where a file is cut, and the keys of what is cut from it.

All of it follows from the bytes of the file and the settings: not from its name, from other
files, or from how the work is divided.
"""

from __future__ import annotations

import hashlib
from typing import IO

import numpy as np

_CHUNK = 1 << 20


def file_key(stream: IO[bytes]) -> bytes:
    """BLAKE2b of a file's bytes: 8 of them.

    Args:
      stream: At its beginning, and again when this returns.
    """
    digest = hashlib.blake2b(digest_size=8)
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    stream.seek(0)
    return digest.digest()


def places(
    key: bytes, height: int, width: int, size: tuple[int, int], number: int
) -> list[tuple[int, int]]:
    """The (top, left) of the patches of an image, each another one.

    The same image has the same places always, and a larger number only adds some.

    Args:
      key: `file_key`.
      height, width: Of the image, no less than a patch's.
      size: (height, width) of a patch.
      number: How many; fewer where the image has no more places.
    """
    rows, columns = height - size[0] + 1, width - size[1] + 1
    wanted = min(number, rows * columns)
    found: dict[tuple[int, int], None] = {}
    draw = 0
    # Where nearly all places are taken, drawing would find the last ones late.
    while len(found) < wanted and draw < 4 * number:
        value = int.from_bytes(_hash(key, b"place", draw), "little")
        found[divmod(value * rows * columns >> 64, columns)] = None
        draw += 1
    for place in range(rows * columns if len(found) < wanted else 0):
        found[divmod(place, columns)] = None
        if len(found) == wanted:
            break
    return list(found)


def keys(key: bytes, number: int) -> np.ndarray:
    """The keys of the patches of a file: int64 (n,).

    Args:
      key: `file_key`; of a pair, of both files.
      number: Of patches.
    """
    digests = b"".join(_hash(key, b"patch", at) for at in range(number))
    return np.frombuffer(digests, "<i8").astype(np.int64)


def as_number(key: bytes) -> int:
    """A key as a number from 0 to 2^64 - 1, by which it is chosen for validation."""
    return int.from_bytes(key, "little")


def _hash(key: bytes, purpose: bytes, number: int) -> bytes:
    return hashlib.blake2b(
        key + number.to_bytes(8, "little"), digest_size=8, person=purpose
    ).digest()
