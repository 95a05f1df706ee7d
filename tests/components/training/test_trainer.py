"""Trainer: exports the best weights, and a killed training ends as one left alone."""

import dataclasses
import json
import pathlib
import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf

from components import models
from components.base import records, unfinished
from components.base.errors import ModelError, RunError, UsageError
from components.base.settings import TrainingSettings
from components.training import callbacks, recipe, start, trainer, workers
from components.training import images as trainer_images
from components.training.images import Images, parsed
from components.training.job import Job
from components.training.result import (
    HISTORY_FILE,
    KERAS_FILE,
    LOGS_FOLDER,
    REFERENCE_FILE,
    SCHEDULE_FILE,
    TRAINING_FILE,
)
from components.training.resume import Resume
from pipeline.config import load
from tests import transformed
from tests.other_keras import as_another_writes

SMALL = (
    "model={name: unet, arguments: {widths: [4], blocks: 0, mixer_blocks: 0}}",
    "noise.training=gaussian(sd=0.5)",
    "noise.evaluation=['gaussian(sd=0.5)']",
    "evaluation.thresholds={}",
)
SETTINGS = load(
    "default",
    [
        *SMALL,
        "training={epochs: 3, batch_size: 16, precision: float32, steps_per_execution: 4}",
    ],
)


@dataclasses.dataclass
class FnArgs:
    """What TFX hands to run_fn, as far as it is read."""

    train_files: list
    eval_files: list
    serving_model_dir: str
    model_run_dir: str
    custom_config: dict
    base_model: str | None = None
    hyperparameters: dict | None = None


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    return (
        [transformed.write(folder / "train", 64, SETTINGS, seed=1)],
        [transformed.write(folder / "validation", 32, SETTINGS, seed=2)],
    )


def _fn_args(folder, examples, settings=SETTINGS, **others):
    sections = settings.model_dump(mode="json")
    config = {name: sections[name] for name in ("image", "noise", "model", "training", "seed")}
    return FnArgs(
        *examples,
        serving_model_dir=str(folder / "model" / "1" / "Format-Serving"),
        model_run_dir=str(folder / "model_run" / "1"),
        custom_config=config,
        **others,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory, examples):
    folder = tmp_path_factory.mktemp("trained")
    trainer.run_fn(_fn_args(folder, examples))
    return folder


def test_a_run_leaves_history_logs_reference_and_model(trained):
    run = trained / "model_run" / "1"
    history = np.genfromtxt(run / HISTORY_FILE, delimiter=",", names=True)
    assert list(history["epoch"]) == [0, 1, 2]
    assert set(history.dtype.names) >= {"loss", "psnr", "val_loss", "val_psnr", "learning_rate"}
    assert history["val_loss"][-1] < history["val_loss"][0]
    schedule = np.genfromtxt(run / SCHEDULE_FILE, delimiter=",", names=True)
    assert list(schedule["epochs"]) == [step / 4 for step in range(13)]
    np.testing.assert_allclose(schedule["learning_rate"][4::4], history["learning_rate"], atol=1e-7)
    report = json.loads((run / TRAINING_FILE).read_text())
    assert report["resumed_from_epoch"] == 0
    assert report["steps_per_epoch"] == 4
    assert list((run / LOGS_FOLDER).rglob("events*"))

    saved = trained / "model" / "1" / "Format-Serving"
    model = keras.saving.load_model(saved / KERAS_FILE)
    with np.load(run / REFERENCE_FILE) as reference:
        images = reference["pixels"].reshape(-1, 28, 28, 1) / np.float32(255)
        expected = np.clip(model.predict(images, verbose=0), 0, 1)
        np.testing.assert_allclose(reference["denoised"], expected, atol=1e-5)


def test_the_exported_weights_are_the_best_ones(trained, examples):
    history = np.genfromtxt(trained / "model_run" / "1" / HISTORY_FILE, delimiter=",", names=True)
    model = keras.saving.load_model(trained / "model" / "1" / "Format-Serving" / KERAS_FILE)
    batches = parsed(examples[1], (28, 28, 1), ("noisy", "clean"), batch_size=32)
    ((noisy, clean),) = batches.as_numpy_iterator()
    loss = float(np.mean(recipe.log_mse(clean, model(noisy))))
    assert loss == pytest.approx(history["val_loss"].min(), abs=1e-4)


@pytest.fixture
def no_signatures(monkeypatch):
    """The weights are exported, and not the SavedModel around them, which takes half the time."""
    monkeypatch.setattr(trainer.signatures, "export_servable", lambda *_: None)


class _KilledError(Exception):
    pass


@pytest.mark.usefixtures("no_signatures")
def test_a_killed_training_ends_as_one_left_alone(tmp_path, trained, examples, monkeypatch):
    """Stopped in epoch 2, before it is backed up: the rest is the same to the last bit."""
    on_epoch_end = callbacks.LearningRate.on_epoch_end

    def killed(self, epoch, logs=None):
        if epoch == 1:
            raise _KilledError
        on_epoch_end(self, epoch, logs)

    monkeypatch.setattr(callbacks.LearningRate, "on_epoch_end", killed)
    with pytest.raises(_KilledError):
        trainer.run_fn(_fn_args(tmp_path, examples))
    monkeypatch.undo()
    trainer.run_fn(_fn_args(tmp_path, examples))

    run = tmp_path / "model_run" / "1"
    assert json.loads((run / TRAINING_FILE).read_text())["resumed_from_epoch"] == 1
    whole = trained / "model_run" / "1"
    assert (run / HISTORY_FILE).read_text() == (whole / HISTORY_FILE).read_text()
    with np.load(run / REFERENCE_FILE) as one, np.load(whole / REFERENCE_FILE) as other:
        np.testing.assert_array_equal(one["denoised"], other["denoised"])


@pytest.mark.usefixtures("no_signatures")
def test_a_training_killed_before_its_outputs_were_published_trains_nothing_anew(
    tmp_path, examples, monkeypatch
):
    epochs = []
    note = callbacks.LearningRate.on_epoch_end
    monkeypatch.setattr(
        callbacks.LearningRate,
        "on_epoch_end",
        lambda self, epoch, logs=None: (epochs.append(epoch), note(self, epoch, logs)),
    )
    run = tmp_path / "model_run" / "1"
    written = []
    for _ in range(2):
        trainer.run_fn(_fn_args(tmp_path, examples))
        with np.load(run / REFERENCE_FILE) as reference:
            report = json.loads((run / TRAINING_FILE).read_text())
            speed = report["seconds"], report["images_per_second"]
            written.append((reference["denoised"], (run / HISTORY_FILE).read_text(), speed))
        shutil.rmtree(run)
    assert epochs == [0, 1, 2]
    np.testing.assert_array_equal(written[0][0], written[1][0])
    assert written[0][1:] == written[1][1:]
    assert min(written[1][2]) > 0

    # Of what is published, and of other work that is done, nothing is kept.
    other = SETTINGS.model_copy(update={"seed": 2})
    Resume(Job.of(_fn_args(tmp_path, examples, other)), workers.Worker())
    (kept,) = (tmp_path / "resume").iterdir()
    assert not list(kept.iterdir())
    unfinished.done(kept)
    unfinished.forget(tmp_path)
    assert not list((tmp_path / "resume").iterdir())


@pytest.mark.usefixtures("no_signatures")
@pytest.mark.parametrize("first", ["memory", "disk"])
def test_a_training_that_goes_on_keeps_its_images_where_they_were(
    tmp_path, examples, monkeypatch, first
):
    """Read from files they come in other batches, and free memory changes meanwhile."""
    places = iter([first, "disk" if first == "memory" else "memory"])
    monkeypatch.setattr(trainer_images, "place", lambda *_: next(places))

    def killed(self, epoch, logs=None):
        if epoch == 1:
            raise _KilledError

    with monkeypatch.context() as patched:
        patched.setattr(callbacks.LearningRate, "on_epoch_end", killed)
        with pytest.raises(_KilledError):
            trainer.run_fn(_fn_args(tmp_path, examples))
    trainer.run_fn(_fn_args(tmp_path, examples))
    report = json.loads((tmp_path / "model_run" / "1" / TRAINING_FILE).read_text())
    assert (report["resumed_from_epoch"], report["cache"]) == (1, first)


@pytest.mark.parametrize("cache", ["memory", "disk", "device"])
def test_shorter_epochs_go_on_where_the_one_before_ended(tmp_path, examples, cache):
    changed = {"steps_per_epoch": 3, "steps_per_execution": 1, "cache": cache}
    training = SETTINGS.training.model_copy(update=changed)
    settings = SETTINGS.model_copy(update={"training": training})
    images = Images(Job.of(_fn_args(tmp_path, examples, settings)))
    assert (images.steps, images.batch_size) == (3, 16)

    def batches(first_epoch, steps):
        return [np.array(one) for one, _ in images.training(first_epoch).take(steps)]

    whole = batches(0, 8)
    once, again = (
        sorted(image.tobytes() for batch in of_pass for image in batch)
        for of_pass in (whole[:4], whole[4:])
    )
    assert once == again
    np.testing.assert_array_equal(batches(1, 5), whole[3:])


def test_the_callbacks_come_in_this_order(tmp_path, examples):
    """What SharedLogs and LearningRate add is logged; the state that is kept holds the epoch's
    weights and its line of the history."""
    job = Job.of(_fn_args(tmp_path, examples))
    names = {}
    for worker in (workers.Worker(), workers.Worker(0, 2), workers.Worker(1, 2)):
        made = trainer._callbacks(job, Images(job, worker), Resume(job, worker), worker)
        names[worker] = [type(each).__name__ for each in made]
    alone = [
        "EpochSeeds",
        "Progress",
        "LearningRate",
        "Finite",
        "ModelCheckpoint",
        "CSVLogger",
        "TensorBoard",
        "_Keep",
        "EarlyStopping",
    ]
    assert names == {
        workers.Worker(): alone,
        workers.Worker(0, 2): ["SharedLogs", *alone],
        workers.Worker(1, 2): ["SharedLogs", *alone[:4], "EarlyStopping"],
    }


@pytest.mark.usefixtures("no_signatures")
def test_other_settings_do_not_resume(tmp_path, examples, monkeypatch):
    def killed(self, epoch, logs=None):
        if epoch == 1:
            raise _KilledError

    monkeypatch.setattr(callbacks.LearningRate, "on_epoch_end", killed)
    with pytest.raises(_KilledError):
        trainer.run_fn(_fn_args(tmp_path, examples))
    monkeypatch.undo()
    other = load(
        "default",
        [
            *SMALL,
            "training={epochs: 1, batch_size: 32, precision: float32}",
        ],
    )
    trainer.run_fn(_fn_args(tmp_path, examples, other))
    report = json.loads((tmp_path / "model_run" / "1" / TRAINING_FILE).read_text())
    assert report["resumed_from_epoch"] == 0


def _warm(widths="[4]"):
    return load(
        "default",
        [
            *SMALL,
            f"model.arguments.widths={widths}",
            "training={epochs: 1, batch_size: 16, precision: float32, learning_rate: 1.0e-9, "
            "warm_start: true}",
        ],
    )


@pytest.mark.usefixtures("no_signatures")
def test_a_warm_start_begins_where_the_pushed_model_is(tmp_path, trained, examples):
    base = tmp_path / "base" / "Format-Serving"
    shutil.copytree(trained / "model" / "1" / "Format-Serving", base)
    known = start.Start(version="17", data="00ff")
    start.write(known, base.parent)
    started = keras.saving.load_model(base / KERAS_FILE)
    as_another_writes(base / KERAS_FILE)
    trainer.run_fn(_fn_args(tmp_path, examples, _warm(), base_model=str(base)))
    saved = tmp_path / "model" / "1" / "Format-Serving"
    warm = keras.saving.load_model(saved / KERAS_FILE)
    for one, other in zip(warm.get_weights(), started.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert start.read((saved / KERAS_FILE).parent) == known
    run = json.loads((tmp_path / "model_run" / "1" / TRAINING_FILE).read_text())
    assert run["started_from"] == "17"


@pytest.mark.usefixtures("no_signatures")
def test_a_warm_start_without_a_pushed_model_trains_from_nothing(tmp_path, examples):
    nothing = start.Start(version=start.NONE, data="00ff")
    start.write(nothing, tmp_path / "base")
    base = tmp_path / "base" / "Format-Serving"
    trainer.run_fn(_fn_args(tmp_path, examples, _warm(), base_model=str(base)))
    saved = tmp_path / "model" / "1" / "Format-Serving"
    assert start.read((saved / KERAS_FILE).parent) == nothing


def test_a_warm_start_from_another_architecture_is_refused(tmp_path, trained, examples):
    base = str(trained / "model" / "1" / "Format-Serving")
    with pytest.raises(ModelError, match=r"does not fit model unet .* another architecture"):
        trainer.run_fn(_fn_args(tmp_path, examples, _warm("[8, 4]"), base_model=base))
    broken = tmp_path / "broken"
    (broken / KERAS_FILE).parent.mkdir(parents=True)
    (broken / KERAS_FILE).write_text("half")
    with pytest.raises(ModelError, match="does not fit model unet"):
        trainer.run_fn(_fn_args(tmp_path, examples, _warm(), base_model=str(broken)))
    with pytest.raises(ModelError, match="not exported by this pipeline"):
        trainer.run_fn(_fn_args(tmp_path, examples, _warm(), base_model=str(tmp_path)))
    with pytest.raises(UsageError, match="compiled without it"):
        trainer.run_fn(_fn_args(tmp_path, examples, _warm()))


@pytest.mark.parametrize("when", ["in the first epoch", "on validation images"])
def test_a_loss_that_is_no_number_ends_the_training_and_nothing_is_kept(
    tmp_path, examples, monkeypatch, when
):
    settings = SETTINGS
    if when == "in the first epoch":
        training = SETTINGS.training.model_copy(
            update={"learning_rate": 1e30, "schedule": "constant", "clip_norm": None}
        )
        settings = SETTINGS.model_copy(update={"training": training})
    else:
        fit = keras.Model.fit

        def nowhere(model, *arguments, **others):
            def break_(epoch, logs):
                model.set_weights([np.full_like(each, np.nan) for each in model.get_weights()])

            broken = keras.callbacks.LambdaCallback(on_train_batch_end=break_)
            others["callbacks"] = [*others["callbacks"], broken]
            others["steps_per_epoch"] = 1
            return fit(model, *arguments, **others)

        monkeypatch.setattr(keras.Model, "fit", nowhere)
    with pytest.raises(ModelError, match=r"epoch 1: .*loss is .*lower training\.learning_rate"):
        trainer.run_fn(_fn_args(tmp_path, examples, settings))
    assert not list(tmp_path.rglob("epoch-*"))
    assert not list(tmp_path.rglob("*.weights.h5"))
    assert not (tmp_path / "model").exists()


def test_without_the_setting_a_base_model_is_left_alone(tmp_path, examples, monkeypatch):
    """A run on Kubeflow under a preset without it, of a pipeline compiled with it."""
    given = []
    monkeypatch.setattr(trainer, "train", lambda job, tried: given.append(job))
    trainer.run_fn(_fn_args(tmp_path, examples, base_model=str(tmp_path)))
    assert [job.start for job in given] == [None]


@pytest.mark.usefixtures("no_signatures")
def test_what_the_tuner_found_is_trained_with_and_noted(tmp_path, examples):
    found = {"training.epochs": 1, "model.arguments.widths": "[4, 8]", "tuner/epochs": 2}
    hyperparameters = {"space": [], "values": found}
    trainer.run_fn(_fn_args(tmp_path, examples, hyperparameters=hyperparameters))
    report = json.loads((tmp_path / "model_run" / "1" / TRAINING_FILE).read_text())
    assert report["tuned"] == {"training.epochs": 1, "model.arguments.widths": [4, 8]}
    assert report["epochs"] == 1
    expected = models.build("unet", (28, 28, 1), widths=[4, 8], blocks=0, mixer_blocks=0)
    assert report["parameters"] == expected.count_params()


@pytest.mark.usefixtures("no_signatures")
def test_fixed_noise_and_streaming_train_too(tmp_path, examples):
    settings = load(
        "default",
        [
            *SMALL,
            "training={epochs: 2, batch_size: 16, noise: fixed, cache: disk, "
            "early_stopping_patience: 1, loss: mse, schedule: constant, precision: float32}",
        ],
    )
    trainer.run_fn(_fn_args(tmp_path, examples, settings))
    history = np.genfromtxt(tmp_path / "model_run" / "1" / HISTORY_FILE, delimiter=",", names=True)
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.usefixtures("no_signatures")
@pytest.mark.parametrize("noise", ["fresh", "fixed"])
def test_images_on_the_device_train_as_those_in_memory_do(tmp_path, examples, noise):
    histories = {}
    for cache in ("memory", "device"):
        settings = load(
            "default",
            [
                *SMALL,
                f"training={{epochs: 2, batch_size: 16, precision: float32, cache: {cache}, "
                f"noise: {noise}}}",
            ],
        )
        folder = tmp_path / cache
        trainer.run_fn(_fn_args(folder, examples, settings))
        run = folder / "model_run" / "1"
        assert json.loads((run / TRAINING_FILE).read_text())["cache"] == cache
        histories[cache] = np.genfromtxt(run / HISTORY_FILE, delimiter=",", names=True)
    for column in ("loss", "psnr", "val_loss", "val_psnr"):
        np.testing.assert_allclose(
            histories["device"][column], histories["memory"][column], rtol=1e-4, err_msg=column
        )


def test_images_on_the_device_are_not_saved(tmp_path):
    images = np.zeros((100, 28, 28, 1), np.float32)
    denoiser = keras.Sequential(
        [keras.Input((28, 28, 1)), keras.layers.Conv2D(1, 3, padding="same")]
    )
    model = recipe.training_model(
        denoiser,
        "gaussian(sd=0.5)",
        TrainingSettings(),
        1,
        1,
        resident=recipe.Resident(images, paired_from=100, apart=0),
    )
    model.save_weights(tmp_path / "all.weights.h5")
    assert (tmp_path / "all.weights.h5").stat().st_size < images.nbytes / 4
    model.load_weights(tmp_path / "all.weights.h5")


def test_the_schedule_warms_up_and_decays_to_zero():
    settings = TrainingSettings(learning_rate=1e-2, warmup_fraction=0.1)
    schedule = recipe.learning_rate(settings, steps=100)
    rates = np.array([float(schedule(step)) for step in range(101)])
    assert rates[0] == 0
    assert rates.argmax() == 10
    assert rates.max() == pytest.approx(1e-2)
    assert rates[-1] == pytest.approx(0, abs=1e-9)
    assert (np.diff(rates[10:]) <= 0).all()
    assert recipe.learning_rate(TrainingSettings(schedule="constant"), 100) == 6e-3


def test_an_epoch_is_a_whole_number_of_calls():
    settings = TrainingSettings(batch_size=10, steps_per_execution=4)
    assert recipe.steps_per_epoch(settings, images=107) == (8, 4)
    assert recipe.steps_per_epoch(settings, images=25) == (2, 2)
    assert recipe.steps_per_epoch(settings, images=3) == (1, 1)
    assert recipe.steps_per_pass(settings, images=107) == 8


def test_epochs_may_be_shorter_than_a_pass_through_the_images():
    settings = TrainingSettings(batch_size=10, steps_per_execution=4, steps_per_epoch=5)
    assert recipe.steps_per_epoch(settings, images=107) == (4, 4)
    assert recipe.steps_per_pass(settings, images=107) == 8
    assert recipe.steps_per_epoch(settings, images=25) == (2, 2)
    assert recipe.steps_per_pass(settings, images=25) == 2
    settings = settings.model_copy(update={"steps_per_epoch": 3})
    assert recipe.steps_per_epoch(settings, images=107) == (3, 3)
    assert recipe.steps_per_pass(settings, images=107) == 9


def test_log_mse_is_psnr_up_to_a_factor():
    random = np.random.default_rng(0)
    clean = random.random((4, 8, 8, 1), np.float32)
    noisy = np.clip(clean + random.normal(0, 0.1, clean.shape), 0, 1).astype(np.float32)
    loss, psnr = np.asarray(recipe.log_mse(clean, noisy)), np.asarray(recipe.psnr(clean, noisy))
    np.testing.assert_allclose(-10 / np.log(10) * loss, psnr, atol=1e-2)


def test_the_dtype_policy_is_left_as_it_was():
    before = keras.config.dtype_policy().name
    with recipe.dtype_policy("mixed_bfloat16"):
        model = models.build("windsor_cae", (28, 28, 1))
    assert keras.config.dtype_policy().name == before
    assert model.layers[1].compute_dtype == "bfloat16"
    assert model.output.dtype == "float32"


def test_training_draws_noise_and_validation_does_not():
    settings = TrainingSettings(precision="float32", batch_size=4)
    denoiser = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Identity()])
    model = recipe.training_model(denoiser, "gaussian(sd=0.5)", settings, steps=1, seed=1)
    images = tf.fill((2, 4, 4, 1), 0.5)
    np.testing.assert_array_equal(model(images, training=False), images)
    noisy = model(images, training=True)
    assert float(tf.reduce_max(tf.abs(noisy - images))) > 0.1


def test_no_two_epochs_or_workers_draw_the_same_noise():
    settings = TrainingSettings(precision="float32", batch_size=4)
    denoiser = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Identity()])
    model = recipe.training_model(denoiser, "gaussian(sd=0.5)", settings, steps=1, seed=1)
    images = tf.fill((1, 4, 4, 1), 0.5)
    drawn = []
    for worker in (0, 1):
        epochs = callbacks.EpochSeeds(seed=1, worker=worker)
        epochs.set_model(model)
        for epoch in range(4):
            epochs.on_epoch_begin(epoch)
            drawn += [np.asarray(model(images, training=True)).tobytes() for _ in range(5)]
    assert len(set(drawn)) == len(drawn)
    epochs.on_epoch_begin(epoch)
    assert np.asarray(model(images, training=True)).tobytes() == drawn[-5]


@pytest.mark.parametrize("split", ["train", "validation"])
def test_other_examples_than_were_written_are_not_trained_on(tmp_path, split):
    examples = [
        [transformed.write(tmp_path / f"Split-{name}", count, SETTINGS)]
        for name, count in (("train", 64), ("validation", 32))
    ]
    records.write_counts(str(tmp_path), {"train": 64, "validation": 32} | {split: 7})
    with pytest.raises(RunError, match=f"Split-{split}: .* Examples were read, but 7 were written"):
        trainer.run_fn(_fn_args(tmp_path, examples))


def test_a_model_that_takes_any_size_is_served_so(tmp_path, examples):
    settings = load(
        "default",
        [
            "model={name: photo_unet, arguments: {widths: [4], blocks: 0}}",
            "training={epochs: 1, batch_size: 16, precision: float32}",
        ],
    )
    given = _fn_args(tmp_path, examples, settings)
    trainer.run_fn(given)
    served = tf.saved_model.load(given.serving_model_dir)
    image = np.full((1, 41, 30, 1), 0.5, np.float32)
    denoised = served.signatures["serving_default"](image=tf.constant(image))["denoised"]
    keras_file = pathlib.Path(given.serving_model_dir) / KERAS_FILE
    model = keras.saving.load_model(keras_file, compile=False)
    np.testing.assert_allclose(denoised, np.clip(model(image), 0, 1), atol=1e-6)
