"""Receiving gRPC messages: a few at a time, since each may be as large as is allowed.

gRPC takes what a stream sends when it is asked for the message, and until then no more than a
flow-control window (64 KiB). Asked for all at once, thousands of clients that have begun a large
message would fill the memory before any of it could be counted.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib

import grpc

_LEAST = 8
_PATIENCE_SECONDS = 1.0
"""A message that takes longer has to arrive while nobody waits for its place."""


class Reception:
    """Of one event loop.

    Args:
      places: Messages that are received at the same time; at least eight.
    """

    def __init__(self, places: int) -> None:
        self._free = max(_LEAST, places)
        self._waiting: collections.deque[asyncio.Future[None]] = collections.deque()
        self._receiving: dict[asyncio.Task[object], float] = {}
        """Since when; in the order of their begin."""
        self._slow: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def read(self, context: grpc.aio.ServicerContext) -> bytes:
        """The message of a call. One that is slow loses its place to those who wait, and its call
        ends with RESOURCE_EXHAUSTED."""
        await self._enter()
        task = asyncio.current_task()
        assert task is not None
        self._receiving[task] = asyncio.get_running_loop().time()
        self._watch()
        try:
            message = await context.read()
        except asyncio.CancelledError:
            if task not in self._slow:
                raise
            message = None
        finally:
            del self._receiving[task]
            self._leave()
        if message is None:
            self._slow.discard(task)
            await context.abort(
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                "The message came slower than others that wait to be received",
            )
        if message is grpc.aio.EOF:
            await context.abort(grpc.StatusCode.INTERNAL, "The call has no message")
        return message

    async def _enter(self) -> None:
        if self._free and not self._waiting:
            self._free -= 1
            return
        place = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        self._watch()
        try:
            await place
        except asyncio.CancelledError:
            if place.cancelled():
                with contextlib.suppress(ValueError):  # passed over in the meantime
                    self._waiting.remove(place)
            else:
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self._free += 1

    def _watch(self) -> None:
        """Ends, while some wait, what is received for too long."""
        if self._timer is None and self._waiting and self._receiving:
            loop = asyncio.get_running_loop()
            due = next(iter(self._receiving.values())) + _PATIENCE_SECONDS
            self._timer = loop.call_at(due, self._end_slow)

    def _end_slow(self) -> None:
        self._timer = None
        now = asyncio.get_running_loop().time()
        slow = [t for t, since in self._receiving.items() if now - since >= _PATIENCE_SECONDS]
        for task in slow[: len(self._waiting)]:
            self._slow.add(task)
            task.cancel()
        if len(self._waiting) > len(slow):
            self._watch()
