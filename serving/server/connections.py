"""REST connections: how many there are, and how long one may stay without a request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import orjson
from aiohttp import web

_LOOK_SECONDS = 1.0


class Connections:
    """Those of one web.Server, which asyncio would let in until there are no descriptors left,
    and keep for ever while they send nothing."""

    def __init__(self, most: int, idle_seconds: float) -> None:
        self._most = most
        self._idle_seconds = idle_seconds
        self._busy: set[asyncio.BaseProtocol] = set()
        self._idle_since: dict[web.RequestHandler, tuple[float, int]] = {}
        """And the bytes of an answer that it had not taken yet."""
        self._task: asyncio.Task[None] | None = None

    @property
    def middleware(self) -> Callable[..., Awaitable[web.StreamResponse]]:
        """Sees which connections have a request."""

        @web.middleware
        async def middleware(
            request: web.Request,
            handler: Callable[[web.Request], Awaitable[web.StreamResponse]],
        ) -> web.StreamResponse:
            self._busy.add(request.protocol)
            try:
                return await handler(request)
            finally:
                self._busy.discard(request.protocol)
                self._idle_since.pop(request.protocol, None)

        return middleware

    def start(self, server: web.Server) -> Callable[[], asyncio.BaseProtocol]:
        """Watches a server's connections.

        Returns:
          What makes a protocol for each new connection.
        """
        self._task = asyncio.create_task(self._watch(server))

        def protocol() -> asyncio.BaseProtocol:
            if len(server.connections) >= self._most:
                idle = [c for c in server.connections if c not in self._busy]
                if not idle:
                    return _Refusal(self._most)
                now = (time.monotonic(), 0)
                # One that is still taking an answer only where there is no other.
                _end(min(idle, key=lambda c: (_waiting(c) > 0, self._idle_since.get(c, now))))
            return server()

        return protocol

    async def _watch(self, server: web.Server) -> None:
        while True:
            await asyncio.sleep(min(_LOOK_SECONDS, self._idle_seconds / 2))
            now = time.monotonic()
            idle = {}
            for connection in server.connections:
                if connection in self._busy or connection.transport is None:
                    continue
                waiting = _waiting(connection)
                since, last = self._idle_since.get(connection, (now, waiting))
                if waiting != last:
                    since = now  # it is still taking an answer
                if now - since > self._idle_seconds:
                    _end(connection)
                else:
                    idle[connection] = (since, waiting)
            self._idle_since = idle

    def stop(self) -> None:
        """Watches no longer."""
        if self._task is not None:
            self._task.cancel()


def _waiting(connection: web.RequestHandler) -> int:
    """The bytes of an answer that a client has not taken yet."""
    transport = connection.transport
    return transport.get_write_buffer_size() if isinstance(transport, asyncio.Transport) else 0


def _end(connection: web.RequestHandler) -> None:
    """Ends a connection now: closing one whose client takes nothing would wait for it for ever,
    with the answer."""
    transport = connection.transport
    connection.force_close()
    if isinstance(transport, asyncio.Transport):
        transport.abort()


class _Refusal(asyncio.Protocol):
    """Tells a client that there are too many."""

    def __init__(self, most: int) -> None:
        error = f"There are {most} connections with a request, which is as many as are taken."
        self._body = orjson.dumps({"error": error})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nContent-Length: %d\r\n\r\n%s" % (len(self._body), self._body)
        )
        transport.close()
