"""PNGs byte by byte, of kinds that Pillow does not write."""

from __future__ import annotations

import struct
import zlib


def png(
    kind: int, bits: int, rows: bytes, *chunks: tuple[bytes, bytes], size: tuple[int, int] = (2, 1)
) -> bytes:
    """A PNG of 2x1 pixels, or one that says it has more."""
    head = struct.pack(">IIBBBBB", *size, bits, kind, 0, 0, 0)
    content = b"\x89PNG\r\n\x1a\n"
    for name, data in (
        (b"IHDR", head),
        *chunks,
        (b"IDAT", zlib.compress(b"\0" + rows)),
        (b"IEND", b""),
    ):
        content += struct.pack(">I", len(data)) + name + data
        content += struct.pack(">I", zlib.crc32(name + data))
    return content
