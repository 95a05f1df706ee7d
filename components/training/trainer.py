"""What TFX's Trainer calls: transformed Examples in, a SavedModel out.

A killed training goes on from its last finished epoch: its state is kept beside
the Trainer's outputs under a fingerprint of everything that decides the result,
so another run with the same data and settings finds it and any other does not.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import pathlib
import shutil
import time
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from components import models
from components.base import records
from components.base.errors import ModelError, RunError, UsageError
from components.base.files import write_json
from components.base.progress import report
from components.base.settings import ImageSettings, ModelSettings, NoiseSettings, TrainingSettings
from components.export import signatures
from components.image.pixels import MAX_PIXEL, quantise
from components.training import hyperparameters, recipe, start, workers
from components.training import images as training_input
from components.training.result import (
    HISTORY_FILE,
    KERAS_FILE,
    LOGS_FOLDER,
    REFERENCE_FILE,
    TRAINING_FILE,
    WORKERS_FILE,
)


class _Epochs(keras.callbacks.Callback):
    """Reports progress and makes each epoch's noise depend on the epoch and worker alone."""

    def __init__(self, epochs: int, steps: int, seed: int, worker: int):
        super().__init__()
        self.epochs, self.steps, self.seed, self.worker = epochs, steps, seed, worker
        self.epoch = 0
        self.latest = ""

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        self.epoch = epoch
        # Hashed: each draw adds one to the state, so epochs must not begin side by side.
        for number, generator in enumerate(_seed_generators(self.model)):
            state = np.random.SeedSequence((self.seed, epoch, self.worker, number))
            generator.state.assign(state.generate_state(2))

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        done = self.epoch * self.steps + batch + 1
        loss = "" if not logs else f"PSNR {logs['psnr']:.2f} dB"
        report(
            "train",
            done,
            self.epochs * self.steps,
            f"epoch {self.epoch + 1}/{self.epochs}, {loss}{self.latest}",
        )

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs and "val_psnr" in logs:
            self.latest = f", validation {logs['val_psnr']:.2f} dB"


def _seed_generators(model: keras.Model) -> Iterator[keras.random.SeedGenerator]:
    """Of the noise and of dropout, in the order of the layers."""
    for layer in model.layers:
        generator = getattr(layer, "seed_generator", None)
        if generator is not None:
            yield generator
        if isinstance(layer, keras.Model):
            yield from _seed_generators(layer)


class _LearningRate(keras.callbacks.Callback):
    """Adds the learning rate to the epoch's logs, before CSVLogger and TensorBoard."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        if logs is not None:
            logs["learning_rate"] = float(self.model.optimizer.learning_rate)


def strategy(settings: TrainingSettings) -> tf.distribute.Strategy:
    """The tf.distribute strategy `training.strategy` asks for on this machine."""
    kind = settings.strategy
    if kind == "auto":
        kind = "mirrored" if len(tf.config.list_physical_devices("GPU")) > 1 else "default"
    if kind == "mirrored":
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def _initial_epoch(backup: pathlib.Path) -> int:
    try:
        return int(json.loads((backup / "training_metadata.json").read_text())["epoch"])
    except (OSError, ValueError, KeyError):
        return 0


def _best_so_far(history: pathlib.Path) -> float | None:
    """Least validation loss of the epochs a killed run had finished."""
    if not history.exists():
        return None
    rows = np.genfromtxt(history, delimiter=",", names=True, ndmin=1)
    return float(np.min(rows["val_loss"])) if rows.size else None


def _keep_epochs(history: pathlib.Path, epochs: int) -> None:
    """Drops the line of an epoch that was logged but not backed up before a kill."""
    if history.exists():
        lines = history.read_text().splitlines(keepends=True)
        history.write_text("".join(lines[: epochs + 1]) if epochs else "")


def train(
    fn_args: Any,
    image: ImageSettings,
    noise: NoiseSettings,
    model_settings: ModelSettings,
    settings: TrainingSettings,
    seed: int,
    fingerprint: str,
    warm_start_from: str | None = None,
    tuned: Mapping[str, Any] | None = None,
) -> None:
    """Trains, keeps the best weights by validation loss, and exports.

    With `training.strategy` `multi_worker` every worker calls this with the same arguments, in a
    process where TensorFlow has done nothing yet; the one that leads writes.

    Args:
      fn_args: TFX's FnArgs: where the Examples are and where the outputs go.
      image, noise, model_settings, settings: Sections of the settings.
      seed: Of the weights, the shuffling and the noise.
      fingerprint: Of everything that decides the result.
      warm_start_from: Folder of a SavedModel exported here, whose weights to start from, beside
        a `start.Start`; where nothing was pushed yet it holds no SavedModel.
      tuned: The settings among these, by field, that the Tuner found; only noted.

    Raises:
      ModelError: the weights to start from are those of another architecture.
      UsageError: the workers cannot train together.
    """
    worker = workers.connect() if settings.strategy == "multi_worker" else workers.Worker()
    distribution = strategy(settings)
    if distribution.num_replicas_in_sync > 1:
        # Keras 3.12's loop over several steps fails on more than one replica.
        settings = settings.model_copy(update={"steps_per_execution": 1})
    keras.utils.set_random_seed(seed)
    run_folder = pathlib.Path(fn_args.model_run_dir)
    run_folder.mkdir(parents=True, exist_ok=True)
    resume = run_folder.parent.parent / "resume" / fingerprint
    resume.mkdir(parents=True, exist_ok=True)
    first_epoch = _initial_epoch(resume / "backup")
    best_file, history_file = resume / "best.weights.h5", resume / HISTORY_FILE
    if worker.leads:
        _keep_epochs(history_file, first_epoch)

    source = "clean" if settings.noise == "fresh" else "noisy"
    number, held_out = (records.count(files) for files in (fn_args.train_files, fn_args.eval_files))
    batch_size = min(settings.batch_size, number)
    steps, per_execution = recipe.steps_per_epoch(settings, number)
    names = tuple(dict.fromkeys((source, "clean")))
    part = worker.part(batch_size)
    gpus = len(tf.config.list_physical_devices("GPU"))
    place = training_input.place(settings, number, image.shape, gpus)
    optimizer: Callable[..., keras.optimizers.Optimizer] = keras.optimizers.Adam
    callbacks: list[keras.callbacks.Callback] = []
    if worker.number > 1:
        if worker.number > min(batch_size, held_out):
            raise UsageError(
                f"training.strategy=multi_worker: {worker.number} workers are more than there "
                f"are images in a batch ({batch_size}) or to validate with ({held_out})."
            )
        worker.agree(
            workers.Use.AGREEMENT,
            settings=fingerprint,
            finished_epochs=first_epoch,
            training_images=number,
            validation_images=held_out,
            cache=place,
            tensorflow=tf.__version__,
            keras=keras.__version__,
        )
        share = len(part) / batch_size
        own_held_out = len(range(worker.index, held_out, worker.number))
        optimizer = functools.partial(workers.SummedAdam, worker=worker, share=share)
        callbacks.append(workers.OneRecord(worker, share, own_held_out / held_out))
        settings = settings.model_copy(update={"jit_compile": "off"})
    resident = None
    if place == "device":
        resident, dataset, validation = _resident(
            fn_args, image.shape, names, (batch_size, steps, seed, first_epoch, part), worker
        )
    elif place == "memory":
        arrays = training_input.load(fn_args.train_files, image.shape, names)
        dataset = training_input.shuffled(
            (arrays[0], arrays[-1]), batch_size, steps, seed, first_epoch, part
        )
    else:
        dataset = training_input.streamed(
            fn_args.train_files,
            image.shape,
            (source, "clean"),
            len(part),
            seed,
            every=worker.number,
            first=worker.index,
        )
    if resident is None:
        validation = training_input.parsed(
            fn_args.eval_files,
            image.shape,
            ("noisy", "clean"),
            4 * batch_size,
            every=worker.number,
            first=worker.index,
        ).cache()

    policy = recipe.precision(settings, gpus)
    with distribution.scope():
        with recipe.dtype_policy(policy):
            denoiser = models.build(model_settings.name, image.shape, **model_settings.arguments)
        started_from = start.read(pathlib.Path(warm_start_from).parent) if warm_start_from else None
        if warm_start_from and (started_from is None or started_from.version != start.NONE):
            _set_weights(denoiser, pathlib.Path(warm_start_from) / KERAS_FILE, model_settings.name)
        total_steps = steps * settings.epochs
        model = recipe.training_model(
            denoiser,
            noise.training,
            settings,
            total_steps,
            seed,
            per_execution,
            gpus,
            resident,
            optimizer,
        )

    logs = run_folder / LOGS_FOLDER
    callbacks += [_Epochs(settings.epochs, steps, seed, worker.index), _LearningRate()]
    if worker.leads:
        callbacks += [
            keras.callbacks.ModelCheckpoint(
                best_file,
                monitor="val_loss",
                mode="min",
                save_best_only=True,
                save_weights_only=True,
                initial_value_threshold=_best_so_far(history_file),
            ),
            keras.callbacks.CSVLogger(history_file, append=True),
            keras.callbacks.TensorBoard(logs, write_graph=False),
        ]
    backup: Callable[..., keras.callbacks.Callback] = keras.callbacks.BackupAndRestore
    if worker.number > 1:
        backup = functools.partial(workers.Backup, worker=worker)
        weights = b"".join(array.tobytes() for array in denoiser.get_weights())
        worker.agree(workers.Use.WEIGHTS, first_weights=weights)
    callbacks.append(backup(resume / "backup", double_checkpoint=True, delete_checkpoint=False))
    if settings.early_stopping_patience is not None:
        callbacks.append(
            keras.callbacks.EarlyStopping(
                monitor="val_loss", mode="min", patience=settings.early_stopping_patience
            )
        )
    started, cpu_started = time.perf_counter(), time.process_time()
    model.fit(
        dataset,
        epochs=settings.epochs,
        steps_per_epoch=steps,
        validation_data=validation,
        callbacks=callbacks,
        verbose=0,
    )
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
    if not worker.leads:
        worker.meet(workers.Use.END)
        return
    model.load_weights(best_file)

    # The served model computes in float32: bfloat16 is slower for single images.
    with recipe.dtype_policy("float32"):
        served = models.build(model_settings.name, image.shape, **model_settings.arguments)
    served.set_weights(denoiser.get_weights())
    _export(served, fn_args, image.shape, run_folder)
    if started_from is not None:
        start.write(started_from, (pathlib.Path(fn_args.serving_model_dir) / KERAS_FILE).parent)
    shutil.copy(history_file, run_folder / HISTORY_FILE)
    epochs_here = settings.epochs - first_epoch
    (run_folder / TRAINING_FILE).write_text(
        json.dumps(
            {
                "images": number,
                "epochs": settings.epochs,
                "steps_per_epoch": steps,
                "batch_size": batch_size,
                "parameters": served.count_params(),
                "precision": policy,
                "cache": place,
                "gpus": gpus,
                "cores": os.cpu_count(),
                "workers": worker.number,
                "tuned": dict(tuned or {}),
                "resumed_from_epoch": first_epoch,
                "started_from": started_from.version if started_from else start.NONE,
                "seconds": seconds,
                "cpu_seconds": cpu_seconds,
                "images_per_second": epochs_here * steps * batch_size / seconds,
            },
            indent=2,
        )
    )
    if worker.number > 1:
        # TFX expects the model when the others return.
        worker.meet(workers.Use.END)
    shutil.rmtree(resume)


def _set_weights(denoiser: keras.Model, keras_file: pathlib.Path, name: str) -> None:
    if not keras_file.is_file():
        raise ModelError(
            f"training.warm_start: the pushed model has no {KERAS_FILE}, so it was not exported by "
            "this pipeline. Train once with training.warm_start=false."
        )
    weights = keras.saving.load_model(keras_file, compile=False).get_weights()
    if [array.shape for array in weights] != [array.shape for array in denoiser.get_weights()]:
        raise ModelError(
            f"training.warm_start: the pushed model has {sum(array.size for array in weights):,} "
            f"weights, of another architecture than model {name} with its arguments and image "
            f"shape, which has {denoiser.count_params():,}. Train once with "
            "training.warm_start=false, or give the settings the pushed model was trained with."
        )
    denoiser.set_weights(weights)


def _resident(
    fn_args: Any,
    shape: tuple[int, int, int],
    names: tuple[str, ...],
    order: tuple[int, int, int, int, range],
    worker: workers.Worker,
) -> tuple[tuple[np.ndarray, np.ndarray], tf.data.Dataset, tf.data.Dataset]:
    """Images for the device, the training ones first, and the indices to train and validate."""
    train = training_input.load(fn_args.train_files, shape, names)
    noisy, clean = training_input.load(fn_args.eval_files, shape, ("noisy", "clean"))
    number = len(train[0])
    inputs = np.concatenate([train[0], noisy])
    targets = np.concatenate([train[-1], clean])
    indices = tf.range(number, number + len(clean), dtype=tf.int32)
    indices = indices[worker.index :: worker.number]
    validation = tf.data.Dataset.from_tensor_slices((indices, indices)).batch(4 * order[0])
    return (inputs, targets), training_input.shuffled_indices(number, *order), validation


def _export(
    served: keras.Model, fn_args: Any, shape: tuple[int, int, int], run_folder: pathlib.Path
) -> None:
    """Writes the SavedModel and, for the serving check, what it must answer."""
    validation = training_input.parsed(fn_args.eval_files, shape, ("noisy", "clean"), batch_size=64)
    noisy, clean = next(validation.as_numpy_iterator())

    def as_pixels(images: np.ndarray) -> np.ndarray:
        return np.asarray(quantise(images)).reshape(len(images), -1).astype(np.uint8)

    pixels = as_pixels(noisy)
    # Clean ones to warm up with: the server's page offers them to add noise to.
    signatures.export_servable(served, fn_args.serving_model_dir, shape, as_pixels(clean[:16]))
    keras_file = pathlib.Path(fn_args.serving_model_dir) / KERAS_FILE
    keras_file.parent.mkdir(parents=True, exist_ok=True)
    served.save(keras_file)
    exact = pixels.reshape(-1, *shape).astype(np.float32) / MAX_PIXEL
    denoised = np.clip(served.predict_on_batch(exact), 0.0, 1.0)
    np.savez(run_folder / REFERENCE_FILE, pixels=pixels, denoised=denoised)


def run_fn(fn_args: Any) -> None:
    """Unpacks TFX's arguments; `custom_config` holds the sections as plain values.

    What the Tuner found, if it ran, is laid over them.
    """
    found = (fn_args.hyperparameters or {}).get("values", {})
    tuned = hyperparameters.tuned(found)
    config = hyperparameters.lay_over(fn_args.custom_config, tuned)
    settings = TrainingSettings.model_validate(config["training"])
    base_model = fn_args.base_model if settings.warm_start else None
    if settings.warm_start and base_model is None:
        raise UsageError(
            "training.warm_start: this pipeline was compiled without it. Compile it with "
            "--set training.warm_start=true."
        )
    if settings.strategy != "multi_worker":
        _train(fn_args, config, base_model, tuned)
        return
    plain = {
        "train_files": list(map(str, fn_args.train_files)),
        "eval_files": list(map(str, fn_args.eval_files)),
        "serving_model_dir": fn_args.serving_model_dir,
        "model_run_dir": fn_args.model_run_dir,
    }
    request = {"fn_args": plain, "config": config, "base_model": base_model, "tuned": dict(tuned)}
    if not workers.this_worker().leads:
        workers.in_fresh_process(run_request, request)
        return
    asked = pathlib.Path(fn_args.model_run_dir).parent.parent / WORKERS_FILE
    write_json(asked, request)
    try:
        workers.in_fresh_process(run_request, request)
    finally:
        asked.unlink(missing_ok=True)


def run_request(request: Mapping[str, Any]) -> None:
    """Trains what WORKERS_FILE holds, as the worker that TF_CONFIG says this is.

    Raises:
      RunError: another worker died or never came.
    """
    fn_args = types.SimpleNamespace(**request["fn_args"])
    try:
        _train(fn_args, request["config"], request["base_model"], request["tuned"])
    except (
        tf.errors.UnavailableError,
        tf.errors.AbortedError,
        tf.errors.DeadlineExceededError,
        tf.errors.CancelledError,
        tf.errors.InternalError,
    ) as error:
        raise RunError(
            "training.strategy=multi_worker: another worker ended, could not be reached, or did "
            f"not come within an hour. Start all of them again. ({error.message})"
        ) from error


def _train(
    fn_args: Any, config: Mapping[str, Any], base_model: str | None, tuned: Mapping[str, Any]
) -> None:
    files = [*map(str, fn_args.train_files), *map(str, fn_args.eval_files)]
    decides = json.dumps([config, files, base_model], sort_keys=True, default=str)
    train(
        fn_args,
        image=ImageSettings.model_validate(config["image"]),
        noise=NoiseSettings.model_validate(config["noise"]),
        model_settings=ModelSettings.model_validate(config["model"]),
        settings=TrainingSettings.model_validate(config["training"]),
        seed=config["seed"],
        fingerprint=hashlib.sha256(decides.encode()).hexdigest()[:16],
        warm_start_from=base_model,
        tuned=tuned,
    )
