"""Computing calls: each alone, or several as one batch.

The batch scheduler has the parameters and the refusals of TF Serving's
(tensorflow/core/kernels/batching_util/shared_batch_scheduler.h,
tensorflow_serving/batching/batching_session.cc): a queue for each kind of call, in which
tasks gather until a batch is full or its first task has waited `batch_timeout_micros`, and
`num_batch_threads` threads which take the queues' batches in turn.

Three things are kinder than there. A batch that is not full waits a while, and grows, when others
keep the CPUs busy: of 64 clients with one image each, batches would else be of five, which take
twice the time by the image. When a batch fails, its tasks are run again one by one, so that only
the request at fault gets the error. And tasks of unlike shapes go into separate queues instead of
failing together.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import functools
import itertools
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import pydantic
from pydantic import Field

from serving.calls.inference import Invocation
from serving.protocol.codes import Code, StatusError, from_exception, invalid_argument
from serving.protocol.metrics import Metrics

_log = logging.getLogger(__name__)
_ROWS_AT_ONCE = 64
"""Of a call that is computed in parts: more are not faster by the row on a CPU, and a call of
one image waits for what one operation does with these."""


_BESIDE = max(1, (os.cpu_count() or 1) // 2)
"""Batches that are computed at once before one that is not full has to wait. An operation of
TensorFlow uses more than one CPU."""
_PATIENCE = 0.2
"""Seconds that it waits for them beyond the batch timeout: full batches of another kind of call may
keep the CPUs busy for ever."""


class BatchingParameters(pydantic.BaseModel):
    """The file of --batching_parameters_file, with the defaults of
    tensorflow/core/kernels/batching_util/basic_batch_scheduler.h."""

    model_config = pydantic.ConfigDict(frozen=True)

    max_batch_size: int = Field(1000, ge=1)
    """Rows of a batch."""
    batch_timeout_micros: int = Field(0, ge=0)
    max_enqueued_batches: int = Field(10, ge=1)
    """Batches waiting in one queue before more are refused with UNAVAILABLE."""
    num_batch_threads: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    thread_pool_name: str = "model_server_batch_threads"
    allowed_batch_sizes: tuple[int, ...] = ()
    """Sizes a batch is padded to, so that few shapes are ever computed."""
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = Field(None, ge=1)
    """Rows of a computed batch when larger requests are split."""

    @pydantic.model_validator(mode="after")
    def _check_sizes(self) -> BatchingParameters:
        sizes = self.allowed_batch_sizes
        if any(second <= first for first, second in itertools.pairwise(sizes)):
            raise ValueError("allowed_batch_sizes entries must be in increasing order")
        if sizes and sizes[-1] != self.batch_limit:
            raise ValueError(
                "Last entry in allowed_batch_sizes must match max_batch_size; last entry was "
                f"{sizes[-1]}; expected {self.batch_limit}"
            )
        return self

    @property
    def batch_limit(self) -> int:
        """Rows that are computed at once at most."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return min(self.max_execution_batch_size, self.max_batch_size)
        return self.max_batch_size

    @classmethod
    def from_message(cls, message: Any) -> BatchingParameters:
        """From TF Serving's BatchingParameters; what it leaves out keeps its default.

        Raises:
          pydantic.ValidationError: a value is out of range.
        """
        values: dict[str, Any] = {}
        for name in cls.model_fields:
            if name == "allowed_batch_sizes":
                values[name] = tuple(message.allowed_batch_sizes)
            elif message.HasField(name):
                values[name] = getattr(message, name).value
        return cls(**values)


class Runner(Protocol):
    """Computes invocations."""

    def submit(self, invocation: Invocation) -> asyncio.Future[list[np.ndarray]]:
        """The outputs to come. Called on the event loop. Cancelling them drops the call with its
        arrays, unless it is being computed.

        Raises:
          StatusError: refused: too much is waiting, or it can never be computed.
        """

    def close(self) -> None:
        """Finishes what was accepted, then stops."""


def _run(invocation: Invocation, metrics: Metrics, api: str = "Predict") -> list[np.ndarray]:
    start = time.perf_counter()
    outputs = invocation.servable.run(invocation.inputs, invocation.outputs)
    metrics.runtime(invocation.servable.name, api, time.perf_counter() - start)
    return outputs


def _resolve(future: asyncio.Future, outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, StatusError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


class DirectRunner:
    """Every call alone, at most `threads` at the same time.

    A call of many rows of a model whose rows are independent is computed in parts, one such call
    after the other: it takes the memory of a part, and calls of few rows get their turns.
    """

    def __init__(self, threads: int, max_pending: int, metrics: Metrics) -> None:
        self._pool = concurrent.futures.ThreadPoolExecutor(threads, "serving-run")
        self._large = concurrent.futures.ThreadPoolExecutor(1, "serving-run-large")
        self._slots = threads + max_pending
        self._metrics = metrics
        self._pending = 0

    def submit(self, invocation: Invocation) -> asyncio.Future[list[np.ndarray]]:
        if self._pending >= self._slots:
            raise StatusError(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[np.ndarray]] = loop.create_future()
        parts = _parts(invocation)
        future.add_done_callback(functools.partial(self._forget, parts))
        self._pending += 1
        pool = self._pool if len(parts) == 1 else self._large
        pool.submit(self._compute, parts, future, loop)
        return future

    def _compute(
        self, parts: list[Invocation], future: asyncio.Future, loop: asyncio.AbstractEventLoop
    ) -> None:
        outcome: Any
        try:
            results = []
            for part in parts:
                if future.cancelled():  # the client may have gone meanwhile
                    break
                results.append(_run(part, self._metrics))
            if future.cancelled():
                return
            outcome = results[0] if len(results) == 1 else _joined(results)
        except Exception as error:
            outcome = _without_traceback(error)
        _call_soon(loop, _resolve, future, outcome)

    def _forget(self, parts: list[Invocation], _: asyncio.Future) -> None:
        # Of a cancelled call nobody counts the bytes any more, and a thread may come to it late.
        self._pending -= 1
        parts.clear()

    def close(self) -> None:
        self._pool.shutdown(wait=True)
        self._large.shutdown(wait=True)


def _parts(invocation: Invocation) -> list[Invocation]:
    """A call in parts of few rows; itself where that would change what it computes."""
    rows = {array.shape[0] if array.ndim else 0 for array in invocation.inputs.values()}
    if not invocation.servable.independent_rows or len(rows) != 1 or max(rows) <= _ROWS_AT_ONCE:
        return [invocation]
    return [
        _slice(invocation, first, _ROWS_AT_ONCE) for first in range(0, max(rows), _ROWS_AT_ONCE)
    ]


def _joined(results: list[list[np.ndarray]]) -> list[np.ndarray]:
    return [np.concatenate(arrays) for arrays in zip(*results, strict=True)]


def _without_traceback(error: Exception) -> StatusError:
    """A status for another thread. The frames of this one hold the call's arrays, and would
    hold the error itself: only the cyclic collector would free them."""
    status = from_exception(error).with_traceback(None)
    status.__cause__ = status.__context__ = None
    return status


@dataclasses.dataclass(eq=False)
class _Task:
    invocation: Invocation
    rows: int
    future: asyncio.Future
    loop: asyncio.AbstractEventLoop
    enqueued: float = dataclasses.field(default_factory=time.monotonic)


class _Batch:
    def __init__(self) -> None:
        self.tasks: list[_Task] = []
        self.rows = 0


class _Queue:
    """Batches of one kind of call, none of them empty once it is in use; the last one is open."""

    def __init__(self) -> None:
        self.batches: collections.deque[_Batch] = collections.deque([_Batch()])

    def due(self, parameters: BatchingParameters, busy: bool) -> float:
        """When its first batch may be taken (monotonic seconds)."""
        first = self.batches[0]
        if len(self.batches) > 1 or first.rows >= parameters.batch_limit:
            return 0.0
        due = first.tasks[0].enqueued + parameters.batch_timeout_micros / 1e6
        return due + _PATIENCE if busy else due


class BatchingRunner:
    """Calls of one kind in batches."""

    def __init__(self, parameters: BatchingParameters, metrics: Metrics) -> None:
        self._parameters = parameters
        self._metrics = metrics
        self._queues: collections.OrderedDict[Any, _Queue] = collections.OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._computing = 0
        self._threads = [
            threading.Thread(
                target=self._work, name=f"{parameters.thread_pool_name}-{i}", daemon=True
            )
            for i in range(parameters.num_batch_threads)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, invocation: Invocation) -> asyncio.Future[list[np.ndarray]]:
        rows = _batch_size(invocation)
        parameters = self._parameters
        if rows <= parameters.batch_limit:
            return self._enqueue([(invocation, rows)])[0]
        if not parameters.enable_large_batch_splitting or rows > parameters.max_batch_size:
            raise invalid_argument(
                f"Task size {rows} is larger than maximum input batch size "
                f"{parameters.max_batch_size}"
            )
        parts = self._enqueue(
            [
                (_slice(invocation, first, size), size)
                for first in range(0, rows, parameters.batch_limit)
                for size in [min(parameters.batch_limit, rows - first)]
            ]
        )
        joined = asyncio.ensure_future(_join(parts))
        # The parts do not hear of it where it is cancelled before its first step, or one failed.
        joined.add_done_callback(lambda _: [part.cancel() for part in parts])
        return joined

    def _enqueue(
        self, parts: list[tuple[Invocation, int]]
    ) -> list[asyncio.Future[list[np.ndarray]]]:
        """Takes all parts of a call or none.

        Args:
          parts: With their rows; all but the last fill a batch.
        """
        loop = asyncio.get_running_loop()
        tasks = [_Task(part, max(rows, 1), loop.create_future(), loop) for part, rows in parts]
        invocation, rows = parts[0]
        key: Any = (
            id(invocation.servable),
            invocation.outputs,
            tuple((name, a.dtype.str, a.shape[1:]) for name, a in invocation.inputs.items()),
            # An empty batch has no row to pad with or to tell apart: it has its own queue.
            None if rows else object(),
        )
        limit = self._parameters.batch_limit
        with self._changed:
            if self._closed:
                raise StatusError(Code.UNAVAILABLE, "The server is shutting down")
            queue = self._queues.get(key) or _Queue()
            added = len(tasks) - (queue.batches[-1].rows + tasks[0].rows <= limit)
            if len(queue.batches) + added > self._parameters.max_enqueued_batches:
                raise StatusError(
                    Code.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            self._queues[key] = queue
            for task in tasks:
                if queue.batches[-1].rows + task.rows > limit:
                    queue.batches.append(_Batch())
                batch = queue.batches[-1]
                batch.tasks.append(task)
                batch.rows += task.rows
                task.future.add_done_callback(functools.partial(self._forget, key, batch, task))
            self._changed.notify(len(tasks))
        return [task.future for task in tasks]

    def _forget(self, key: Any, batch: _Batch, task: _Task, future: asyncio.Future) -> None:
        """Takes a cancelled task out of its queue."""
        if not future.cancelled():
            return
        with self._changed:
            if task not in batch.tasks:
                return
            batch.tasks.remove(task)
            batch.rows -= task.rows
            if not batch.tasks:
                queue = self._queues[key]
                queue.batches.remove(batch)
                if not queue.batches:
                    del self._queues[key]

    def _take(self) -> list[_Task] | None:
        """The tasks of the next batch that is due; None when closed and empty."""
        with self._changed:
            while True:
                now = time.monotonic()
                earliest = float("inf")
                busy = self._computing >= _BESIDE
                for key, queue in self._queues.items():
                    due = queue.due(self._parameters, busy)
                    if due <= now or self._closed:
                        batch = queue.batches.popleft()
                        if queue.batches:
                            self._queues.move_to_end(key)  # each queue in its turn
                        else:
                            del self._queues[key]
                        self._computing += 1
                        tasks, batch.tasks = batch.tasks, []  # for `_forget`: a thread has them
                        return tasks
                    earliest = min(earliest, due)
                if self._closed:
                    return None
                self._changed.wait(None if earliest == float("inf") else earliest - now)

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            started = time.monotonic()
            tasks = [task for task in taken if not task.future.cancelled()]
            for task in tasks:
                self._metrics.queuing(self._parameters.thread_pool_name, started - task.enqueued)
            outcomes = self._compute(tasks) if tasks else []
            with self._changed:
                self._computing -= 1
                self._changed.notify_all()
            by_loop: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future, Any]]] = {}
            for task, outcome in zip(tasks, outcomes, strict=True):
                by_loop.setdefault(task.loop, []).append((task.future, outcome))
            for loop, pairs in by_loop.items():
                _call_soon(loop, _resolve_all, pairs)

    def _compute(self, tasks: list[_Task]) -> list[Any]:
        try:
            return self._compute_together(tasks)
        except Exception as error:
            if len(tasks) == 1:
                return [_without_traceback(error)]
        return [outcome for task in tasks for outcome in self._compute([task])]

    def _compute_together(self, tasks: list[_Task]) -> list[list[np.ndarray]]:
        first = tasks[0].invocation
        rows = sum(task.rows for task in tasks)
        size = next((s for s in self._parameters.allowed_batch_sizes if s >= rows), rows)
        padding = size - rows
        if len(tasks) == 1 and (not padding or not _batch_size(first)):
            self._metrics.batch(rows)
            return [_run(first, self._metrics)]
        inputs = {}
        for name in first.inputs:
            parts = [task.invocation.inputs[name] for task in tasks]
            if padding:
                # Its first row is a valid row, as in BatchingSession::MergeInputTensors.
                parts.append(np.repeat(parts[-1][:1], padding, axis=0))
            inputs[name] = np.concatenate(parts)
        self._metrics.batch(size)
        outputs = _run(dataclasses.replace(first, inputs=inputs), self._metrics)
        for array in outputs:
            if np.ndim(array) == 0:
                raise StatusError(
                    Code.FAILED_PRECONDITION, "Batched output tensor has 0 dimensions"
                )
            if len(array) != size:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    "Batched output tensor's 0th dimension does not equal the sum of the 0th "
                    "dimension sizes of the input tensors",
                )
        ends = np.cumsum([task.rows for task in tasks])
        return [
            [array[end - task.rows : end] for array in outputs]
            for task, end in zip(tasks, ends, strict=True)
        ]

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: Any) -> None:
    try:
        loop.call_soon_threadsafe(call, *args)
    except RuntimeError:  # the loop has ended, and whoever waited with it
        _log.debug("an answer came after its event loop had ended")


def _resolve_all(pairs: list[tuple[asyncio.Future, Any]]) -> None:
    for future, outcome in pairs:
        _resolve(future, outcome)


def _batch_size(invocation: Invocation) -> int:
    """ComputeTensorBatchSize in tensorflow_serving/batching/batching_util.h."""
    sizes = set()
    for array in invocation.inputs.values():
        if array.ndim == 0:
            raise invalid_argument("Batching Run() input tensors must have at least one dimension")
        sizes.add(len(array))
    if len(sizes) > 1:
        raise invalid_argument("Batching Run() input tensors must have equal 0th-dimension size")
    return sizes.pop() if sizes else 1


def _slice(invocation: Invocation, first: int, size: int) -> Invocation:
    inputs = {name: array[first : first + size] for name, array in invocation.inputs.items()}
    return dataclasses.replace(invocation, inputs=inputs)


async def _join(parts: list[asyncio.Future[list[np.ndarray]]]) -> list[np.ndarray]:
    return _joined(await asyncio.gather(*parts))
