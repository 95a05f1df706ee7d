"""Normalisation: the same eager, in a graph, and from what a CSV row holds."""

import numpy as np
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from components.image.pixels import (
    nearest,
    normalise,
    normalise_array,
    quantise,
    quantise_array,
)

SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 6), st.sampled_from([1, 3]))


@given(st.data(), SHAPES)
def test_quantise_undoes_normalise(data, shape):
    pixels = data.draw(
        arrays.arrays(np.int64, (2, int(np.prod(shape))), elements=st.integers(0, 255))
    )
    images = np.asarray(normalise(pixels, shape))
    assert images.shape == (2, *shape)
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    np.testing.assert_array_equal(np.asarray(quantise(images)).reshape(2, -1), pixels)


def test_eager_and_graph_agree_bit_for_bit():
    pixels = np.arange(256, dtype=np.int64).reshape(1, 256)
    graph = tf.function(lambda values: normalise(values, (16, 16, 1)))
    for dtype in (np.int64, np.int32, np.uint8):
        eager = np.asarray(normalise(pixels.astype(dtype), (16, 16, 1)))
        np.testing.assert_array_equal(eager, graph(pixels.astype(dtype)).numpy())
        np.testing.assert_allclose(eager.ravel(), np.arange(256) / 255, rtol=2e-7)


def test_rows_are_height_width_channels():
    image = np.asarray(normalise(np.arange(12).reshape(1, 12), (2, 2, 3)))[0] * 255
    np.testing.assert_allclose(image[1, 0], [6, 7, 8], rtol=1e-6)


def test_quantise_clips():
    np.testing.assert_array_equal(quantise(np.array([-1.0, 0.5, 2.0], np.float32)), [0, 128, 255])


@given(
    arrays.arrays(np.uint8, (2, 12)),
    arrays.arrays(np.float32, (2, 12), elements=st.floats(-2, 2, width=32)),
)
def test_arrays_are_treated_the_same_bit_for_bit(pixels, images):
    shape = (2, 2, 3)
    np.testing.assert_array_equal(normalise_array(pixels, shape), normalise(pixels, shape))
    found = quantise_array(images)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, quantise(images))


def test_nearest_are_values_of_pixels():
    images = np.linspace(0, 1, 1001, dtype=np.float32)
    every = np.asarray(normalise(np.arange(256), (16, 16, 1))).ravel()
    found = np.asarray(nearest(images))
    assert set(found) == set(every)
    assert np.abs(found - images).max() < 0.5 / 255 + 1e-6
