"""Several machines that train one model together, each on its part of every batch.

Keras 3 does not train under MultiWorkerMirroredStrategy (keras-team/keras#20585), so of that
strategy only the cluster is used: every worker has variables of its own, and adds its gradients
to those of the others (the collective operations of TensorFlow) before it changes them. They start
equal, by seed or from a file, and stay equal.

TensorFlow's connections are neither encrypted nor authenticated, and listen on all interfaces:
they are for a private network only.
"""

from __future__ import annotations

import ctypes
import dataclasses
import enum
import json
import logging
import logging.handlers
import math
import multiprocessing
import pathlib
import signal
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent import futures
from typing import Any, TypeVar

import keras
import tensorflow as tf

from components.base import progress
from components.base.errors import RunError, UsageError
from components.training.result import WORKERS_FILE

_GROUP = 1000
"""Of the collective operations, apart from those that TensorFlow numbers itself."""
_POLL_SECONDS = 0.5
_PR_SET_PDEATHSIG = 1
_Result = TypeVar("_Result")


class Use(enum.IntEnum):
    """What is exchanged; tensors of one use have one shape."""

    AGREEMENT = 1
    WEIGHTS = 2
    RESTORED = 3
    GRADIENTS = 4
    STATISTICS = 5
    LOGS = 6
    END = 7


@dataclasses.dataclass(frozen=True)
class Worker:
    """This process among those that train together."""

    index: int = 0
    number: int = 1

    @property
    def leads(self) -> bool:
        """Whether this is the one that writes, which the others do not."""
        return self.index == 0

    def part(self, size: int) -> range:
        """This worker's positions among `size`."""
        return range(size * self.index // self.number, size * (self.index + 1) // self.number)

    def sum(self, values: Any, use: Use) -> tf.Tensor:
        """The sum over all workers, the same to the last bit on each; waits for all of them.

        Args:
          values: A float32 tensor of the same shape on each.
          use: What it is.
        """
        return tf.raw_ops.CollectiveReduceV2(
            input=values,
            group_size=self.number,
            group_key=_GROUP,
            instance_key=int(use),
            ordering_token=[],
            merge_op="Add",
            final_op="Id",
        )

    def meet(self, use: Use) -> None:
        """Waits until all workers are here."""
        self.sum(tf.zeros([1]), use)

    def agree(self, use: Use, **values: str | bytes | int) -> None:
        """Checks that all workers have the same.

        Args:
          use: What it is.
          **values: By name.

        Raises:
          UsageError: they differ; names what.
        """
        texts = (
            value if isinstance(value, bytes) else str(value).encode() for value in values.values()
        )
        gathered = tf.raw_ops.CollectiveGatherV2(
            input=tf.constant([[zlib.crc32(text) for text in texts]], tf.int64),
            group_size=self.number,
            group_key=_GROUP,
            instance_key=int(use),
            ordering_token=[],
        ).numpy()
        differ = [
            f"{name} ({value} here)" if isinstance(value, (str, int)) else name
            for (name, value), found in zip(values.items(), gathered.T, strict=True)
            if len(set(found.tolist())) > 1
        ]
        if differ:
            raise UsageError(
                f"training.strategy=multi_worker: the workers differ in {', '.join(differ)}. "
                "Give all of them the same settings, Examples and versions, and start them again."
            )


def resolver() -> tf.distribute.cluster_resolver.ClusterResolver:
    """The cluster that TF_CONFIG names, as TensorFlow, TFJob and Vertex AI have it.

    Raises:
      UsageError: TF_CONFIG is missing, or has no place for this process among its workers.
    """
    example = (
        '\'{"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
        '"task": {"type": "worker", "index": 0}}\''
    )
    try:
        found = tf.distribute.cluster_resolver.TFConfigClusterResolver()
        tasks = _tasks(found)
        place = (found.task_type, found.task_id)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"TF_CONFIG: cannot be read ({error}). Set it as in {example}.") from error
    if place not in tasks:
        raise UsageError(
            "training.strategy=multi_worker: TF_CONFIG in the environment names the workers, and "
            f"which one this is; it names {len(tasks)}, and this as {place[0]} {place[1]}. "
            f"Set it as in {example}."
        )
    return found


def _tasks(found: tf.distribute.cluster_resolver.ClusterResolver) -> list[tuple[str, int]]:
    cluster = found.cluster_spec()
    return [
        (kind, index)
        for kind in ("chief", "worker")
        if kind in cluster.jobs
        for index in cluster.task_indices(kind)
    ]


def this_worker() -> Worker:
    """This process's place in the cluster, without connecting.

    Raises:
      UsageError: as `resolver`.
    """
    found = resolver()
    tasks = _tasks(found)
    return Worker(tasks.index((found.task_type, found.task_id)), len(tasks))


def connect() -> Worker:
    """Waits for the other workers, an hour at the most (TensorFlow's own limit). Before
    TensorFlow's first operation in this process.

    Raises:
      UsageError: as `resolver`.
    """
    found = this_worker()
    if found.number > 1:
        progress.report("workers", 0, None, f"worker {found.index} waits for all {found.number}")
        # Kept by TensorFlow's own context; what it leads to is that collective operations work.
        tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver())
    return found


class SummedAdam(keras.optimizers.Adam):
    """Adam on the mean gradient of the whole batch.

    Args:
      worker: This process.
      share: Its part of a batch's images, of 1.
    """

    def __init__(self, *arguments: Any, worker: Worker, share: float, **others: Any):
        super().__init__(*arguments, **others)
        self._worker, self._share = worker, share

    def apply(self, grads: Sequence[Any], trainable_variables: Any = None) -> Any:
        vector = tf.concat([tf.reshape(gradient, [-1]) for gradient in grads], axis=0)
        vector = self._worker.sum(vector * self._share, Use.GRADIENTS)
        parts = tf.split(vector, [math.prod(gradient.shape) for gradient in grads])
        summed = [
            tf.reshape(part, gradient.shape) for part, gradient in zip(parts, grads, strict=True)
        ]
        return super().apply(summed, trainable_variables)


class OneRecord(keras.callbacks.Callback):
    """Makes what the callbacks after it see the same on all workers.

    Moving statistics (batch normalisation) become their mean before validation; losses and
    metrics become those of all images.

    Args:
      worker: This process.
      train_share, validation_share: Its part of the images, of 1.
    """

    def __init__(self, worker: Worker, train_share: float, validation_share: float):
        super().__init__()
        self._worker = worker
        self._shares = (train_share, validation_share)

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        statistics = [
            variable
            for variable in self.model.non_trainable_variables
            if variable.name.startswith("moving_")
        ]
        if statistics:
            vector = tf.concat([tf.reshape(each, [-1]) for each in statistics], axis=0)
            mean = self._worker.sum(vector, Use.STATISTICS) / self._worker.number
            parts = tf.split(mean, [math.prod(each.shape) for each in statistics])
            for each, part in zip(statistics, parts, strict=True):
                each.assign(tf.reshape(part, each.shape))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        assert logs is not None
        names = sorted(logs)
        own = [logs[name] * self._shares[name.startswith("val_")] for name in names]
        summed = self._worker.sum(tf.constant(own, tf.float32), Use.LOGS).numpy()
        logs.update(zip(names, summed.tolist(), strict=True))


class Backup(keras.callbacks.BackupAndRestore):
    """All take up a killed run; the one that leads keeps its state.

    It is also first to read, since it mends a backup that was being written when it was killed.

    Args:
      worker: This process.
    """

    def __init__(self, *arguments: Any, worker: Worker, **others: Any):
        super().__init__(*arguments, **others)
        self._worker = worker

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        if self._worker.leads:
            super().on_train_begin(logs)
        self._worker.meet(Use.RESTORED)
        if not self._worker.leads:
            super().on_train_begin(logs)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if self._worker.leads:
            super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        if self._worker.leads:
            super().on_train_end(logs)


def asked(folder: pathlib.Path) -> dict[str, Any]:
    """Waits for the Trainer's WORKERS_FILE in a folder, as long as it takes."""
    file = folder / WORKERS_FILE
    progress.report("workers", 0, None, f"waiting for a Trainer to ask for workers in {folder}")
    while not file.is_file():
        time.sleep(_POLL_SECONDS)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def in_fresh_process(function: Callable[..., _Result], *arguments: Any) -> _Result:
    """Calls a function where TensorFlow has done nothing yet: only then it takes a cluster.

    What it reports and raises arrives here, and it ends with this process.

    Args:
      function: Of a module.
      *arguments: Plain values.

    Raises:
      RunError: the process was killed.
    """
    context = multiprocessing.get_context("spawn")
    records: Any = context.Queue()
    listener = logging.handlers.QueueListener(records, _Again())
    listener.start()
    try:
        with futures.ProcessPoolExecutor(
            1, mp_context=context, initializer=_begin, initargs=(records,)
        ) as pool:
            try:
                return pool.submit(function, *arguments).result()
            except KeyboardInterrupt:
                # TensorFlow does not hear it while it waits for other workers.
                for process in multiprocessing.active_children():
                    process.kill()
                raise
    except futures.process.BrokenProcessPool as error:
        raise RunError(
            "training: the process that trained was killed or could not begin. If it was for "
            "memory, give it more, or set training.cache=disk."
        ) from error
    finally:
        listener.stop()


class _Again(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        progress.LOGGER.handle(record)


def _begin(records: Any) -> None:
    # A thread that waits for the parent's end would not do: TensorFlow keeps the interpreter
    # lock while it waits for other workers.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    progress.LOGGER.setLevel(logging.INFO)
    progress.LOGGER.addHandler(logging.handlers.QueueHandler(records))
