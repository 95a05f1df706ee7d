"""A call in a fresh process: its seconds, and the peak memory of it and its children."""

from __future__ import annotations

import dataclasses
import importlib
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from typing import Any

import psutil

from components.base.process import end_with_parent

_SAMPLE_SECONDS = 0.05
_ROOT = pathlib.Path(__file__).resolve().parent.parent


@dataclasses.dataclass(frozen=True)
class Measured:
    """Time and memory that one call took."""

    result: dict[str, Any]
    """The function's return value."""
    seconds: float
    """Wall-clock time of the call, without the start of the process and its imports."""
    cpu_seconds: float
    """Processor time of the call and its children on all cores. A busy machine changes it least."""
    process_seconds: float
    """Wall-clock time from the start of the process to its end."""
    peak_bytes: int
    """Most resident memory of the process and its children at one time."""


def call(function: str, **arguments: Any) -> Measured:
    """Calls `package.module.function` in a fresh Python process.

    Args:
      function: A function that returns plain values, as a dict; or with `seconds` among them,
        where not all of the call is to be counted.
      **arguments: Plain values.

    Raises:
      RuntimeError: it failed; has the end of what it wrote.
    """
    with tempfile.TemporaryDirectory() as folder:
        answer, log = pathlib.Path(folder, "answer.json"), pathlib.Path(folder, "log")
        command = [sys.executable, "-m", __name__, str(answer), function, json.dumps(arguments)]
        started = time.perf_counter()
        with log.open("w") as stream:
            process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, cwd=_ROOT)
            with _Peak(process.pid) as peak:
                status = process.wait()
        process_seconds = time.perf_counter() - started
        if status or not answer.exists():
            ending = "\n".join(log.read_text(errors="replace").splitlines()[-30:])
            raise RuntimeError(f"{function} ended with status {status}:\n{ending}")
        result = json.loads(answer.read_text())
    seconds = result.get("seconds", result.pop("call_seconds"))
    return Measured(result, seconds, result.pop("cpu_seconds"), process_seconds, peak.bytes)


def run(command: list[str]) -> Measured:
    """Runs a command; `result` has its `status` and the `output` on stdout."""
    started, cpu_started = time.perf_counter(), _children_cpu_seconds()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, cwd=_ROOT)
        with _Peak(process.pid) as peak:
            status = process.wait()
        seconds = time.perf_counter() - started
        cpu_seconds = _children_cpu_seconds() - cpu_started
        output.seek(0)
        errors.seek(0)
        if status:
            raise RuntimeError(f"{' '.join(command)}: status {status}:\n{errors.read()[-3000:]}")
        return Measured({"output": output.read()}, seconds, cpu_seconds, seconds, peak.bytes)


def _children_cpu_seconds() -> float:
    """Processor time of the children that have ended."""
    times = os.times()
    return times.children_user + times.children_system


def median(values: Iterable[float]) -> float:
    """The median, of at least one value."""
    return float(statistics.median(values))


class _Peak(threading.Thread):
    """Samples the memory of a process and its children while in the `with` block."""

    def __init__(self, pid: int):
        super().__init__(daemon=True)
        self._process = psutil.Process(pid)
        self._over = threading.Event()
        self.bytes = 0

    def run(self) -> None:
        while not self._over.wait(_SAMPLE_SECONDS):
            try:
                family = [self._process, *self._process.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            total = 0
            for member in family:
                try:
                    total += member.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            self.bytes = max(self.bytes, total)

    def __enter__(self) -> _Peak:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def main() -> None:
    """Calls the function in the fresh process and writes the answer."""
    end_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    answer, function, arguments = sys.argv[1:]
    module, name = function.rsplit(".", 1)
    called = getattr(importlib.import_module(module), name)
    started, cpu_started = time.perf_counter(), time.process_time() + _children_cpu_seconds()
    result = called(**json.loads(arguments))
    result["call_seconds"] = time.perf_counter() - started
    result["cpu_seconds"] = time.process_time() + _children_cpu_seconds() - cpu_started
    pathlib.Path(answer).write_text(json.dumps(result))


if __name__ == "__main__":
    main()
