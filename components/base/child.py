"""Calls a function in a process of its own, and names what ended that process.

Native code can end its process: an instruction that the CPU does not run, a fault, the kernel
when memory is out. The process that called goes on and can say what happened.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import multiprocessing
import os
import pathlib
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Callable, Collection, Mapping
from multiprocessing import connection
from typing import Any, Generic, TypeVar

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
    process = _Process(function, arguments, fork, environment or {}, progress.tell)
    try:
        result: _Result = process.answer(seconds)
    finally:
        process.end()
    return result


class Beside(Generic[_Result]):
    """A function that is called while its caller goes on.

    It is called in a process forked from this one, as by `call`. Where this one may not fork, since
    TensorFlow has computed in it (as in a notebook: its threads and the locks they hold would be
    missing and held for ever in the fork), it is called in this one, when its answer is asked for.

    Args:
      function: What to call.
      *arguments: Of it.
      tell: Is told what it reports, as `progress.tell` is.
    """

    def __init__(
        self,
        function: Callable[..., _Result],
        *arguments: Any,
        tell: Callable[[str, int, int | None, str], None] = progress.tell,
    ):
        self._process: _Process | None = None
        if libraries.untouched():
            self._process = _Process(function, arguments, True, {}, tell)
        self._function = functools.partial(function, *arguments)

    def answer(self) -> _Result:
        """Waits for the result, and ends the process; raises as `call` does."""
        if self._process is None:
            return self._function()
        try:
            result: _Result = self._process.answer()
        finally:
            self._process.end()
        return result

    def __enter__(self) -> Beside[_Result]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def end(self) -> None:
        """Ends the process, whatever it does."""
        if self._process is not None:
            self._process.end()


def first(called: Collection[Beside[_Result]]) -> Beside[_Result]:
    """Waits for one of several that has its answer, and passes on what all of them report."""
    while True:
        for each in called:
            if each._process is None or each._process.answered:
                return each
        ready = connection.wait(
            [waited for each in called if each._process for waited in each._process.waited]
        )
        for each in called:
            if each._process and not set(ready).isdisjoint(each._process.waited):
                each._process.hear()


class _Process:
    """A process that calls a function; the arguments are those of `call` and `Beside`."""

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        fork: bool,
        environment: Mapping[str, str],
        tell: Callable[[str, int, int | None, str], None],
    ):
        context = multiprocessing.get_context("fork" if fork else "spawn")
        self._receiver, sender = context.Pipe(duplex=False)
        sys.stdout.flush()
        sys.stderr.flush()
        self._process = context.Process(  # type: ignore[attr-defined]
            target=_run, args=(sender, os.getpid(), dict(environment), function, arguments)
        )
        self._tell = tell
        self._answer: tuple[str, Any] | None = None
        self._process.start()
        sender.close()
        self.waited = [self._receiver, self._process.sentinel]
        """What is ready when `hear` would not wait."""

    @property
    def answered(self) -> bool:
        """Whether its answer, or its death, was heard."""
        return self._answer is not None

    def hear(self) -> None:
        """Passes on one report, or keeps the answer; what cannot be read or told is one, too."""
        try:
            message = self._message()
            if message is None:
                self._process.join()
                self._answer = "raised", died(self._process.exitcode)
            elif message[0] == "reported":
                self._tell(*message[1])
            else:
                self._answer = message
        except Exception as error:
            self._process.kill()
            self._answer = "raised", error

    def _message(self) -> tuple[str, Any] | None:
        """What it sent; None: it is dead. What it wrote before it died comes before its death."""
        try:
            return self._receiver.recv() if self._receiver.poll() else None
        except (EOFError, OSError, pickle.UnpicklingError):
            return None

    def answer(self, seconds: float | None = None) -> Any:
        """Passes on what the process reports, until it answers; returns or raises its answer."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self._answer is None:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not connection.wait(self.waited, left):
                raise TimeoutError(f"took longer than {seconds:.0f} s")
            self.hear()
        kind, value = self._answer
        self._process.join(_GRACE_SECONDS)
        if kind == "raised":
            raise value
        return value

    def end(self) -> None:
        """Ends the process, whatever it does."""
        # Also on KeyboardInterrupt: TensorFlow does not hear it while it computes.
        self._process.kill()
        self._process.join()
        self._receiver.close()


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
