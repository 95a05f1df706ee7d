"""Calls a function in a process of its own, and names what ended that process.

Native code can end its process: an instruction that the CPU does not run, a fault, the kernel
when memory is out. The process that called goes on and can say what happened.
"""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import pathlib
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing import connection
from typing import Any, TypeVar

from components.base import libraries, progress
from components.base.errors import RunError
from components.base.process import end_with_parent

_OOM_SCORE = "500"
"""Added to the child's score, of 1000: when memory is out, the kernel ends it before its parent."""
_GRACE_SECONDS = 10
"""A child may take so long to end after it has answered."""
_Result = TypeVar("_Result")

_ADVICE: dict[int, str] = {
    signal.SIGILL: "this CPU does not run an instruction that it was given. Where a model is "
    "trained, set training.precision=float32.",
    signal.SIGKILL: "most likely by the kernel, because memory was out. Give it more memory; where "
    "a model is trained, set training.cache=disk or a smaller training.batch_size.",
    signal.SIGTERM: "somebody or something asked it to end. Run again to go on.",
}
_OTHER_ADVICE = "a fault in native code. Run again; if it comes again, look at the end of the log."


class DiedError(RunError):
    """A process was ended by a signal, or ended without an answer.

    Attributes:
      reason: Which signal, or which exit status, in a few words.
    """

    reason = ""


def died(exit_code: int) -> DiedError:
    """The error for a process that gave no answer.

    Args:
      exit_code: As multiprocessing has it: -N for signal N.
    """
    if exit_code < 0:
        number = -exit_code
        known = number in set(signal.Signals)
        name = signal.Signals(number).name if known else f"signal {number}"
        reason = f"ended by {name} ({signal.strsignal(number) or 'unknown'})"
        advice = _ADVICE.get(number, _OTHER_ADVICE)
    else:
        reason = f"ended with exit status {exit_code}"
        advice = "look at the end of the log."
    error = DiedError(f"its process was {reason}: {advice}")
    error.reason = reason
    return error


def call(
    function: Callable[..., _Result],
    *arguments: Any,
    fork: bool = False,
    environment: Mapping[str, str] | None = None,
    seconds: float | None = None,
) -> _Result:
    """Calls a function in a process of its own; what it reports, returns and raises arrives here.

    The process ends with this one, however this one ends.

    Args:
      function: Of a module, if not `fork`.
      *arguments: Values that can be pickled, if not `fork`.
      fork: Begin with what is imported here, in some milliseconds. Only where nothing has
        started threads that hold locks: TensorFlow may be imported, but must have computed
        nothing. Otherwise the process imports what it needs anew.
      environment: Variables to set before anything runs.
      seconds: Limit.

    Raises:
      DiedError: the process was ended by a signal, or ended without an answer.
      TimeoutError: it took longer than `seconds` and was ended.
    """
    context = multiprocessing.get_context("fork" if fork else "spawn")
    receiver, sender = context.Pipe(duplex=False)
    sys.stdout.flush()
    sys.stderr.flush()
    process = context.Process(  # type: ignore[attr-defined]
        target=_run, args=(sender, os.getpid(), dict(environment or {}), function, arguments)
    )
    process.start()
    sender.close()
    try:
        kind, value = _answer(receiver, process, seconds)
        process.join(_GRACE_SECONDS)
    finally:
        # Also on KeyboardInterrupt: TensorFlow does not hear it while it computes.
        process.kill()
        process.join()
        receiver.close()
    if kind == "raised":
        raise value
    result: _Result = value
    return result


def _answer(
    receiver: connection.Connection, process: Any, seconds: float | None
) -> tuple[str, Any]:
    """Passes on what the process reports, until it answers."""
    deadline = None if seconds is None else time.monotonic() + seconds
    while True:
        left = None if deadline is None else max(0.0, deadline - time.monotonic())
        if not connection.wait([receiver, process.sentinel], left):
            raise TimeoutError(f"took longer than {seconds:.0f} s")
        try:
            # What it wrote before it died comes before its death.
            message: tuple[str, Any] | None = receiver.recv() if receiver.poll() else None
        except (EOFError, OSError, pickle.UnpicklingError):
            message = None
        if message is None:
            process.join()
            raise died(process.exitcode)
        kind, value = message
        if kind != "reported":
            return message
        progress.tell(*value)


class _Reports(logging.Handler):
    """Sends progress to the parent."""

    def __init__(self, sender: connection.Connection):
        super().__init__(logging.INFO)
        self._sender = sender

    def emit(self, record: logging.LogRecord) -> None:
        step, done = getattr(record, "step", ""), getattr(record, "done", 0)
        self.send("reported", (step, done, getattr(record, "total", None), record.getMessage()))

    def send(self, kind: str, value: Any) -> None:
        with self.lock or contextlib.nullcontext():
            self._sender.send((kind, value))


def _run(
    sender: connection.Connection,
    parent: int,
    environment: dict[str, str],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
) -> None:
    libraries.spare_processor()
    # A thread that waits for the parent's end would not do: TensorFlow keeps the interpreter
    # lock while it waits for other workers.
    end_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    # The parent hears it, and ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE, encoding="utf-8")
    os.environ.update(environment)
    reports = _Reports(sender)
    progress.LOGGER.handlers[:] = [reports]
    progress.LOGGER.setLevel(logging.INFO)
    progress.LOGGER.propagate = False
    try:
        reports.send("returned", function(*arguments))
    except Exception as error:
        # On a full disk the log takes no more, but the answer must leave.
        with contextlib.suppress(OSError):
            traceback.print_exc()
        reports.send("raised", _sendable(error))


def _sendable(error: Exception) -> Exception:
    """The exception, or one that says the same where it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RunError(f"{type(error).__name__}: {error}")
    return error
