"""A noise's random numbers: fresh ones, or each image's own for ever.

A counter-based generator gives the fixed noise: Threefry-2x32 with 20 rounds (Salmon, Moraes,
Dror, Shaw: "Parallel random numbers: as easy as 1, 2, 3", SC 2011; also JAX's default). The n-th
number of an image is a function of its key and n alone, computed with integer operations, so it
does not depend on the batch, the order or the number of threads.
"""

from __future__ import annotations

import functools
import math
from typing import Any, Protocol

import keras
import numpy as np
from keras import ops

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA
_ROUNDS = 20
_TABLE_BITS = 16


class Draws(Protocol):
    """Random numbers for N images. Every call gives new, independent numbers."""

    def uniform(self, shape: tuple[Any, ...]) -> Any:
        """float32, (N, *shape), uniform in [0, 1)."""

    def normal(self, shape: tuple[Any, ...]) -> Any:
        """float32, (N, *shape), standard normal."""


class FreshDraws:
    """New numbers from a Keras seed generator, on the device.

    Args:
      count: N, the number of images; an int or a scalar tensor.
      seed: The generator; each call advances it.
    """

    def __init__(self, count: Any, seed: keras.random.SeedGenerator):
        self._count = count
        self._seed = seed

    def uniform(self, shape: tuple[Any, ...]) -> Any:
        return keras.random.uniform((self._count, *shape), dtype="float32", seed=self._seed)

    def normal(self, shape: tuple[Any, ...]) -> Any:
        return keras.random.normal((self._count, *shape), dtype="float32", seed=self._seed)

    def number(self) -> Any:
        """One for all images: float32, (), uniform in [0, 1)."""
        return keras.random.uniform((), dtype="float32", seed=self._seed)

    def of(self, count: Any) -> FreshDraws:
        """For as many other images, from the same generator."""
        return FreshDraws(count, self._seed)


class KeyedDraws:
    """The same numbers for the same key, whatever the batch around it.

    Args:
      keys: Two uint32 tensors (N,): the Threefry key of each image.
    """

    def __init__(self, keys: tuple[Any, Any]):
        self._keys = tuple(ops.expand_dims(word, 1) for word in keys)
        self._stream = 0

    def uniform(self, shape: tuple[Any, ...]) -> Any:
        # The 24 high bits: exactly what a float32 in [0, 1) holds.
        bits = ops.bitwise_right_shift(self._bits(shape), _word(8))
        return ops.cast(bits, "float32") * 2.0**-24

    def normal(self, shape: tuple[Any, ...]) -> Any:
        # The sum of two independent normals of variance 0.64 and 0.36, each looked up in a
        # table with 16 of the 32 bits: exact operations only, 2**32 values, 5.9 sd far.
        bits = self._bits(shape)
        high = ops.cast(ops.bitwise_right_shift(bits, _word(32 - _TABLE_BITS)), "int32")
        low = ops.cast(ops.bitwise_and(bits, _word(2**_TABLE_BITS - 1)), "int32")
        table = normal_table()
        return ops.take(np.float32(0.8) * table, high) + ops.take(np.float32(0.6) * table, low)

    def _bits(self, shape: tuple[Any, ...]) -> Any:
        """uint32, (N, *shape): 32 random bits each, of the next stream."""
        size: Any = math.prod(shape)
        # A block of the cipher gives two words: one for each half of the image.
        blocks = (size + 1) // 2
        counter = ops.expand_dims(ops.cast(ops.arange(blocks), "uint32"), 0)
        halves = _threefry(self._keys, (counter, _word(self._stream)))
        self._stream += 1
        return ops.reshape(ops.concatenate(halves, axis=1)[:, :size], (-1, *shape))


def image_keys(keys: Any, *salt: int) -> tuple[Any, Any]:
    """The Threefry key of each image.

    Args:
      keys: int64, (N,): a fingerprint of the image.
      *salt: What else the noise depends on: integers below 2**64, such as the seed.

    Returns:
      Two uint32 tensors, (N,). For one salt, different keys give different ones.
    """
    return _threefry(tuple(map(_word, _salted(*salt))), _words(keys))


@functools.cache
def _salted(*salt: int) -> tuple[int, int]:
    """The key under which images' keys are made: a constant of a graph, not operations of it."""
    state = np.zeros(1, np.uint32), np.zeros(1, np.uint32)
    for value in salt:
        high, low = np.array([[value >> 32], [value & 0xFFFFFFFF]], np.uint32)
        state = threefry(state, (high, low))
    return int(state[0][0]), int(state[1][0])


def threefry(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Threefry-2x32-20: a 64-bit counter to 64 random bits, under a 64-bit key.

    Args:
      key: Two uint32 tensors, or arrays: then it is computed in NumPy.
      counter: Two of the same that broadcast with the key.

    Returns:
      Two of the same, of the broadcast shape.
    """
    bits, word = (np, np.uint32) if isinstance(key[0], np.ndarray) else (ops, _word)

    def rotate(words: Any, count: int) -> Any:
        high, low = bits.left_shift(words, word(count)), bits.right_shift(words, word(32 - count))
        return bits.bitwise_or(high, low)

    schedule = (*key, bits.bitwise_xor(bits.bitwise_xor(*key), word(_PARITY)))
    first, second = counter[0] + key[0], counter[1] + key[1]
    for step in range(_ROUNDS):
        first = first + second
        second = bits.bitwise_xor(rotate(second, _ROTATIONS[step // 4 % 2][step % 4]), first)
        if step % 4 == 3:
            injection = step // 4 + 1
            first = first + schedule[injection % 3]
            second = second + (schedule[(injection + 1) % 3] + word(injection))
    return first, second


def _threefry(key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """`threefry` of tensors."""
    halves: tuple[Any, Any] = _compiled()(key, counter)
    return halves


@functools.cache
def _compiled() -> Any:
    """`threefry` as one operation of a TensorFlow graph: its two hundred take longer to add, each
    time that it is called, than to compute."""
    if keras.backend.backend() != "tensorflow":
        return threefry
    import tensorflow as tf

    return tf.function(threefry, autograph=False, reduce_retracing=True)


@functools.cache
def normal_table() -> np.ndarray:
    """Standard normal quantiles: float32, (65536,).

    The mean of the distribution over each of 65536 equally likely intervals, scaled to a
    variance of exactly 1.
    """
    import scipy.special

    edges = scipy.special.ndtri(np.linspace(0.0, 1.0, 2**_TABLE_BITS + 1))
    density = np.exp(-(edges**2) / 2) / np.sqrt(2 * np.pi)
    means = (density[:-1] - density[1:]) * 2**_TABLE_BITS
    means = (means - means[::-1]) / 2
    return (means / np.sqrt(np.mean(means**2))).astype(np.float32)


def _word(value: int) -> Any:
    return ops.convert_to_tensor(np.uint32(value))


def _words(keys: Any) -> tuple[Any, Any]:
    """int64 (N,) to its high and low halves, uint32 (N,)."""
    if isinstance(keys, (np.ndarray, list, tuple)):
        # In NumPy, since JAX has no 64-bit integers unless asked for.
        values = np.asarray(keys, dtype=np.int64).view(np.uint64)
        halves = (values >> np.uint64(32), values & np.uint64(0xFFFFFFFF))
        high, low = (ops.convert_to_tensor(half.astype(np.uint32)) for half in halves)
        return high, low
    shift = ops.convert_to_tensor(np.int64(32))
    mask = ops.convert_to_tensor(np.int64(0xFFFFFFFF))
    high = ops.bitwise_and(ops.bitwise_right_shift(keys, shift), mask)
    return ops.cast(high, "uint32"), ops.cast(ops.bitwise_and(keys, mask), "uint32")
