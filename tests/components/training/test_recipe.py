"""The learning rate over a training, and what a training step costs before it begins."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from components.base.settings import TrainingSettings
from components.training import recipe

STEPS = 200


def rates(settings: TrainingSettings) -> np.ndarray:
    schedule = recipe.learning_rate(settings, STEPS)
    return np.array([float(schedule(step)) for step in range(STEPS + 3)])


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.03, 0.5])
def test_it_rises_to_the_rate_and_falls_to_zero(schedule, warmup):
    found = rates(TrainingSettings(learning_rate=0.02, schedule=schedule, warmup_fraction=warmup))
    top = int(warmup * STEPS)
    assert np.argmax(found) == top
    assert found[top] == pytest.approx(0.02)
    assert np.all(np.diff(found[: top + 1]) > 0)
    assert np.all(np.diff(found[top : STEPS + 1]) < 0)
    assert found[STEPS:] == pytest.approx(0, abs=1e-9)
    assert top == 0 or found[0] == 0


def test_a_line_is_one():
    found = rates(TrainingSettings(learning_rate=0.02, schedule="linear", warmup_fraction=0.1))
    np.testing.assert_allclose(found[:21], 0.02 * np.arange(21) / 20, rtol=1e-6)
    np.testing.assert_allclose(found[20:201], 0.02 * (1 - np.arange(181) / 180), atol=1e-8)


def test_a_constant_rate_is_a_number():
    assert recipe.learning_rate(TrainingSettings(learning_rate=0.5, schedule="constant"), 9) == 0.5


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_drawn_schedule_is_the_optimisers(schedule):
    settings = TrainingSettings(learning_rate=0.02, schedule=schedule, epochs=4)
    points = recipe.learning_rates(settings, STEPS // 4)
    assert len(points) == 101
    assert (points[0][0], points[-1][0]) == (0.0, 4.0)
    rate = recipe.learning_rate(settings, STEPS)
    drawn = [rate(step) if callable(rate) else rate for step in range(0, STEPS + 1, 2)]
    np.testing.assert_allclose([each for _, each in points], drawn)


def test_a_short_training_is_drawn_step_by_step():
    settings = TrainingSettings(schedule="linear", warmup_fraction=0, learning_rate=0.3, epochs=1)
    drawn = recipe.learning_rates(settings, 3)
    np.testing.assert_allclose(drawn, [(0, 0.3), (1 / 3, 0.2), (2 / 3, 0.1), (1, 0)], atol=1e-7)


def test_a_graph_has_the_same_and_its_configuration_makes_it_again():
    schedule = recipe.learning_rate(TrainingSettings(schedule="linear"), STEPS)
    again = keras.optimizers.schedules.deserialize(keras.optimizers.schedules.serialize(schedule))
    graph = tf.function(again, input_signature=[tf.TensorSpec((), tf.int64)], autograph=False)
    for step in (0, 3, 6, 7, 100, 199):
        assert float(graph(tf.constant(step, tf.int64))) == pytest.approx(float(schedule(step)))


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_a_step_is_traced_once(optimizer, policy, traced_steps):
    """Twice if the optimiser made its variables in it, which took eight seconds of `unet`."""
    settings = TrainingSettings(optimizer=optimizer)
    denoiser = recipe.denoiser("unet", (8, 8, 1), {"widths": [4], "mixer_blocks": 0}, policy)
    model = recipe.training_model(denoiser, "gaussian(sd=0.5)", settings, 4, 1)
    images = np.zeros((8, 8, 8, 1), np.float32)
    model.fit(images, images, batch_size=4, epochs=2, verbose=0)
    assert traced_steps == ["training"]
    assert int(model.optimizer.iterations) == 4
