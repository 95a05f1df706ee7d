"""Bodies of REST requests: received and unpacked, and never more than is allowed."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable

from aiohttp import web

from serving.protocol.codes import Code, StatusError, invalid_argument

ENCODINGS = ("gzip", "deflate")
_GZIP, _ZLIB, _RAW = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS, -zlib.MAX_WBITS


async def read(
    request: web.Request, limit: int, seconds: float, hold: Callable[[int], None]
) -> bytes:
    """The body of a request, without its Content-Encoding.

    Args:
      request: Of an application that does not unpack bodies itself.
      limit: Bytes of the body, both packed and unpacked.
      seconds: In which it must have arrived.
      hold: Called with the number of bytes more that are held; may raise.

    Raises:
      web.HTTPException: 413 for more than `limit`, 415 for another encoding.
      StatusError: DEADLINE_EXCEEDED; INVALID_ARGUMENT when the body is not what its head says.
    """
    encoding = request.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in (*ENCODINGS, "x-gzip", "identity", ""):
        raise web.HTTPUnsupportedMediaType(
            reason=f"Content-Encoding {encoding[:40]!r} is not one of {', '.join(ENCODINGS)}"
        )
    if (request.content_length or 0) > limit:
        raise web.HTTPRequestEntityTooLarge(limit, request.content_length or 0)
    unpack = None if encoding in ("identity", "") else _Unpacking(encoding, limit)
    try:
        return await within(seconds, _receive(request, limit, unpack, hold))
    except (StatusError, web.HTTPException):
        raise
    except Exception as error:
        # aiohttp has no one class for a body that is not what its head says.
        raise invalid_argument(f"The request body cannot be read: {error}") from error


async def within(seconds: float, awaitable: Awaitable[bytes]) -> bytes:
    """As asyncio.wait_for.

    An error's traceback leads through wait_for to the task, and the task to the error: only the
    cyclic collector would free them, and the bodies and arrays that their frames hold.

    Raises:
      StatusError: DEADLINE_EXCEEDED.
    """
    try:
        return await asyncio.wait_for(awaitable, seconds)
    except asyncio.TimeoutError:
        raise StatusError(Code.DEADLINE_EXCEEDED, f"Timed out after {seconds:g} seconds") from None
    except Exception as error:
        raise error.with_traceback(None)  # noqa: B904


async def _receive(
    request: web.Request, limit: int, unpack: _Unpacking | None, hold: Callable[[int], None]
) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for chunk in request.content.iter_any():
        if unpack is not None:
            chunk = await asyncio.to_thread(unpack, chunk)
        size += len(chunk)
        if size > limit:
            raise web.HTTPRequestEntityTooLarge(limit, size)
        hold(len(chunk))
        parts.append(chunk)
    if unpack is not None and not unpack.complete:
        raise invalid_argument("The request body cannot be read: it ends within its compression")
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _Unpacking:
    """Unpacks what comes, up to a number of bytes and one more."""

    def __init__(self, encoding: str, limit: int) -> None:
        self._gzip = encoding.endswith("gzip")
        self._left = limit + 1
        self._stream = zlib.decompressobj(_GZIP) if self._gzip else None
        self.complete = False

    def __call__(self, packed: bytes) -> bytes:
        parts = []
        while packed and self._left:
            if self._stream is None:
                # "deflate" is with zlib's head (RFC 9110) or, from some clients, without.
                self._stream = zlib.decompressobj(_ZLIB if packed[0] & 0x0F == 8 else _RAW)
            parts.append(self._stream.decompress(packed, self._left))
            self._left -= len(parts[-1])
            self.complete = self._stream.eof
            packed = self._stream.unconsumed_tail
            if self._stream.eof:
                packed = self._stream.unused_data if self._gzip else b""
                self._stream = zlib.decompressobj(_GZIP) if packed else self._stream
        return b"".join(parts)
