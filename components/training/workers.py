"""Several machines that train one model together, each on its part of every batch.

Keras 3 does not train under MultiWorkerMirroredStrategy (keras-team/keras#20585), so of that
strategy only the cluster is used: every worker has variables of its own, and adds its gradients
to those of the others (the collective operations of TensorFlow) before it changes them. They start
equal, by seed or from a file, and stay equal.

TensorFlow's connections are neither encrypted nor authenticated, and listen on all interfaces:
they are for a private network only.
"""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import functools
import math
import pathlib
import time
import zlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from components.base import progress
from components.base.errors import UsageError
from components.base.settings import TrainingSettings
from components.training.job import Job
from components.training.result import WORKERS_FILE

if TYPE_CHECKING:
    from components.training.images import Images

_GROUP = 1000
"""Group id of our collective operations; TensorFlow's own ids are lower."""
_POLL_SECONDS = 0.5
LOST = (
    tf.errors.UnavailableError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.CancelledError,
    tf.errors.InternalError,
)
"""What TensorFlow raises when another worker is gone or does not come."""


class Use(enum.IntEnum):
    """What is exchanged; tensors of one use have one shape."""

    AGREEMENT = 1
    WEIGHTS = 2
    RESTORED = 3
    GRADIENTS = 4
    STATISTICS = 5
    LOGS = 6
    END = 7
    HEARD = 8


@dataclasses.dataclass(frozen=True)
class Worker:
    """This process among those that train together; alone, it has nobody to wait for."""

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

    def share(self, size: int) -> float:
        """This worker's part of `size` images in a batch, of 1."""
        return len(self.part(size)) / size

    def meet(self, use: Use) -> None:
        """Waits until all workers are here."""
        if self.number > 1:
            self.sum(tf.zeros([1]), use)

    def leave(self) -> None:
        """Waits until all workers are here; after it, this process may end."""
        self.meet(Use.END)
        self._hear()

    def _hear(self) -> None:
        """Waits until all workers have what was exchanged last.

        They fetch it from one another, and one that ended with it in hand kept it from those that
        were slower. Who is gone by now had heard, so that is no error.
        """
        with contextlib.suppress(*LOST):
            self.meet(Use.HEARD)

    def agree(self, use: Use, **values: str | bytes | int) -> None:
        """Checks that all workers have the same.

        Args:
          use: What it is.
          **values: By name.

        Raises:
          UsageError: they differ; names what.
        """
        if self.number == 1:
            return
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
            self._hear()
            raise UsageError(
                f"training.strategy=multi_worker: the workers differ in {', '.join(differ)}. "
                "Give all of them the same settings, Examples and versions, and start them again."
            )

    def agree_on(self, job: Job, images: Images, finished_epochs: int) -> None:
        """Checks that all workers train the same on the same.

        Args:
          job: What is trained.
          images: Those of the job.
          finished_epochs: Of an earlier training that was killed.

        Raises:
          UsageError: they differ; or there are more workers than images for them.
        """
        if self.number == 1:
            return
        if self.number > min(images.batch_size, images.held_out):
            raise UsageError(
                f"training.strategy=multi_worker: {self.number} workers are more than there are "
                f"images in a batch ({images.batch_size}) or to validate with ({images.held_out})."
            )
        self.agree(
            Use.AGREEMENT,
            settings=job.fingerprint,
            finished_epochs=finished_epochs,
            training_images=images.number,
            validation_images=images.held_out,
            cache=images.cache,
            tensorflow=tf.__version__,
            keras=keras.__version__,
        )

    def agree_on_weights(self, model: keras.Model) -> None:
        """Checks that all workers start from the same weights.

        Raises:
          UsageError: they do not.
        """
        if self.number > 1:
            weights = b"".join(array.tobytes() for array in model.get_weights())
            self.agree(Use.WEIGHTS, first_weights=weights)

    def settings(self, training: TrainingSettings) -> TrainingSettings:
        """As they were given, but no XLA where several workers exchange gradients."""
        return training if self.number == 1 else training.model_copy(update={"jit_compile": "off"})

    def optimizer(
        self, kind: type[keras.optimizers.Optimizer], images: Images
    ) -> Callable[..., keras.optimizers.Optimizer]:
        """An optimiser on the gradient of all workers."""
        if self.number == 1:
            return kind
        return functools.partial(summed(kind), worker=self, share=self.share(images.batch_size))

    def callbacks(self, images: Images) -> list[keras.callbacks.Callback]:
        """What makes the callbacks after these see the same on all workers."""
        if self.number == 1:
            return []
        own = len(range(self.index, images.held_out, self.number))
        return [SharedLogs(self, self.share(images.batch_size), own / images.held_out)]


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


def join(settings: TrainingSettings) -> Worker:
    """This process's place among those that train.

    With `training.strategy` `multi_worker` it waits for the others, an hour at the most
    (TensorFlow's own limit); TensorFlow must have done nothing yet in this process.

    Raises:
      UsageError: as `resolver`.
    """
    if settings.strategy != "multi_worker":
        return Worker()
    found = this_worker()
    if found.number > 1:
        progress.tell("workers", 0, None, f"worker {found.index} waits for all {found.number}")
        # Constructing the strategy connects the workers. TensorFlow's context keeps the
        # connection, so the object itself is not kept.
        tf.distribute.MultiWorkerMirroredStrategy(cluster_resolver=resolver())
    return found


class _Summed:
    """Mixed into an optimiser: it takes the mean gradient of the whole batch.

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
        return super().apply(summed, trainable_variables)  # type: ignore[misc]


def summed(kind: type[keras.optimizers.Optimizer]) -> Callable[..., keras.optimizers.Optimizer]:
    """An optimiser's class, on the mean gradient of the whole batch."""
    return type(f"Summed{kind.__name__}", (_Summed, kind), {})


class SharedLogs(keras.callbacks.Callback):
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


def wait_for_request(folder: pathlib.Path) -> Job:
    """Waits for the Trainer's WORKERS_FILE in a folder, as long as it takes."""
    file = folder / WORKERS_FILE
    progress.tell("workers", 0, None, f"waiting for a Trainer to ask for workers in {folder}")
    while not file.is_file():
        time.sleep(_POLL_SECONDS)
    return Job.model_validate_json(file.read_text(encoding="utf-8"))
