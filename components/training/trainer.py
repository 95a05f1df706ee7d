"""The training itself: a job in, a SavedModel out."""

from __future__ import annotations

import os
import pathlib
import shutil
import time
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components.base import child, plugins
from components.base.errors import RunError
from components.base.files import write_json
from components.base.progress import tell
from components.base.settings import TrainingSettings
from components.export import signatures
from components.image.pixels import normalise, quantise
from components.training import callbacks, precision, recipe, start, workers
from components.training.images import Images, gpus, parsed
from components.training.job import Job
from components.training.result import (
    HISTORY_FILE,
    KERAS_FILE,
    LOGS_FOLDER,
    REFERENCE_FILE,
    SCHEDULE_FILE,
    WORKERS_FILE,
    Candidate,
    Training,
)
from components.training.resume import Resume

_REFERENCE_IMAGES = 64
_WARMUP_IMAGES = 16


def run_fn(fn_args: Any) -> None:
    """Trains what TFX's Trainer asks for, and asks other machines to help where they are to."""
    job = Job.of(fn_args)
    request = job.step_folder / WORKERS_FILE
    leads = job.training.strategy == "multi_worker" and workers.this_worker().leads
    if leads:
        write_json(request, job.model_dump(mode="json"))
    try:
        run(job)
    finally:
        if leads:
            request.unlink(missing_ok=True)


def run(job: Job) -> None:
    """Trains a job in the precision that it asks for, or that is fastest on this machine.

    Raises:
      DenoiseError: as `train`.
    """
    plugins.load(job.plugins)
    tried: list[Candidate] = []
    if recipe.precision(job.training, gpus()) is None:
        tried = precision.measured(job, job.step_folder)
    environment = precision.fastest(tried).environment
    job.run_folder.mkdir(parents=True, exist_ok=True)
    if job.training.strategy == "multi_worker":
        child.call(_train_together, job, tried, environment=environment)
    else:
        os.environ.update(environment)
        train(job, tried)


def strategy(settings: TrainingSettings) -> tf.distribute.Strategy:
    """The tf.distribute strategy `training.strategy` asks for on this machine."""
    kind = settings.strategy
    if kind == "auto":
        kind = "mirrored" if gpus() > 1 else "default"
    if kind == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _train_together(job: Job, tried: Sequence[Candidate]) -> None:
    """Trains as one of several workers.

    Raises:
      RunError: another worker died or never came.
    """
    try:
        train(job, tried)
    except workers.LOST as error:
        raise RunError(
            "training.strategy=multi_worker: another worker ended, could not be reached, or did "
            f"not come within an hour. Start all of them again. ({error.message})"
        ) from error


def train(job: Job, tried: Sequence[Candidate] = ()) -> None:
    """Trains, keeps the best weights by validation loss, and exports.

    With `training.strategy` `multi_worker` every worker calls this with the same job, in a
    process where TensorFlow has computed nothing yet; the one that leads writes.

    Args:
      job: What is trained.
      tried: For `training.precision` `auto` on a CPU: how fast each candidate was.

    Raises:
      ModelError: the weights to start from are those of another architecture.
      UsageError: the workers cannot train together.
    """
    worker = workers.join(job.training)
    distribution = strategy(job.training)
    keras.utils.set_random_seed(job.seed)
    resume = Resume(job, worker)
    replicas = distribution.num_replicas_in_sync
    images = Images(job, worker, gpus=gpus(), replicas=replicas, cache=resume.cache)
    worker.agree_on(job, images, resume.first_epoch)
    resume.note(images.cache)
    resident = images.resident
    policy = recipe.precision(job.training, gpus()) or precision.fastest(tried).precision
    with distribution.scope():
        denoiser = _denoiser(job, policy)
        started_from = start.load(job.start, denoiser, job.model.name)
        model = recipe.training_model(
            denoiser,
            job.noise.training,
            worker.settings(job.training),
            images.steps * job.training.epochs,
            job.seed,
            images.per_execution,
            gpus(),
            resident,
            worker.optimizer(recipe.OPTIMIZERS[job.training.optimizer], images),
        )
        worker.agree_on_weights(denoiser)
        resume.restore(model)
    measured = resume.measured
    if measured is None:
        called = _callbacks(job, images, resume, worker)
        measured = _fit(model, images, job, resume, called)
    if worker.leads:
        resume.load_best(model)
        served = recipe.served(job.model.name, job.image.shape, job.model.arguments)
        served.set_weights(denoiser.get_weights())
        _export(served, job)
        if started_from is not None:
            start.write(started_from, (pathlib.Path(job.saved_model) / KERAS_FILE).parent)
        shutil.copy(resume.history, job.run_folder / HISTORY_FILE)
        _write_schedule(job, images.steps)
        Training(
            images=images.number,
            epochs=job.training.epochs,
            steps_per_epoch=images.steps,
            batch_size=images.batch_size,
            parameters=served.count_params(),
            precision=policy,
            candidates=list(tried),
            cache=images.cache,
            gpus=gpus(),
            cores=os.cpu_count(),
            workers=worker.number,
            tuned=job.tuned,
            resumed_from_epoch=resume.first_epoch,
            started_from=started_from.version if started_from else start.NONE,
            **measured,
        ).write(job.run_folder)
    # TFX expects the model when the others return.
    worker.leave()
    if worker.leads:
        resume.done(measured)


def _write_schedule(job: Job, steps_per_epoch: int) -> None:
    np.savetxt(
        job.run_folder / SCHEDULE_FILE,
        recipe.learning_rates(job.training, steps_per_epoch),
        delimiter=",",
        header="epochs,learning_rate",
        comments="",
    )


def _denoiser(job: Job, policy: str) -> keras.Model:
    return recipe.denoiser(job.model.name, job.image.shape, job.model.arguments, policy)


def _callbacks(
    job: Job, images: Images, resume: Resume, worker: workers.Worker
) -> list[keras.callbacks.Callback]:
    """In this order: each sees in the logs what those before it added, and the state that is kept
    holds what they wrote."""
    epochs = job.training.epochs
    return [
        *worker.callbacks(images),
        callbacks.EpochSeeds(job.seed, worker.index),
        callbacks.Progress.of_step(epochs, images.steps),
        callbacks.LearningRate(),
        callbacks.Finite(),
        *resume.callbacks(job.run_folder / LOGS_FOLDER),
        callbacks.EarlyStopping(resume.losses, job.training.early_stopping_patience),
    ]


def _fit(
    model: keras.Model,
    images: Images,
    job: Job,
    resume: Resume,
    called: list[keras.callbacks.Callback],
) -> dict[str, float]:
    """Trains the epochs that are left.

    Returns:
      `seconds`, `cpu_seconds` and `images_per_second`.
    """
    first = resume.first_epoch
    patience = job.training.early_stopping_patience
    epochs = first if callbacks.stopped(resume.losses, patience) else job.training.epochs
    training, validation = images.training(first), images.validation
    if model.jit_compile:
        tell("compile", 0, None, "XLA compiles the training step, for a minute or two")
    started, cpu_started = time.perf_counter(), time.process_time()
    history = model.fit(
        training,
        initial_epoch=first,
        epochs=epochs,
        steps_per_epoch=images.steps,
        shuffle=False,
        validation_data=validation,
        callbacks=called,
        verbose=0,
    )
    seconds = time.perf_counter() - started
    return {
        "seconds": seconds,
        "cpu_seconds": time.process_time() - cpu_started,
        "images_per_second": len(history.epoch) * images.steps * images.batch_size / seconds,
    }


def _export(served: keras.Model, job: Job) -> None:
    """Writes the SavedModel and, for the serving check, what it must answer."""
    shape = job.image.shape
    batches = parsed(job.eval_files, shape, ("noisy", "clean"), batch_size=_REFERENCE_IMAGES)
    noisy, clean = next(batches.as_numpy_iterator())

    def as_pixels(images: np.ndarray) -> np.ndarray:
        return np.asarray(quantise(images)).reshape(len(images), -1).astype(np.uint8)

    pixels = as_pixels(noisy)
    # Clean ones to warm up with: the server's page offers them to add noise to.
    signatures.export_servable(served, job.saved_model, shape, as_pixels(clean[:_WARMUP_IMAGES]))
    keras_file = pathlib.Path(job.saved_model) / KERAS_FILE
    keras_file.parent.mkdir(parents=True, exist_ok=True)
    served.save(keras_file)
    # A GPU multiplies in TF32, a thousandth off, and the serving check is of the export, not of a
    # machine's arithmetic: it runs on the CPU, too.
    with tf.device("CPU:0"):
        denoised = np.clip(served(normalise(pixels, shape), training=False), 0.0, 1.0)
    np.savez(job.run_folder / REFERENCE_FILE, pixels=pixels, denoised=denoised)
