"""Several workers that train one model: two processes over loopback, as two machines would."""

from __future__ import annotations

import json
import os
import pathlib
import pickle
import time

import keras
import numpy as np
import pytest

from components.base.errors import UsageError
from components.training import images as training_input
from components.training import precision, recipe, trainer, workers
from components.training.result import HISTORY_FILE, KERAS_FILE, TRAINING_FILE, WORKERS_FILE
from pipeline.config import load
from tests import transformed, warm
from tests.components.training import measures
from tests.ports import free_ports


def _settings(*more):
    return load(
        "default",
        [
            "model={name: unet, arguments: {widths: [4, 4], blocks: 0, mixer_blocks: 0}}",
            "training={epochs: 3, batch_size: 15, precision: float32, steps_per_execution: 2, "
            "noise: fixed}",
            "noise.evaluation=['gaussian(sd=0.5)']",
            "evaluation.thresholds={}",
            *more,
        ],
    )


def _fn_args(workspace, examples, settings):
    sections = settings.model_dump(mode="json")
    trainer_folder = workspace / "pipeline_root" / "Trainer"
    return {
        "train_files": [examples[0]],
        "eval_files": [examples[1]],
        "serving_model_dir": str(trainer_folder / "model" / "1" / "Format-Serving"),
        "model_run_dir": str(trainer_folder / "model_run" / "1"),
        "custom_config": {
            name: sections[name] for name in ("image", "noise", "model", "training", "seed")
        },
        "base_model": None,
        "hyperparameters": None,
    }


class Machines:
    """Processes that are workers of one cluster."""

    def __init__(self, number):
        self._cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(number)]}
        self.started = []

    def _start(self, module, *arguments):
        task = {"type": "worker", "index": len(self.started)}
        config = json.dumps({"cluster": self._cluster, "task": task})
        process = warm.Process(module, arguments, {**os.environ, "TF_CONFIG": config})
        self.started.append(process)
        return process

    def train(self, fn_args):
        return self._start("tests.components.training.machine", json.dumps(fn_args))

    def help_with(self, workspace):
        return self._start("pipeline.cli", "train-worker", "--workspace", workspace)

    def finish(self):
        for process in self.started:
            assert process.wait(400) == 0, process.said()[1][-3000:]


@pytest.fixture
def machines():
    made = []

    def of(number):
        made.append(Machines(number))
        return made[-1]

    yield of
    for process in (process for each in made for process in each.started):
        process.kill()


@pytest.fixture(scope="module")
def examples(tmp_path_factory):
    folder = tmp_path_factory.mktemp("examples")
    return (
        transformed.write(folder / "train", 60, _settings(), seed=1),
        transformed.write(folder / "validation", 17, _settings(), seed=2),
    )


def _history(fn_args):
    return np.genfromtxt(
        pathlib.Path(fn_args["model_run_dir"]) / HISTORY_FILE, delimiter=",", names=True
    )


def _weights(fn_args):
    file = pathlib.Path(fn_args["serving_model_dir"]) / KERAS_FILE
    return keras.saving.load_model(file, compile=False).get_weights()


@pytest.mark.ci
@pytest.mark.parametrize("cache", ["memory", "device"])
def test_two_machines_train_what_one_trains(tmp_path, examples, machines, cache):
    """Odd batches and an odd number of images to validate with: the parts are not equal."""
    import types

    alone = _fn_args(tmp_path / "alone", examples, _settings())
    trainer.run_fn(types.SimpleNamespace(**alone))
    both = _fn_args(
        tmp_path / "both",
        examples,
        _settings("training.strategy=multi_worker", f"training.cache={cache}"),
    )
    cluster = machines(2)
    cluster.train(both)
    cluster.help_with(tmp_path / "both")
    cluster.finish()

    report = json.loads((pathlib.Path(both["model_run_dir"]) / TRAINING_FILE).read_text())
    assert report["workers"] == 2
    expected, found = _history(alone), _history(both)
    for column in ("epoch", "loss", "psnr", "val_loss", "val_psnr", "learning_rate"):
        np.testing.assert_allclose(found[column], expected[column], rtol=1e-3, err_msg=column)
    assert len(set(found["loss"])) == 3
    for one, other in zip(_weights(alone), _weights(both), strict=True):
        np.testing.assert_allclose(one, other, atol=2e-3)
    folder = pathlib.Path(both["model_run_dir"]).parent.parent
    assert not (folder / WORKERS_FILE).exists()


def test_workers_that_are_told_different_things_say_so(tmp_path, examples, machines):
    cluster = machines(2)
    for number, seed in enumerate((1, 2)):
        settings = _settings("training.strategy=multi_worker", f"seed={seed}")
        cluster.train(_fn_args(tmp_path / f"{number}", examples, settings))
    for process in cluster.started:
        assert process.wait(240) != 0
        message = "UsageError: training.strategy=multi_worker: the workers differ in settings"
        assert message in process.said()[1]


@pytest.mark.slow
@pytest.mark.parametrize("fresh", [False, True])
def test_batch_normalisation_fresh_noise_and_files(tmp_path, examples, machines, fresh):
    """With moving statistics and dropout, from the disk or with fresh noise: what is validated
    is what is exported."""
    settings = _settings(
        "training.strategy=multi_worker",
        "model={name: windsor_cnn}",
        "training.noise=fresh" if fresh else "training.cache=disk",
    )
    for shard in (1, 2):
        transformed.write(tmp_path / f"{shard}", 60, settings, seed=shard)
    (tmp_path / "2" / "shard-0.gz").rename(tmp_path / "1" / "shard-1.gz")
    fn_args = _fn_args(tmp_path, (str(tmp_path / "1" / "shard-*"), examples[1]), settings)
    cluster = machines(2)
    cluster.train(fn_args)
    cluster.train(fn_args)
    cluster.finish()
    file = pathlib.Path(fn_args["serving_model_dir"]) / KERAS_FILE
    model = keras.saving.load_model(file, compile=False)
    noisy, clean = training_input.load([examples[1]], (28, 28, 1), ("noisy", "clean"))
    measured = float(np.mean(recipe.log_mse(clean, model.predict(noisy, verbose=0))))
    assert measured == pytest.approx(_history(fn_args)["val_loss"].min(), abs=1e-3)


@pytest.mark.slow
def test_when_one_dies_the_other_ends_and_both_go_on_later(tmp_path, examples, machines):
    settings = _settings("training.strategy=multi_worker", "training.epochs=300")
    fn_args = _fn_args(tmp_path, examples, settings)
    cluster = machines(2)
    first, second = cluster.train(fn_args), cluster.train(fn_args)
    resume = tmp_path / "pipeline_root" / "Trainer" / "resume"
    deadline = time.monotonic() + 120
    while not list(resume.glob("*/epoch-*")):
        assert time.monotonic() < deadline
        assert first.poll() is None, first.said()[1][-3000:]
        time.sleep(0.2)
    second.kill()
    assert first.wait(180) != 0, first.said()[1][-3000:]
    assert "another worker ended" in first.said()[1]

    cluster = machines(2)
    cluster.train(fn_args)
    cluster.train(fn_args)
    cluster.finish()
    report = json.loads((pathlib.Path(fn_args["model_run_dir"]) / TRAINING_FILE).read_text())
    assert report["resumed_from_epoch"] > 0
    assert list(_history(fn_args)["epoch"]) == list(range(300))


@pytest.mark.parametrize("size", [1, 2, 7, 64])
@pytest.mark.parametrize("number", [1, 2, 3, 5])
def test_the_parts_of_a_batch_are_the_batch(size, number):
    parts = [workers.Worker(index, number).part(size) for index in range(number)]
    assert [position for part in parts for position in part] == list(range(size))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_the_workers_batches_are_the_batches_of_one():
    images = np.arange(20, dtype=np.float32).reshape(-1, 1, 1, 1)

    def batches(part):
        dataset = training_input.shuffled(
            (images, images), batch_size=6, steps=3, seed=1, first_step=3, part=part
        )
        return [batch.ravel() for batch, _ in dataset.take(6).as_numpy_iterator()]

    parts = [batches(workers.Worker(index, 4).part(6)) for index in range(4)]
    together = [np.concatenate(each) for each in zip(*parts, strict=True)]
    np.testing.assert_array_equal(together, batches(None))


def test_workers_read_each_example_once(examples):
    shape, names = (28, 28, 1), ("clean",)
    (whole,) = training_input.load([examples[0]], shape, names)
    shares = [
        np.concatenate(
            [
                batch
                for (batch,) in training_input.parsed(
                    [examples[0]], shape, names, 8, every=3, first=first
                ).as_numpy_iterator()
            ]
        )
        for first in range(3)
    ]
    for first, share in enumerate(shares):
        np.testing.assert_array_equal(share, whole[first::3])


class _WithOnes(workers.Worker):
    """One of two; the other has ones wherever this has values."""

    def sum(self, values, use):
        return values + 1


def test_callbacks_see_what_all_workers_see():
    model = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization()])
    model.layers[0].moving_mean.assign([0.0, 2.0, 4.0])
    model.layers[0].moving_variance.assign([1.0, 3.0, 5.0])
    scale = [np.asarray(each) for each in model.trainable_variables]
    callback = workers.SharedLogs(_WithOnes(0, 2), train_share=0.5, validation_share=0.25)
    callback.set_model(model)
    callback.on_test_begin()
    np.testing.assert_array_equal(model.layers[0].moving_mean, [0.5, 1.5, 2.5])
    np.testing.assert_array_equal(model.layers[0].moving_variance, [1.0, 2.0, 3.0])
    for before, after in zip(scale, model.trainable_variables, strict=True):
        np.testing.assert_array_equal(before, after)
    logs = {"loss": 2.0, "val_loss": 8.0}
    callback.on_epoch_end(0, logs)
    assert logs == {"loss": 2.0, "val_loss": 3.0}


@pytest.mark.parametrize(
    "value",
    [
        None,
        "{}",
        "not JSON",
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_bad_cluster_is_explained(monkeypatch, value):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if value is not None:
        monkeypatch.setenv("TF_CONFIG", value)
    with pytest.raises(UsageError, match="TF_CONFIG") as caught:
        workers.this_worker()
    assert "host1:2222" in str(caught.value)


def test_the_chief_comes_first(monkeypatch):
    cluster = {"worker": ["b:1", "c:1"], "chief": ["a:1"]}
    found = []
    for kind, index in (("chief", 0), ("worker", 0), ("worker", 1)):
        task = {"type": kind, "index": index}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        found.append(workers.this_worker())
    assert found == [workers.Worker(index, 3) for index in range(3)]
    assert [worker.leads for worker in found] == [True, False, False]


@pytest.mark.parametrize("gone", workers.LOST)
def test_who_has_heard_may_be_gone(monkeypatch, gone):
    """One that ended at once kept the last sum from those that had not fetched it yet."""
    met = []

    def meet(self, use):
        met.append(use)
        if use == lost:
            raise gone(None, None, "Socket closed")

    monkeypatch.setattr(workers.Worker, "meet", meet)
    lost = workers.Use.HEARD
    workers.Worker(0, 2).leave()
    assert met == [workers.Use.END, workers.Use.HEARD]
    lost = workers.Use.END
    with pytest.raises(gone):
        workers.Worker(0, 2).leave()


def test_what_is_trained_can_be_sent_to_a_process_that_is_started(tmp_path):
    """tests.warm forks it."""
    sent = (trainer._train_together, measures.job(tmp_path), list(precision.CANDIDATES))
    assert pickle.loads(pickle.dumps(sent)) == sent
