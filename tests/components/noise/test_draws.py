"""components.noise.draws: the generator behind the fixed noise."""

from __future__ import annotations

import functools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from keras import ops

from components.noise import draws as draws_module
from components.noise.draws import KeyedDraws, image_keys, normal_table, threefry


def words(*values: int):
    return tuple(ops.convert_to_tensor(np.uint32(value)) for value in values)


# Random123's kat_vectors, threefry2x32, 20 rounds: counter, key, result.
KNOWN_ANSWERS = [
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN_ANSWERS)
def test_threefry_gives_the_published_answers(counter, key, expected):
    for function in (threefry, draws_module._threefry):
        assert tuple(map(int, function(words(*key), words(*counter)))) == expected
    in_numpy = threefry(np.uint32([key]).T, np.uint32([counter]).T)
    assert tuple(word.item() for word in in_numpy) == expected


def test_image_keys_use_all_64_bits_of_the_fingerprint_and_every_salt():
    fingerprints = np.array([0, 1, -1, 2**32, 2**40, -(2**63), 2**63 - 1])
    seen = {
        tuple(map(int, pair))
        for salt in ((), (0,), (1,), (2**40,), (1, 0), (0, 1))
        for pair in zip(*image_keys(fingerprints, *salt), strict=True)
    }
    assert len(seen) == len(fingerprints) * 6


def test_image_keys_of_tensors_and_arrays_agree():
    fingerprints = np.array([0, -1, 2**40 + 3, -(2**63)])
    of_array = image_keys(fingerprints, 5)
    of_tensor = image_keys(ops.convert_to_tensor(fingerprints), 5)
    assert all(map(np.array_equal, of_array, of_tensor))


def draws(count: int, seed: int = 1) -> KeyedDraws:
    return KeyedDraws(image_keys(np.arange(count), seed))


def test_a_graph_holds_the_generator_once_for_each_shape(monkeypatch):
    """It was there for each draw: Transform traced four thousand operations."""
    # One that other tests' shapes came to may serve for both.
    anew = functools.cache(draws_module._compiled.__wrapped__)
    monkeypatch.setattr(draws_module, "_compiled", anew)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64)], autograph=False)
    def noise(keys):
        drawn = KeyedDraws(image_keys(keys, 1))
        return drawn.normal((7, 7)) + drawn.uniform((7, 7)) + drawn.normal((7, 7))

    graph = noise.get_concrete_function().graph.as_graph_def()
    assert "BitwiseXor" not in {node.op for node in graph.node}
    found = [{node.op for node in function.node_def} for function in graph.library.function]
    # That of the keys, and that of the numbers.
    assert sum("BitwiseXor" in operations for operations in found) == 2
    eager = KeyedDraws(image_keys(np.arange(5), 1))
    expected = eager.normal((7, 7)) + eager.uniform((7, 7)) + eager.normal((7, 7))
    np.testing.assert_array_equal(noise(tf.range(5, dtype=tf.int64)), expected)


def test_uniform_numbers_are_uniform():
    values = np.asarray(draws(400).uniform((25, 25)))
    assert values.min() >= 0
    assert values.max() < 1
    assert scipy.stats.kstest(values.ravel(), "uniform").pvalue > 0.001


def test_normal_numbers_are_normal():
    values = np.asarray(draws(400).normal((25, 25))).ravel().astype(np.float64)
    assert scipy.stats.kstest(values, "norm").pvalue > 0.001
    number = len(values)
    assert abs(values.mean()) < 4 / np.sqrt(number)
    assert abs(values.var() - 1) < 4 * np.sqrt(2 / number)
    assert abs(scipy.stats.kurtosis(values)) < 4 * np.sqrt(24 / number)
    beyond = np.mean(np.abs(values) > 4)
    assert beyond == pytest.approx(2 * scipy.stats.norm.sf(4), abs=4e-5)


def test_the_sum_of_two_table_values_is_normal_far_beyond_what_an_image_shows():
    table = normal_table().astype(np.float64)
    assert table.var() == pytest.approx(1, abs=1e-6)
    assert np.all(np.diff(table) > 0)
    # 2**32 values, counted exactly: for each high part, how many low parts reach z.
    for z in (-3.0, -1.0, 0.0, 0.5, 2.0, 4.5):
        reached = np.searchsorted(0.6 * table, z - 0.8 * table).mean() / len(table)
        assert reached == pytest.approx(scipy.stats.norm.cdf(z), abs=2e-6)


def test_streams_images_and_pixels_are_uncorrelated():
    source = draws(300)
    numbers = np.stack([np.asarray(source.uniform((40,))) for _ in range(3)])
    limit = 4.5 / np.sqrt(300)
    by_column = np.corrcoef(numbers.transpose(0, 2, 1).reshape(120, 300))
    assert np.abs(by_column - np.eye(120)).max() < limit
    neighbours = np.corrcoef(numbers[0, :-1].ravel(), numbers[0, 1:].ravel())
    assert abs(neighbours[0, 1]) < 4 / np.sqrt(299 * 40)


@pytest.mark.parametrize("shape", [(), (1,), (5,), (3, 3), (2, 3, 4)])
def test_draws_have_the_shape_asked_for_odd_sizes_too(shape):
    assert draws(7).uniform(shape).shape == (7, *shape)
    assert draws(7).normal(shape).shape == (7, *shape)
