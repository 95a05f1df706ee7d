"""Shows a person the steps of a run: how far they are, how long they take."""

from __future__ import annotations

import contextlib
import logging
import os
import pathlib
import sys
import time
from collections.abc import Iterator
from typing import IO

import rich.console
import rich.progress

from components.base.progress import LOGGER

FILE_COLUMNS = 120
"""Width of what is written to a file or pipe, where there is no terminal to ask."""
_SPEAK_SECONDS = 30
"""Interval of the lines where there is no terminal."""
_ESTIMATE_SECONDS = 5
"""Work is watched for so long before an estimate is given,"""
_LONG_SECONDS = 60
"""and the estimate is said if it is at least so long."""


def console(stream: IO[str]) -> rich.console.Console:
    """A console on a stream; tables fit where it is no terminal."""
    width = None if stream.isatty() else FILE_COLUMNS
    return rich.console.Console(file=stream, highlight=False, width=width)


@contextlib.contextmanager
def quiet(log: pathlib.Path, verbose: bool) -> Iterator[tuple[IO[str], IO[str]]]:
    """Sends what Python and C++ libraries print to a log file, unless verbose.

    The file descriptors themselves are redirected: TensorFlow and oneDNN write from C++.

    Yields:
      The real standard output and standard error.
    """
    if verbose:
        yield sys.stdout, sys.stderr
        return
    sys.stdout.flush()
    sys.stderr.flush()
    with (
        os.fdopen(os.dup(1), "w", encoding="utf-8", errors="replace") as real_out,
        os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace") as real_err,
        open(log, "ab", buffering=0) as file,
    ):
        try:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
            yield real_out, real_err
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            real_out.flush()
            real_err.flush()
            os.dup2(real_out.fileno(), 1)
            os.dup2(real_err.fileno(), 2)


def duration(seconds: float) -> str:
    """A time as people say it: `40 s`, `12 min`, `3 h 5 min`."""
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


class _Estimate:
    """Estimates the rest of a step's time from its speed so far.

    Attributes:
      said: Whether it was told.
    """

    def __init__(self) -> None:
        self.said = False
        self._work: str | None = None
        self._since, self._from = 0.0, 0

    def left(self, work: str, done: int, total: int | None) -> float | None:
        """Seconds; None while it is too early to say.

        What was done before the first report does not count: it is slow to begin.

        Args:
          work: What is reported of; other work begins a new estimate.
          done, total: How far it is.
        """
        now = time.monotonic()
        if work != self._work or done < self._from:
            self._work, self._since, self._from = work, now, done
            self.said = False
        if not total or done <= self._from or now - self._since < _ESTIMATE_SECONDS:
            return None
        return (total - done) * (now - self._since) / (done - self._from)


class Steps(logging.Handler):
    """Shows the steps of a run; also the handler that hears what steps report.

    Attributes:
      total: Number of steps there will be.
    """

    def __init__(self, stream: IO[str], total: int = 1):
        super().__init__(logging.INFO)
        self.console = console(stream)
        self.total = total
        self._number = 0
        self._running: list[Step] = []
        self._progress = rich.progress.Progress(
            rich.progress.SpinnerColumn(),
            rich.progress.TextColumn("{task.description}"),
            rich.progress.BarColumn(bar_width=24),
            # Of files, whose names are not markup.
            rich.progress.TextColumn("{task.fields[message]}", markup=False),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TimeRemainingColumn(compact=True),
            console=self.console,
            transient=True,
            # A step is forked while this is drawn: its output would wait for a lock of ours.
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Steps:
        LOGGER.addHandler(self)
        LOGGER.setLevel(logging.INFO)
        LOGGER.propagate = False
        return self

    def __exit__(self, *exception: object) -> None:
        for step in list(self._running):
            self._end(step)
        LOGGER.removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        """Hears `components.base.progress.tell`, of the step that began last."""
        if not self._running:  # other steps are shown inside this command's
            return
        self._running[-1].hear(
            getattr(record, "step", ""),
            getattr(record, "done", 0),
            getattr(record, "total", None),
            record.getMessage(),
        )

    def start(self, name: str) -> Step:
        """A step begins."""
        self._number += 1
        if self.console.is_terminal:
            self._progress.start()
        title = f"{self._number:2}/{self.total} {name}"
        task = self._progress.add_task(title, total=None, message="")
        self._running.append(Step(name, title, self, task))
        return self._running[-1]

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """A step that is done or, if it raises, failed."""
        step = self.start(name)
        try:
            yield
        except BaseException:
            step.finish("failed")
            raise
        step.finish("done")

    def _end(self, step: Step) -> None:
        if step not in self._running:
            return
        self._running.remove(step)
        self._progress.remove_task(step._task)
        if self.console.is_terminal and not self._running:
            self._progress.stop()


class Step:
    """A step that runs, as `Steps.start` shows it."""

    def __init__(self, name: str, title: str, steps: Steps, task: rich.progress.TaskID):
        self._name, self._title = name, title
        self._steps, self._task = steps, task
        self._started = self._spoken = time.monotonic()
        self._estimate = _Estimate()

    def hear(self, work: str, done: int, total: int | None, message: str) -> None:
        """How far it is, as `components.base.progress.tell` is told."""
        left = self._estimate.left(work, done, total)
        if left is not None and left >= _LONG_SECONDS and not self._estimate.said:
            self._estimate.said = True
            self.say(f"    {self._name}: about {duration(left)} to go")
        if self._steps.console.is_terminal:
            self._steps._progress.update(self._task, completed=done, total=total, message=message)
        elif time.monotonic() - self._spoken > _SPEAK_SECONDS:
            self._spoken = time.monotonic()
            share = f" {100 * done / total:.0f} %" if total else ""
            rest = "" if left is None else f", about {duration(left)} to go"
            self.say(f"    {self._name}{share}: {message}{rest}")

    def say(self, text: str) -> None:
        """Says what is worth lines of its own."""
        self._steps.console.print(text, soft_wrap=True, markup=False)

    def finish(self, state: str) -> float:
        """The step ended; returns its seconds."""
        seconds = time.monotonic() - self._started
        self._steps._end(self)
        marks = {"done": "[green]✓[/]", "cached": "[blue]=[/]", "failed": "[red]✗[/]"}
        note = "unchanged, from the cache" if state == "cached" else f"{seconds:6.1f} s"
        self._steps.console.print(f" {marks[state]} {self._title:<30} {note}")
        return seconds
