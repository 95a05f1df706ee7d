"""JSON bodies read where they hold up nobody: here, on a thread, or in another process."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import pickle
import sys
import time
from typing import Any

from serving.calls import json_worker
from serving.protocol.codes import Code, StatusError

_log = logging.getLogger(__name__)
_SMALL = 16 * 1024
"""Bytes that are read on the event loop: an image of floats."""
_LARGE = 256 * 1024
"""Bytes from which on a body goes to the other process."""
_MEMORY = 2**30
"""Bytes of address space of the other process, besides a multiple of the largest body."""
_IDLE_SECONDS = 30.0
"""After which the other process ends, until there is another large body."""
_GROWTH = 24
"""What a body of `{},{},` becomes, as a multiple of it."""


class JsonReader:
    """Calls `serving.calls.json_requests`. For one event loop."""

    def __init__(self, largest: int) -> None:
        """Starts nothing yet.

        Args:
          largest: Bytes of the largest body there will be.
        """
        self._memory = _MEMORY + _GROWTH * largest
        self._process: asyncio.subprocess.Process | None = None
        self._one_at_a_time = asyncio.Lock()
        self._last_used = 0.0

    async def read(self, name: str, body: bytes, *arguments: Any) -> Any:
        """What a call of `json_worker.CALLS` makes of a body.

        Raises:
          StatusError: as it does; RESOURCE_EXHAUSTED when it took too much memory.
        """
        if len(body) <= _SMALL:
            return json_worker.CALLS[name](body, *arguments)
        if len(body) <= _LARGE:
            return await asyncio.to_thread(json_worker.CALLS[name], body, *arguments)
        async with self._one_at_a_time:
            succeeded, result = await self._in_process(name, (body, *arguments))
            self._last_used = time.monotonic()
        asyncio.get_running_loop().call_later(_IDLE_SECONDS + 1, self._end_if_idle)
        if not succeeded:
            raise StatusError(Code(result[0]), result[1])
        return result

    async def _in_process(self, name: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        process = self._process
        if process is None or process.returncode is not None:
            process = self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "serving.calls.json_worker",
                str(self._memory),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
            )
        assert process.stdin is not None
        assert process.stdout is not None
        length = json_worker.LENGTH
        try:
            message = pickle.dumps((name, arguments), protocol=5)
            process.stdin.write(length.pack(len(message)) + message)
            await process.stdin.drain()
            head = await process.stdout.readexactly(length.size)
            return pickle.loads(await process.stdout.readexactly(*length.unpack(head)))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            await self._end()
            _log.warning("the process that reads large JSON bodies has ended: %s", error)
            message_text = "The JSON takes too much memory to read."
            return False, (int(Code.RESOURCE_EXHAUSTED), message_text)
        except BaseException:
            # The client has gone, or is out of time: so much is left undone.
            await self._end()
            raise

    def _end_if_idle(self) -> None:
        """Gives back the memory of the process, which it would keep for the next body."""
        unused = time.monotonic() - self._last_used > _IDLE_SECONDS
        if unused and self._process is not None and not self._one_at_a_time.locked():
            assert self._process.stdin is not None
            self._process.stdin.close()
            self._process = None

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    async def close(self) -> None:
        """Ends the process."""
        await self._end()
