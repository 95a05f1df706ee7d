"""What every registered noise must do; a new one is tested as soon as it is registered."""

from __future__ import annotations

import functools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from components import noise as noises
from components.noise import NOISES, FreshDraws, assigned_noise, fixed_noise, parse
from tests import clothing

COMBINATIONS = {
    "chain": ["gaussian(sd=0.2) + salt_pepper(rate=0.05)", "poisson + uniform + dropout"],
    "mixture": [
        "mixture(salt_pepper, gaussian(sd=(0.1, 0.5)), none, weights=(1, 2, 3))",
        "mixture(gaussian(sd=0.2) + salt_pepper, mixture(poisson, speckle))",
    ],
}


def expressions() -> list[str]:
    """Each registered noise at its defaults, with each switch on and with a range."""
    written = []
    for kind, noise in NOISES.items():
        written += COMBINATIONS.get(kind, [kind])
        for parameter in noise.parameters:
            if parameter.is_switch:
                written.append(f"{kind}({parameter.name}=True)")
            else:
                written.append(
                    f"{kind}({parameter.name}=({parameter.default / 2}, {parameter.default}))"
                )
    return written


every_noise = pytest.mark.parametrize("expression", expressions())


def photos(count: int = 40, shape: tuple[int, int, int] = (28, 28, 1)) -> np.ndarray:
    return clothing.images(count, seed=5, shape=shape)[0].astype(np.float32) / 255


def keys(count: int = 40) -> np.ndarray:
    return np.random.default_rng(6).integers(-(2**63), 2**63 - 1, count)


@functools.cache
def fixed_in_graph(expression: str) -> Any:
    """Fixed noise of seed 3, traced as the evaluation traces it."""
    traced = tf.function(
        lambda images, keys: fixed_noise(parse(expression), images, keys, seed=3),
        input_signature=[
            tf.TensorSpec((None, 28, 28, 1), tf.float32),
            tf.TensorSpec((None,), tf.int64),
        ],
        autograph=False,
    )
    return traced.get_concrete_function()


def same_bits(one, other) -> bool:
    return np.array_equal(np.asarray(one).view(np.uint32), np.asarray(other).view(np.uint32))


def test_the_battery_covers_every_registered_noise():
    assert {
        "salt_pepper",
        "gaussian",
        "speckle",
        "poisson",
        "uniform",
        "dropout",
        "mixture",
    } <= set(NOISES)
    tested = {type(parse(expression)) for expression in expressions()}
    assert tested == set(NOISES.values())


@every_noise
@pytest.mark.parametrize("shape", [(28, 28, 1), (28, 28, 3), (7, 5, 1), (1, 1, 3)])
def test_noisy_images_keep_shape_type_and_range(expression, shape):
    clean = photos(5, shape)
    for noisy, level in (
        fixed_noise(parse(expression), clean, keys(5), seed=1),
        parse(expression).corrupt(clean, FreshDraws(5, keras.random.SeedGenerator(1))),
    ):
        assert noisy.shape == clean.shape
        assert level.shape == (5,)
        assert noisy.dtype == level.dtype == tf.float32
        assert np.all((np.asarray(noisy) >= 0) & (np.asarray(noisy) <= 1))


@every_noise
def test_levels_are_the_severities_applied(expression):
    noise = parse(expression)
    _, levels = fixed_noise(noise, photos(), keys(), seed=1)
    if not noise.parameters:
        return
    severity = getattr(noise, noise.parameters[0].name)
    if isinstance(severity, tuple):
        assert np.all((levels >= severity[0]) & (levels <= severity[1]))
        assert np.ptp(levels) > (severity[1] - severity[0]) / 2
    else:
        assert np.all(np.asarray(levels) == np.float32(severity))


@every_noise
def test_fixed_noise_is_the_same_in_any_batch_order_and_graph(expression):
    noise, clean, key = parse(expression), photos(), keys()
    together, levels = fixed_noise(noise, clean, key, seed=3)
    graph = fixed_in_graph(expression)
    order = np.random.default_rng(7).permutation(len(clean))
    for part in np.array_split(order, [1, 4, 11, 28]):
        for make in (graph, lambda images, prints: fixed_noise(noise, images, prints, seed=3)):
            noisy, level = make(tf.constant(clean[part]), tf.constant(key[part]))
            assert same_bits(noisy, np.asarray(together)[part])
            assert same_bits(level, np.asarray(levels)[part])


@every_noise
def test_fixed_noise_of_no_image_is_no_image(expression):
    noisy, level = fixed_noise(parse(expression), photos()[:0], keys()[:0], seed=1)
    assert noisy.shape == (0, 28, 28, 1)
    assert level.shape == (0,)


@every_noise
def test_fixed_noise_differs_by_key_and_by_seed(expression):
    if expression == "none":
        return
    grey = np.full((20, 28, 28, 1), 0.5, np.float32)
    noisy = np.asarray(fixed_noise(parse(expression), grey, keys(20), seed=1)[0])
    noisy = noisy[np.any(noisy != 0.5, axis=(1, 2, 3))]  # a mixture may leave an image alone
    assert len(noisy) > 5
    assert len(np.unique(noisy.reshape(len(noisy), -1), axis=0)) == len(noisy)
    other_seed = np.asarray(fixed_noise(parse(expression), grey, keys(20), seed=2)[0])
    assert not np.array_equal(noisy[:5], other_seed[:5])


@every_noise
def test_a_graph_of_fixed_noise_has_core_operations_only(expression):
    graph = fixed_in_graph(expression)
    kinds = {operation.type for operation in graph.graph.get_operations()}
    assert not {kind for kind in kinds if "PyFunc" in kind or "Random" in kind or "Hash" in kind}
    assert not graph.variables


@every_noise
def test_fresh_noise_only_in_training_and_new_on_every_call(expression):
    noise, clean = parse(expression), photos()
    assert same_bits(noise(clean), clean)
    assert same_bits(noise(clean, training=False), clean)
    first, second = noise(clean, training=True), noise(clean, training=True)
    if expression != "none":
        assert not same_bits(first, clean)
        assert not same_bits(first, second)


@every_noise
def test_fresh_noise_follows_its_seed(expression):
    config = parse(expression).get_config()
    runs = []
    for _ in range(2):
        noise = type(parse(expression)).from_config({**config, "seed": 11})
        runs.append([np.asarray(noise(photos(), training=True)) for _ in range(2)])
    assert same_bits(runs[0], runs[1])


@every_noise
def test_a_saved_model_keeps_its_noise(expression, tmp_path):
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, parse(expression)(inputs))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert str(loaded.layers[-1]) == str(parse(expression))
    assert same_bits(loaded(photos()), photos())
    assert loaded(photos(), training=True).shape == (40, 28, 28, 1)


@every_noise
def test_noise_compiles_and_stays_float32_in_mixed_precision(expression):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        noise = parse(expression)
        compiled = tf.function(
            lambda images: noise(images, training=True), jit_compile=True, autograph=False
        )
        noisy = np.asarray(compiled(tf.constant(photos(4))))
    finally:
        keras.config.set_dtype_policy("float32")
    assert noisy.dtype == np.float32
    assert np.all((noisy >= 0) & (noisy <= 1))


@every_noise
def test_the_canonical_expression_means_the_same(expression):
    noise = parse(expression)
    assert str(parse(str(noise))) == str(noise)
    one, other = (
        fixed_noise(parse(written), photos(3), keys(3), seed=1)[0]
        for written in (expression, str(noise))
    )
    assert same_bits(one, other)


def test_a_model_with_noise_trains():
    inputs = keras.Input((None, None, 1))
    noise = parse(COMBINATIONS["mixture"][0])
    model = keras.Model(inputs, keras.layers.Conv2D(1, 3, padding="same")(noise(inputs)))
    model.compile(keras.optimizers.Adam(0.05), "mse", jit_compile=False)
    clean = photos(32, (11, 9, 1))
    history = model.fit(clean, clean, batch_size=8, epochs=3, verbose=0).history["loss"]
    assert history[-1] < history[0]


def test_every_image_is_assigned_one_noise_and_has_it_bit_for_bit():
    listed = [parse(text) for text in ("salt_pepper", "gaussian", "gaussian(0.2) + salt_pepper")]
    clean, key = np.repeat(photos(10), 60, axis=0), keys(600)
    noisy, index, level = assigned_noise(listed, clean, key, seed=4)
    assert noisy.shape == clean.shape
    assert (index.dtype, level.dtype) == (tf.int64, tf.float32)
    counts = np.bincount(index, minlength=3)
    assert np.all(np.abs(counts - 200) < 4 * np.sqrt(600 * 2 / 9))
    for position, noise in enumerate(listed):
        here = np.asarray(index) == position
        expected, levels = fixed_noise(noise, clean, key, seed=4)
        assert same_bits(np.asarray(noisy)[here], np.asarray(expected)[here])
        assert same_bits(np.asarray(level)[here], np.asarray(levels)[here])
    part = assigned_noise(listed, clean[7:20], key[7:20], seed=4)
    assert same_bits(part[0], np.asarray(noisy)[7:20])
    assert np.array_equal(part[1], np.asarray(index)[7:20])


PUBLISHED = {
    "salt_pepper(rate=0.9)": [0.7372549, 0.0, 0.0352941, 0.6235294, 0.0745098, 0.0235294],
    "gaussian(sd=0.1)": [0.6469816, 0.6379555, 0.5760984, 0.588969, 0.4488782, 0.5964897],
    "poisson(peak=30)": [0.5666667, 0.3, 0.5333334, 0.6, 0.4333334, 0.5666667],
}


def test_fixed_noise_stays_what_it_was_when_first_published():
    grey = np.full((1, 2, 3, 1), 0.5, np.float32)
    values = {
        expression: np.asarray(fixed_noise(parse(expression), grey, np.array([-7]), 20171)[0])
        for expression in PUBLISHED
    }
    for expression, expected in PUBLISHED.items():
        np.testing.assert_allclose(values[expression].ravel(), expected, atol=2e-6)


def test_the_listing_says_how_to_write_each_noise_and_where_it_is_from():
    listed = {entry["name"]: entry for entry in noises.listing()}
    assert listed.keys() == NOISES.keys()
    assert listed["gaussian"]["usage"] == "gaussian(sd=0.5 [0-10])"
    for entry in listed.values():
        assert entry["formula"]
        assert entry["source"]
        assert all(parameter["unit"] for parameter in entry["parameters"])
