"""Transformed Examples to batches.

Images are decoded once. While they fit, they stay on the device or in memory as one array and an
pass is a stateless permutation of their indices, so a run that is killed and resumed sees the
very batches it would have seen.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from components.base import memory, records
from components.base.progress import tell
from components.base.settings import TrainingSettings
from components.training import recipe
from components.training.job import Job
from components.training.workers import Worker

READ_BATCH = 512
SHUFFLE_BUFFER = 16_384
_PASSES = 1_000_003
"""More than any training has: no two seeds share the shuffling of a pass."""
MEMORY_SHARE = 4
"""`training.cache: auto` keeps images in memory up to one part in this many of what is free."""
DEVICE_BYTES = 2 << 30
"""`training.cache: auto` keeps up to so many bytes of images on a GPU, where there is one."""


def gpus() -> int:
    """How many GPUs TensorFlow sees."""
    return len(tf.config.list_physical_devices("GPU"))


class Images:
    """The images of a training, wherever they are kept, as this worker sees them.

    Args:
      job: What is trained, on which Examples.
      worker: Its part of each batch, and of the images to validate with, is given.
      limit: Images to train on; of more, every n-th.
      gpus: How many there are to keep images on.
      replicas: Devices that share each batch.
      cache: Where a training that goes on kept them: elsewhere its batches may be others. None:
        where `training.cache` puts them now.

    Attributes:
      number: Images to train on.
      held_out: Images to validate with, of all workers.
      batch_size: Images a batch, of all workers; no more than there are.
      steps, per_execution: Batches an epoch, and in one call.
      cache: Where the images are kept: `device`, `memory` or `disk`.
    """

    def __init__(
        self,
        job: Job,
        worker: Worker | None = None,
        limit: int | None = None,
        gpus: int = 0,
        replicas: int = 1,
        cache: str | None = None,
    ):
        self._worker = worker or Worker()
        self._replicas = replicas
        self._read: dict[str, np.ndarray] = {}
        count = records.count(job.train_files)
        self.held_out = records.count(job.eval_files)
        self._every = -(-count // limit) if limit else 1
        self.number = -(-count // self._every)
        self.cache = cache or place(job.training, self.number, job.image.shape, gpus)
        self._take(job)
        self._validation_batch_size = 4 * self.batch_size

    def _take(self, job: Job) -> None:
        settings = job.training
        if self._replicas > 1:
            # Keras 3.12's loop over several steps fails on more than one replica.
            settings = settings.model_copy(update={"steps_per_execution": 1})
        self._job = job
        self.batch_size = min(settings.batch_size, self.number)
        self.steps, self.per_execution = recipe.steps_per_epoch(settings, self.number)
        self._steps_per_pass = recipe.steps_per_pass(settings, self.number)

    def of(self, job: Job) -> Images:
        """The same images for a job with other settings; what was read is not read again, and
        what is validated with stays."""
        _ = self.validation  # Made here, it is shared.
        other = copy.copy(self)
        other._take(job)
        return other

    @property
    def source(self) -> str:
        """What a model is fed in training: clean images, or Transform's noisy ones."""
        return "clean" if self._job.training.noise == "fresh" else "noisy"

    def _training_arrays(self) -> tuple[np.ndarray, np.ndarray]:
        names = dict.fromkeys((self.source, "clean"))
        missing = [name for name in names if name not in self._read]
        if missing:
            arrays = load(
                self._job.train_files, self._job.image.shape, missing, self._every, self.number
            )
            self._read.update(zip(missing, arrays, strict=True))
        return self._read[self.source], self._read["clean"]

    @functools.cached_property
    def resident(self) -> recipe.Resident | None:
        """Images for the device: inputs to train on, then noisy ones to validate with, then the
        clean ones of all that are noisy; None: batches hold the images themselves."""
        if self.cache != "device":
            return None
        number, shape = self.number, self._job.image.shape
        paired_from = number if self.source == "clean" else 0
        inputs = number + self.held_out
        apart = inputs - paired_from
        arrays = np.empty((inputs + apart, *shape), np.float32)
        train = {self.source: arrays[:number]}
        if self.source == "noisy":
            train["clean"] = arrays[apart : apart + number]
        held_out = {"noisy": arrays[number:inputs], "clean": arrays[-self.held_out :]}
        _fill(train, self._job.train_files, shape, self._every)
        _fill(held_out, self._job.eval_files, shape)
        return recipe.Resident(arrays, paired_from, apart)

    def training(self, first_epoch: int = 0) -> tf.data.Dataset:
        """Endless batches to train on: (inputs, targets), or indices of `resident` twice.

        Args:
          first_epoch: Epochs to pass over: a resumed run goes on where it stopped.
        """
        first_step = first_epoch * self.steps
        batches = self._batches(first_step)
        if self._job.training.augmentation == "none" or self.cache == "device":
            return batches
        return turned(batches, self._job.seed, first_step)

    def _batches(self, first_step: int) -> tf.data.Dataset:
        part = self._worker.part(self.batch_size)
        order = (self.batch_size, self._steps_per_pass, self._job.seed, first_step, part)
        if self.cache == "device":
            return shuffled_indices(self.number, *order)
        if self.cache == "memory":
            return shuffled(self._training_arrays(), *order)
        return streamed(
            self._job.train_files,
            self._job.image.shape,
            (self.source, "clean"),
            len(part),
            self._steps_per_pass,
            self._job.seed,
            first_step,
            every=self._every * self._worker.number,
            first=self._every * self._worker.index,
        )

    @functools.cached_property
    def validation(self) -> tf.data.Dataset:
        """Batches to validate with, (noisy, clean) or indices of `resident` twice."""
        worker = self._worker
        if self.resident is not None:
            indices = tf.range(self.number, self.number + self.held_out, dtype=tf.int32)
            indices = indices[worker.index :: worker.number]
            return tf.data.Dataset.from_tensor_slices((indices, indices)).batch(
                self._validation_batch_size
            )
        own = len(range(worker.index, self.held_out, worker.number))
        batches = parsed(
            self._job.eval_files,
            self._job.image.shape,
            ("noisy", "clean"),
            self._validation_batch_size,
            every=worker.number,
            first=worker.index,
        ).cache()
        # Keras warns of data that end before it knows how many there are.
        number = -(-own // self._validation_batch_size)
        return batches.apply(tf.data.experimental.assert_cardinality(number))


def parsed(
    files: Sequence[str],
    shape: tuple[int, int, int],
    features: Sequence[str],
    batch_size: int,
    every: int = 1,
    first: int = 0,
) -> tf.data.Dataset:
    """Batches of the named image features, each float32 (N, H, W, C) in [0, 1].

    Args:
      files: Paths or glob patterns.
      shape: (H, W, C).
      features: Their names.
      batch_size: Images a batch.
      every: Only every n-th Example is read,
      first: beginning with this one.
    """
    spec = {name: tf.io.FixedLenFeature(shape, tf.float32) for name in features}

    def parse(serialised: tf.Tensor) -> tuple[tf.Tensor, ...]:
        example = tf.io.parse_example(serialised, spec)
        return tuple(example[name] for name in features)

    examples = records.records(files).shard(every, first)
    return examples.batch(batch_size).map(parse, num_parallel_calls=tf.data.AUTOTUNE)


def load(
    files: Sequence[str],
    shape: tuple[int, int, int],
    features: Sequence[str],
    every: int = 1,
    number: int | None = None,
) -> tuple[np.ndarray, ...]:
    """All images of the named features in memory, each float32 (N, H, W, C) in [0, 1].

    Args:
      files, shape, features, every: As for `parsed`.
      number: How many these are; None: they are counted.
    """
    if number is None:
        examples = records.records(files).shard(every, 0)
        number = int(examples.reduce(np.int64(0), lambda number, _: number + 1))
    arrays = {name: np.empty((number, *shape), np.float32) for name in features}
    _fill(arrays, files, shape, every)
    return tuple(arrays.values())


def _fill(
    arrays: dict[str, np.ndarray],
    files: Sequence[str],
    shape: tuple[int, int, int],
    every: int = 1,
) -> None:
    """Reads images by feature into arrays of as many as there are: joined from batches they would
    be held twice."""
    done = 0
    dataset = parsed(files, shape, tuple(arrays), READ_BATCH, every)
    for batch in dataset.prefetch(2).as_numpy_iterator():
        for array, images in zip(arrays.values(), batch, strict=True):
            array[done : done + len(images)] = images
        done += len(batch[0])
        tell("read images", done, None)
    assert all(done == len(array) for array in arrays.values())


def place(settings: TrainingSettings, images: int, shape: tuple[int, int, int], gpus: int) -> str:
    """Where `training.cache` puts that many images: `device`, `memory` or `disk`."""
    if settings.cache != "auto":
        return settings.cache
    copies = 1 if settings.noise == "fresh" else 2
    needed = images * copies * int(np.prod(shape)) * np.dtype(np.float32).itemsize
    if needed > memory.available() // MEMORY_SHARE:
        return "disk"
    return "device" if gpus == 1 and needed <= DEVICE_BYTES else "memory"


def shuffled(
    arrays: tuple[np.ndarray, np.ndarray],
    batch_size: int,
    steps: int,
    seed: int,
    first_step: int,
    part: range | None = None,
) -> tf.data.Dataset:
    """Endless (input, target) batches, every pass through the images another permutation.

    Args:
      arrays: Inputs and targets, (N, H, W, C) each.
      batch_size: Images a batch.
      steps: Batches a pass; what is left of a permutation is left out.
      seed: Of the permutations.
      first_step: Batches to pass over: a resumed run goes on where it stopped.
      part: Only these positions of each batch.
    """
    inputs, targets = arrays

    def batch(indices: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        noisy = _taken(inputs, indices)
        return noisy, noisy if inputs is targets else _taken(targets, indices)

    indices = shuffled_indices(len(arrays[0]), batch_size, steps, seed, first_step, part)
    return indices.map(batch, num_parallel_calls=2).prefetch(tf.data.AUTOTUNE)


def _taken(array: np.ndarray, indices: tf.Tensor) -> tf.Tensor:
    """Rows of an array, by numpy: as a constant of TensorFlow it would be held twice more."""
    taken = tf.numpy_function(
        lambda chosen: array[chosen], [indices], tf.as_dtype(array.dtype), stateful=False
    )
    return tf.ensure_shape(taken, (*indices.shape, *array.shape[1:]))


def turned(batches: tf.data.Dataset, seed: int, first_step: int) -> tf.data.Dataset:
    """The batches, each turned and mirrored in one of the ways that keep its shape.

    Which way follows from the seed and the number of the step alone.

    Args:
      batches: (input, target), (N, H, W, C) each, from `first_step` on.
      seed: Of the ways.
      first_step: Number of the first batch.
    """

    def turn(step: tf.Tensor, pair: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        drawn = tf.random.stateless_uniform((3,), tf.stack([np.int64(seed), step]), 0, 2, tf.int32)
        way = tf.reduce_sum(drawn * (1, 2, 4))

        def one(images: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(recipe.turned(images, way), images.shape)

        noisy, clean = pair
        return one(noisy), one(clean)

    numbered = batches.enumerate(first_step)
    return numbered.map(turn, num_parallel_calls=2).prefetch(tf.data.AUTOTUNE)


def shuffled_indices(
    number: int,
    batch_size: int,
    steps: int,
    seed: int,
    first_step: int,
    part: range | None = None,
) -> tf.data.Dataset:
    """Endless batches of indices, int32 (N,), every pass another permutation, given twice: as
    input and as target. Arguments as for `shuffled`."""

    own = part or range(batch_size)

    def batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        number_of_pass, position = step // steps, (step % steps) * batch_size
        shuffle_seed = tf.stack([np.int64(seed), number_of_pass])
        indices = tf.random.experimental.index_shuffle(
            position + tf.range(own.start, own.stop, dtype=tf.int64),
            shuffle_seed,
            np.int64(number - 1),
        )
        indices = tf.cast(indices, tf.int32)
        return indices, indices

    return (
        tf.data.Dataset.range(np.int64(first_step), np.iinfo(np.int64).max)
        .map(batch, num_parallel_calls=2)
        .prefetch(tf.data.AUTOTUNE)
    )


def streamed(
    files: Sequence[str],
    shape: tuple[int, int, int],
    features: tuple[str, str],
    batch_size: int,
    steps: int,
    seed: int,
    first_step: int = 0,
    every: int = 1,
    first: int = 0,
) -> tf.data.Dataset:
    """Endless (input, target) batches read from the files, for data that does not fit.

    Every pass is shuffled otherwise, by the seed and its number alone.

    Args:
      files, shape: As for `parsed`.
      features: Names of the input and the target.
      batch_size: Images a batch.
      steps: Batches a pass; what is left is left out.
      seed: Of the shuffling.
      first_step: Batches to pass over: a resumed run goes on where it stopped.
      every, first: As for `parsed`.
    """
    names = sorted(set(features))
    examples = parsed(files, shape, names, READ_BATCH, every, first).unbatch()

    first_pass, within = divmod(first_step, steps)

    def of_pass(number: tf.Tensor) -> tf.data.Dataset:
        shuffled = examples.shuffle(SHUFFLE_BUFFER, seed=seed * _PASSES + number)
        # A worker's share may be some images less than its part of all batches.
        return shuffled.repeat().batch(batch_size, drop_remainder=True).take(steps)

    def pair(*images: Any) -> tuple[Any, Any]:
        by_name = dict(zip(names, images, strict=True))
        return by_name[features[0]], by_name[features[1]]

    passes = tf.data.Dataset.range(first_pass, np.iinfo(np.int64).max)
    return passes.flat_map(of_pass).skip(within).map(pair).prefetch(tf.data.AUTOTUNE)
