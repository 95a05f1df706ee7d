"""TensorFlow's profiler over gRPC (tsl/profiler/protobuf/profiler_service.proto), by which
TensorBoard captures a profile of a server that runs.

As TensorFlow's own service, it writes the profile to the folder that the request names, where
the client looks for it.
"""

from __future__ import annotations

import asyncio
import pathlib
import shutil
import tempfile
from typing import Any

from serving.protocol import wire
from serving.protocol.codes import Code, StatusError, invalid_argument

SERVICE = "tensorflow.ProfilerService"
_DURATION, _ROOT, _SESSION, _HOST = 1, 5, 6, 7
_MOST_SECONDS = 60.0


class Profiler:
    """One session at a time, as TensorFlow has it."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def profile(self, message: bytes, _: str) -> bytes:
        """ProfilerService.Profile: a serialised ProfileRequest to the serialised response.

        Raises:
          StatusError: it cannot be written there, or another session is running.
        """
        seconds, target = _asked(message)
        if self._lock.locked():
            raise StatusError(Code.ALREADY_EXISTS, "Another profiler session is running")
        async with self._lock:
            with tempfile.TemporaryDirectory() as folder:
                await asyncio.to_thread(_start, folder)
                try:
                    await asyncio.sleep(seconds)
                finally:
                    await asyncio.to_thread(_stop)
                await asyncio.to_thread(_keep, pathlib.Path(folder), target)
        return b""


def _asked(message: bytes) -> tuple[float, pathlib.Path]:
    """For how long, and the file to be written."""
    found: dict[int, Any] = {_DURATION: 0, _ROOT: b"", _SESSION: b"", _HOST: b""}
    try:
        for number, kind, value in wire.fields(memoryview(message)):
            if number in found and (kind == wire.VARINT) == (number == _DURATION):
                found[number] = value
        root, session, host = (wire.text(memoryview(found[n])) for n in (_ROOT, _SESSION, _HOST))
    except wire.WireError as error:
        raise invalid_argument(f"The request is no ProfileRequest: {error}") from error
    seconds = found[_DURATION] / 1000
    if not 0 < seconds <= _MOST_SECONDS:
        raise invalid_argument(f"duration_ms: expected 1 to {_MOST_SECONDS * 1000:.0f}")
    if not root or not session or not host or "/" in session + host:
        raise invalid_argument("expected a repository_root, a session_id and a host_name")
    return seconds, pathlib.Path(root, session, f"{host.replace(':', '_')}.xplane.pb")


def _start(folder: str) -> None:
    import tensorflow as tf

    tf.profiler.experimental.start(folder)


def _stop() -> None:
    import tensorflow as tf

    tf.profiler.experimental.stop()


def _keep(folder: pathlib.Path, target: pathlib.Path) -> None:
    [profile] = folder.rglob("*.xplane.pb")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(profile, target)
    except OSError as error:
        raise StatusError(Code.PERMISSION_DENIED, f"{target}: {error.strerror}") from error
