"""Muon, against NumPy, against Keras's own arithmetic, and as the Trainer uses it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from components.base.settings import TrainingSettings
from components.training import recipe
from components.training.muon import Muon, orthogonalised
from components.training.workers import Worker, summed
from tests.alike import alike

SHAPES = {
    "dense": (6, 4),
    "wide dense": (3, 12),
    "convolution": (3, 3, 2, 5),
    "convolution of the same shape": (3, 3, 2, 5),
    "dense of the same matrix": (18, 5),
    "one output": (3, 3, 4, 1),
    "map": (5, 4, 3),
    "bias": (7,),
    "scalar": (),
}
RATE = 0.02


def _newton_schulz(matrix, steps=5):
    """As in Jordan's reference, in double precision."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    x = x / np.linalg.norm(x)
    for _ in range(steps):
        square = x @ x.T
        x = a * x + (b * square + c * square @ square) @ x
    return x.T if matrix.shape[0] > matrix.shape[1] else x


class _Reference:
    """Muon on one variable, in NumPy."""

    def __init__(self, value, decay=0.0):
        self.value, self.step, self.decay = value.astype(np.float64), 0, decay
        self.momentum, self.velocity = np.zeros(value.shape), np.zeros(value.shape)

    def update(self, gradient):
        self.step += 1
        self.value = self.value * (1 - RATE * self.decay)
        if self.value.ndim in (2, 4):
            self.momentum = 0.95 * self.momentum + gradient
            direction = gradient + 0.95 * self.momentum
            matrix = direction.reshape(-1, direction.shape[-1])
            inputs, outputs = matrix.shape
            change = _newton_schulz(matrix) * max(1, outputs / inputs) ** 0.5
            self.value = self.value - RATE * change.reshape(direction.shape)
        else:
            self.momentum = 0.9 * self.momentum + 0.1 * gradient
            self.velocity = 0.999 * self.velocity + 0.001 * gradient**2
            first = self.momentum / (1 - 0.9**self.step)
            second = self.velocity / (1 - 0.999**self.step)
            self.value = self.value - 0.3 * RATE * first / (np.sqrt(second) + 1e-7)


def _variables():
    random = np.random.default_rng(3)
    return [keras.Variable(random.normal(size=shape), name="v") for shape in SHAPES.values()]


def _gradients(step):
    random = np.random.default_rng((4, step))
    return [random.normal(size=shape) for shape in SHAPES.values()]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("decay", [None, 0.5])
def test_every_step_is_that_of_the_reference(compiled, together, decay):
    variables = _variables()
    references = [_Reference(np.asarray(variable), decay or 0.0) for variable in variables]
    optimizer = Muon(RATE, together=together, weight_decay=decay)
    optimizer.build(variables)
    apply = tf.function(optimizer.apply) if compiled else optimizer.apply
    for step in range(4):
        gradients = _gradients(step)
        apply([tf.constant(gradient, tf.float32) for gradient in gradients])
        for name, variable, reference, gradient in zip(
            SHAPES, variables, references, gradients, strict=True
        ):
            reference.update(gradient)
            np.testing.assert_allclose(
                np.asarray(variable), reference.value, atol=1e-5, err_msg=name
            )


@pytest.mark.parametrize("shape", [(4, 9), (9, 4), (5, 5), (2, 3, 8)])
def test_the_iteration_is_that_of_keras(shape):
    matrices = np.random.default_rng(5).normal(size=shape).astype(np.float32)
    expected = keras.optimizers.Muon().zeropower_via_newtonschulz5(
        ops.convert_to_tensor(matrices), 5
    )
    np.testing.assert_allclose(
        orthogonalised(ops.convert_to_tensor(matrices), 5), expected, atol=1e-5
    )


def test_singular_values_come_near_one():
    random = np.random.default_rng(6)
    left, _ = np.linalg.qr(random.normal(size=(40, 20)))
    right, _ = np.linalg.qr(random.normal(size=(20, 20)))
    matrix = (left * np.linspace(0.05, 3, 20)) @ right.T
    made = np.asarray(orthogonalised(ops.convert_to_tensor(matrix, "float32"), 5))
    values = np.linalg.svd(made, compute_uv=False)
    assert 0.6 < values.min() <= values.max() < 1.25
    np.testing.assert_allclose(np.sum(made * (left @ right.T)) / 20, 0.9, atol=0.15)


def test_a_gradient_of_zeros_changes_nothing():
    variables = _variables()
    before = [np.asarray(variable) for variable in variables]
    Muon(RATE).apply([tf.zeros(shape) for shape in SHAPES.values()], variables)
    for one, other in zip(before, variables, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("policy", alike(["mixed_float16", "mixed_bfloat16", "float32"]))
def test_it_trains_in_every_precision(policy):
    keras.utils.set_random_seed(1)
    denoiser = recipe.denoiser(
        "unet", (8, 8, 1), {"widths": [4, 4], "blocks": 1, "mixer_blocks": 1}, policy
    )
    settings = TrainingSettings(
        optimizer="muon", learning_rate=RATE, batch_size=8, schedule="constant", warmup_fraction=0
    )
    model = recipe.training_model(denoiser, "gaussian(sd=0.5)", settings, steps=12, seed=1)
    clean = np.full((48, 8, 8, 1), 0.5, np.float32)
    history = model.fit(clean, clean, batch_size=8, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]
    scaled = isinstance(model.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled is (policy == "mixed_float16")
    inner = model.optimizer.inner_optimizer if scaled else model.optimizer
    assert type(inner) is Muon
    assert all(variable.dtype == "float32" for variable in model.trainable_variables)
    kernels = [each for each in denoiser.trainable_variables if each.name == "kernel"]
    assert len(kernels) > 5
    # One variable a kernel, two for the rest, and the base's count of steps and rate.
    rest = len(denoiser.trainable_variables) - len(kernels)
    assert len(inner.variables) == len(kernels) + 2 * rest + 2


def test_its_configuration_makes_it_again():
    optimizer = Muon(0.01, momentum=0.9, newton_schulz_steps=3, adam_ratio=0.1, clipnorm=1.0)
    config = keras.optimizers.serialize(optimizer)
    assert keras.optimizers.deserialize(config).get_config() == optimizer.get_config()


class _Double(Worker):
    """One of two, the other of which has the same."""

    def sum(self, values, use):
        return 2 * values


def test_workers_change_their_weights_by_the_gradient_of_all():
    """Scaled by its share of a batch and summed, the same gradient on both is that of each."""
    alone, together = _variables(), _variables()
    gradients = [tf.constant(gradient, tf.float32) for gradient in _gradients(0)]
    Muon(RATE).apply(gradients, alone)
    summed(Muon)(RATE, worker=_Double(0, 2), share=0.5).apply(gradients, together)
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
