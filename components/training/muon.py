"""Muon: each matrix of weights moves by its momentum, orthogonalised.

Keras's own `keras.optimizers.Muon` does not do here: it leaves the kernels of convolutions, most
of a U-Net's weights, to Adam, and that of Keras 3.12 fails under TensorFlow.
"""

from __future__ import annotations

import collections
import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import ops

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic whose iteration takes every singular value into [.7, 1.2]; as in Keras."""
_LEAST_NORM = 1e-7


def orthogonalised(matrices: Any, steps: int) -> Any:
    """Roughly U V^T of the singular value decomposition U S V^T, by Newton-Schulz iteration.

    Args:
      matrices: float32 (..., N, M).
      steps: Of the iteration.

    Returns:
      The same shape; singular values between .7 and 1.2, but for those that were near zero.
    """
    a, b, c = _COEFFICIENTS
    rows, columns = matrices.shape[-2:]
    x = matrices if rows <= columns else ops.swapaxes(matrices, -1, -2)
    x = x / (ops.sqrt(ops.sum(ops.square(x), axis=(-2, -1), keepdims=True)) + _LEAST_NORM)
    for _ in range(steps):
        gram = ops.matmul(x, ops.swapaxes(x, -1, -2))
        x = a * x + ops.matmul(b * gram + c * ops.matmul(gram, gram), x)
    return x if rows <= columns else ops.swapaxes(x, -1, -2)


class _Waiting:
    """Kernels and their directions, by shape; Keras would track a plain dict as state."""

    def __init__(self) -> None:
        self.kernels: dict[tuple[int, int], list[tuple[Any, Any]]] = collections.defaultdict(list)


@keras.saving.register_keras_serializable(package="denoise")
class Muon(keras.optimizers.Optimizer):
    """Muon (Jordan et al., 2024, github.com/KellerJordan/Muon) for kernels, Adam for the rest.

    A variable of two or four dimensions, a kernel of a dense layer or a convolution, is taken as
    a matrix of shape (-1, outputs). Its momentum is orthogonalised, and multiplied by the learning
    rate and by max(1, outputs / inputs)^.5. Every other variable (biases, scales, maps) is
    changed as by Adam, at `adam_ratio` of the learning rate.

    Args:
      learning_rate: A float or a schedule.
      momentum: Of Muon, in the form of Nesterov.
      newton_schulz_steps: Steps of the iteration that orthogonalises.
      adam_ratio: Adam's learning rate as a share of Muon's.
      beta_1, beta_2, epsilon: Adam's.
      together: Kernels of one shape are orthogonalised in one product, but within a tf.distribute
        strategy: a U-Net's fifty have some ten, and a GPU takes longer to start a small product
        than to compute it. On a CPU they take up to a quarter longer so.
      **others: Of `keras.optimizers.Optimizer`, such as `clipnorm`.
    """

    def __init__(
        self,
        learning_rate: Any = 0.02,
        *,
        momentum: float = 0.95,
        newton_schulz_steps: int = 5,
        adam_ratio: float = 0.3,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-7,
        together: bool = False,
        name: str = "muon",
        **others: Any,
    ):
        super().__init__(learning_rate=learning_rate, name=name, **others)
        self.momentum = momentum
        self.newton_schulz_steps = newton_schulz_steps
        self.adam_ratio = adam_ratio
        self.beta_1, self.beta_2, self.epsilon = beta_1, beta_2, epsilon
        self.together = together
        self._waiting: _Waiting | None = None

    def build(self, variables: Sequence[Any]) -> None:
        if self.built:
            return
        super().build(variables)
        add = self.add_variable_from_reference
        self._momenta = [add(variable, name="momentum") for variable in variables]
        self._velocities = [
            None if _is_kernel(variable) else add(variable, name="velocity")
            for variable in variables
        ]

    def _backend_update_step(
        self, gradients: Sequence[Any], variables: Sequence[Any], learning_rate: Any
    ) -> None:
        if not self.together or _distributed():
            super()._backend_update_step(gradients, variables, learning_rate)
            return
        self._waiting = _Waiting()
        super()._backend_update_step(gradients, variables, learning_rate)
        waiting, self._waiting = self._waiting, None
        for shape, kernels in waiting.kernels.items():
            updates = self._updates([direction for _, direction in kernels], shape)
            for (variable, _), update in zip(kernels, updates, strict=True):
                self._move(variable, update, learning_rate)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        index = self._get_variable_index(variable)
        gradient = ops.cast(gradient, variable.dtype)
        momentum, velocity = self._momenta[index], self._velocities[index]
        if velocity is not None:
            self._adam_step(gradient, variable, learning_rate, momentum, velocity)
            return
        self.assign(momentum, self.momentum * momentum + gradient)
        shape = (math.prod(variable.shape[:-1]), variable.shape[-1])
        direction = ops.reshape(gradient + self.momentum * momentum, shape)
        if self._waiting is not None:
            self._waiting.kernels[shape].append((variable, direction))
            return
        (update,) = self._updates([direction], shape)
        self._move(variable, update, learning_rate)

    def _updates(self, directions: Sequence[Any], shape: tuple[int, int]) -> Sequence[Any]:
        inputs, outputs = shape
        scale = max(1.0, outputs / inputs) ** 0.5
        update = scale * orthogonalised(ops.stack(directions), self.newton_schulz_steps)
        updates: Sequence[Any] = ops.unstack(update, len(directions))
        return updates

    def _move(self, variable: Any, update: Any, learning_rate: Any) -> None:
        rate = ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * ops.reshape(update, variable.shape))

    def _adam_step(
        self, gradient: Any, variable: Any, learning_rate: Any, momentum: Any, velocity: Any
    ) -> None:
        rate = self.adam_ratio * ops.cast(learning_rate, variable.dtype)
        step = ops.cast(self.iterations + 1, variable.dtype)
        first, second = (1 - ops.power(beta, step) for beta in (self.beta_1, self.beta_2))
        self.assign(momentum, momentum + (gradient - momentum) * (1 - self.beta_1))
        self.assign(velocity, velocity + (ops.square(gradient) - velocity) * (1 - self.beta_2))
        change = momentum * (rate * ops.sqrt(second) / first)
        self.assign_sub(variable, change / (ops.sqrt(velocity) + self.epsilon))

    def get_config(self) -> dict[str, Any]:
        own = (
            *("momentum", "newton_schulz_steps", "adam_ratio"),
            *("beta_1", "beta_2", "epsilon", "together"),
        )
        return {**super().get_config(), **{name: getattr(self, name) for name in own}}


def _is_kernel(variable: Any) -> bool:
    """Whether it is the kernel of a dense layer or a convolution: maps have three dimensions."""
    return len(variable.shape) in (2, 4)


def _distributed() -> bool:
    """Whether each variable has to be updated by itself, on every replica."""
    if keras.backend.backend() != "tensorflow":
        return False
    import tensorflow as tf

    return bool(tf.distribute.has_strategy())
