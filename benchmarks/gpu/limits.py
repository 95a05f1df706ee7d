"""The accelerator's two ceilings, and what a training step needs of each."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

_BFLOAT16 = 2
# Forward, and backward with respect to the input and to the weights.
_PASSES = 3


def operations(model: keras.Model) -> int:
    """Floating-point operations of one image's training step: multiplications and additions of
    all convolutions and dense layers, three times over (forward, and backward twice)."""
    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2DTranspose):
            places = math.prod(layer.input.shape[1:-1])
        elif isinstance(layer, (keras.layers.Conv2D, keras.layers.Dense)):
            places = math.prod(layer.output.shape[1:-1])
        else:
            continue
        total += 2 * places * math.prod(layer.kernel.shape)
    return _PASSES * total


def least_bytes(model: keras.Model) -> int:
    """Bytes one image's training step moves if nothing is fused: every layer's output in
    bfloat16 is written once and read twice, and so is its gradient."""
    outputs = sum(
        math.prod(layer.output.shape[1:])
        for layer in model.layers
        if isinstance(
            layer, (keras.layers.Conv2D, keras.layers.Conv2DTranspose, keras.layers.Dense)
        )
    )
    return 2 * 3 * _BFLOAT16 * outputs


def _seconds(call: Callable[[], Any], repeats: int = 10) -> float:
    """Median of a call that returns a scalar, whose value is waited for."""
    for _ in range(2):
        float(call())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        float(call())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    if keras.backend.backend() == "jax":
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=True)


def ceilings(size: int) -> tuple[float, float]:
    """Measured: floating-point operations/s of a bfloat16 matrix product, and bytes/s.

    Args:
      size: Side of the matrices.
    """
    random = np.random.default_rng(1)
    matrix = ops.cast(random.standard_normal((size, size), np.float32), "bfloat16")
    chain = 8

    def product(value: Any) -> Any:
        for _ in range(chain):
            value = ops.matmul(value, matrix) * (1 / math.sqrt(size))
        return ops.sum(ops.cast(value[0], "float32"))

    multiply = _compiled(product)
    operations_per_second = chain * 2 * size**3 / _seconds(lambda: multiply(matrix))

    values = ops.convert_to_tensor(random.standard_normal(32 * size * size, np.float32))
    # A sum reads each byte once and writes nothing.
    total = _compiled(ops.sum)
    return operations_per_second, 4 * 32 * size * size / _seconds(lambda: total(values))
