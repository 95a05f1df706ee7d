"""The state of a killed training: whole or thrown away, never fatal."""

from __future__ import annotations

import logging

import keras
import numpy as np
import pytest

from components.training import callbacks
from components.training.resume import Resume
from components.training.workers import Worker
from tests.components.training import measures


def _model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile(optimizer="adam", loss="mse")
    model.optimizer.build(model.trainable_variables)
    return model


def _trained(job, epochs, model=None):
    """A training that is killed after some epochs."""
    state, model = Resume(job, Worker()), model or _model()
    state.restore(model)
    random = np.random.default_rng(1)
    x, y = random.random((8, 3)), random.random((8, 1))
    model.fit(
        x,
        y,
        validation_data=(x, y),
        initial_epoch=state.first_epoch,
        epochs=epochs,
        callbacks=state.callbacks(job.run_folder / "logs"),
        verbose=0,
    )
    return state, model


@pytest.fixture
def job(tmp_path):
    return measures.job(tmp_path)


def test_a_state_gives_back_weights_optimiser_history_and_best_weights(job):
    _, before = _trained(job, 2)
    state, model = Resume(job, Worker()), _model()
    state.restore(model)
    assert state.first_epoch == 2
    assert len(state.losses) == 2
    assert int(model.optimizer.iterations) == int(before.optimizer.iterations)
    for one, other in zip(model.get_weights(), before.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    _trained(job, 3)
    state, _ = _trained(job, 4)
    lines = state.history.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1", "2", "3"]
    assert [path.name for path in state.history.parent.glob("epoch-*")] == ["epoch-4"]


def test_a_folder_may_have_braces_in_its_name(tmp_path):
    state, _ = _trained(measures.job(tmp_path / "{epoch}"), 1)
    assert (state.history.parent / "best.weights.h5").exists()


def test_what_was_written_after_the_last_whole_state_is_forgotten(job):
    """Killed while the next epoch was being logged and kept."""
    state, _ = _trained(job, 1)
    with open(state.history, "a") as file:
        file.write("1,0.5")
    (state.history.parent / "best.weights.h5").write_bytes(b"half")
    (state.history.parent / ".new").mkdir()
    (state.history.parent / ".new" / "latest.weights.h5").write_bytes(b"half")
    state, _ = _trained(job, 2)
    lines = state.history.read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["epoch", "0", "1"]


def _empty(folder):
    for file in folder.iterdir():
        file.unlink()


def _garble_weights(folder):
    (folder / "latest.weights.h5").write_bytes(b"not HDF5")


def _cut_weights(folder):
    whole = (folder / "latest.weights.h5").read_bytes()
    (folder / "latest.weights.h5").write_bytes(whole[: len(whole) // 2])


def _lose_best(folder):
    (folder / "best.weights.h5").unlink()


def _empty_history(folder):
    (folder / "history.csv").write_text("")


def _other_history(folder):
    (folder / "history.csv").write_text("epoch,loss\n0,1\n1,1\n")


def _other_model(folder):
    model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7)])
    model.compile(optimizer="adam", loss="mse")
    model.save_weights(folder / "latest.weights.h5")


@pytest.mark.parametrize(
    "spoil",
    [
        _empty,
        _garble_weights,
        _cut_weights,
        _lose_best,
        _empty_history,
        _other_history,
        _other_model,
    ],
)
def test_a_state_that_cannot_be_read_is_thrown_away_with_a_line_in_the_log(job, caplog, spoil):
    state, _ = _trained(job, 2)
    folder = state.history.parent
    spoil(folder / "epoch-2")
    state, model = Resume(job, Worker()), _model()
    with caplog.at_level(logging.WARNING):
        state.restore(model)
    assert "cannot be read" in caplog.text
    assert str(folder) in caplog.text
    assert (state.first_epoch, state.losses) == (0, [])
    assert list(folder.iterdir()) == []
    for one, other in zip(model.get_weights(), _model().get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert int(model.optimizer.iterations) == 0


def test_a_folder_without_a_whole_epoch_is_a_beginning(job):
    """Killed before the end of the first epoch: an empty history.csv, no weights."""
    state = Resume(job, Worker())
    state.history.write_text("")
    state, _ = _trained(job, 1)
    assert len(state.history.read_text().splitlines()) == 2


@pytest.mark.parametrize(
    ("losses", "patience", "expected"),
    [
        ([], 1, False),
        ([3.0, 2.0, 2.5], None, False),
        ([3.0, 2.0, 2.5], 1, True),
        ([3.0, 2.0, 2.5], 2, False),
        ([3.0, 2.0, 2.0, 2.0], 2, True),
        ([3.0, 2.0, 2.5, 1.0], 2, False),
    ],
)
def test_early_stopping_counts_as_keras_does(losses, patience, expected):
    assert callbacks.stopped(losses, patience) is expected
    if patience is None:
        return
    theirs = keras.callbacks.EarlyStopping("val_loss", mode="min", patience=patience)
    ours = callbacks.EarlyStopping(losses[:1], patience)
    for callback in (theirs, ours):
        callback.set_model(_model())
        callback.model.stop_training = False
        callback.on_train_begin()
    for epoch, loss in enumerate(losses):
        theirs.on_epoch_end(epoch, {"val_loss": loss})
        if epoch:
            ours.on_epoch_end(epoch, {"val_loss": loss})
    assert theirs.model.stop_training is ours.model.stop_training is expected


def test_only_the_worker_that_leads_writes(job):
    assert Resume(job, Worker(1, 2)).callbacks(job.run_folder) == []
    assert not (job.step_folder / "resume").exists()
