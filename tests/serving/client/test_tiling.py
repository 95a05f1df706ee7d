"""Tiles blended without seams: the tiled result of a convolution is the whole one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.client.tiling import (
    Blend,
    Tiling,
    as_floats,
    denoise_any,
    margin_probe,
    margin_seen,
    tiling,
)


def convolution(radius: int, padding: str = "constant"):
    """A convolution of a random kernel, (N, H, W, C) to the same, each channel by itself."""
    random = np.random.default_rng(radius)
    kernels = random.random((2, 2 * radius + 1), np.float32)
    kernels /= kernels.sum(axis=1, keepdims=True)

    def convolve(images: np.ndarray) -> np.ndarray:
        for axis, kernel in zip((1, 2), kernels, strict=True):
            around = [(0, 0)] * 4
            around[axis] = (radius, radius)
            padded, size = np.pad(images, around, mode=padding), images.shape[axis]
            images = sum(
                weight * np.take(padded, range(shift, shift + size), axis)
                for shift, weight in enumerate(kernel)
            )
        return images

    return convolve


def in_tiles(pixels, tiles, denoise, channels=1, most=1 << 16):
    blend = Blend(pixels, tiles, channels)
    for batch in blend.batches(most):
        blend.add(batch.number, denoise(batch.images))
    assert blend.done == 1
    return blend.result


@given(
    height=st.integers(1, 90),
    width=st.integers(1, 90),
    tile=st.tuples(st.integers(9, 40), st.integers(9, 40)),
    radius=st.integers(0, 3),
    fixed=st.booleans(),
    most=st.sampled_from([1, 2000, 1 << 20]),
)
@example(height=20, width=90, tile=(30, 30), radius=3, fixed=True, most=1)  # smaller in one way
@example(height=90, width=20, tile=(30, 30), radius=3, fixed=False, most=1)
@settings(max_examples=80)
def test_tiles_equal_the_whole(height, width, tile, radius, fixed, most):
    """Everywhere with tiles that end where the picture does; away from the border with tiles that
    are filled up there."""
    pixels = np.random.default_rng(height).random((height, width, 1), np.float32)
    tiles = Tiling(*tile, overlap=2 * radius + 3, margin=radius, fixed=fixed)
    convolve = convolution(radius)
    found = in_tiles(pixels, tiles, convolve, most=most)
    whole = convolve(pixels[None])[0]
    inside = slice(radius, -radius if fixed and radius else None) if fixed else slice(None)
    np.testing.assert_allclose(found[inside, inside], whole[inside, inside], atol=1e-5)


@given(
    shape=st.tuples(st.integers(1, 70), st.integers(1, 70), st.sampled_from([1, 3])),
    dtype=st.sampled_from([np.uint8, np.uint16, np.float32]),
    fixed=st.sampled_from([(28, 28), (4, 6), (1, 1), (None, None)]),
    channels=st.sampled_from([1, 3]),
)
@settings(max_examples=80)
def test_what_a_model_leaves_as_it_is_comes_back_as_it_was(shape, dtype, fixed, channels):
    """Shape, type and every value: the weights add up to 1."""
    random = np.random.default_rng(0)
    pixels = random.random((2, *shape)) * (1 if dtype == np.float32 else np.iinfo(dtype).max)
    pixels = pixels.astype(dtype)
    seen = []

    def same(images):
        seen.append(images.shape)
        assert images.dtype == np.float32
        return images

    told = []
    found = denoise_any(pixels, (*fixed, channels), same, told=told.append)
    assert (found.dtype, found.shape) == (pixels.dtype, pixels.shape)
    np.testing.assert_allclose(as_floats(found), as_floats(pixels), atol=1e-6)
    assert {size[-1] for size in seen} == {channels}
    if fixed != (None, None):
        assert {size[1:3] for size in seen} == {fixed}
    assert told[-1] == 1
    assert told == sorted(told)


def test_channels_that_the_model_has_not():
    """A grey model sees each channel by itself; a colour model sees grey three times."""
    colour = np.random.default_rng(1).random((30, 40, 3), np.float32)
    convolve = convolution(2)
    found = denoise_any(colour[None], (28, 28, 1), convolve)[0]
    for channel in range(3):
        alone = denoise_any(colour[None, ..., channel, None], (28, 28, 1), convolve)[0]
        np.testing.assert_array_equal(found[..., channel], alone[..., 0])

    def tinted(images):
        assert np.ptp(images, axis=-1).max() == 0
        return images * np.float32([0.5, 1, 1.2])

    grey = colour[None, ..., :1]
    np.testing.assert_allclose(denoise_any(grey, (28, 28, 3), tinted), 0.9 * grey, rtol=1e-5)


def test_a_seam_would_be_seen():
    """Tiles of a model that adds another grey to each: no step between neighbours is large."""
    number = iter(range(1000))

    def shifted(images):
        return np.stack([image + 0.1 * (next(number) % 2) for image in images])

    tiles = tiling((28, 28, 1), (100, 100))
    found = in_tiles(np.zeros((100, 100, 1), np.float32), tiles, shifted)
    assert found.max() - found.min() > 0.05
    for axis in (0, 1):
        assert np.abs(np.diff(found, axis=axis)).max() < 0.025


@pytest.mark.parametrize("radius", [0, 1, 5, 40])
def test_the_margin_is_measured(radius):
    found = margin_seen(*map(convolution(radius, "reflect"), margin_probe(1)))
    assert radius - 2 <= found <= radius


@pytest.mark.parametrize(
    ("size", "sizes"),
    [
        ((90, 102), [(1, 90, 102)]),
        # They begin at multiples of 32, and the last ones end where the picture does.
        ((180, 64), [(1, 128, 64), (1, 116, 64)]),
        ((64, 180), [(1, 64, 128), (1, 64, 116)]),
        ((97, 97), [(1, 96, 96), (1, 96, 65), (1, 65, 96), (1, 65, 65)]),
    ],
)
def test_any_size_is_cut_only_where_it_is_too_large(size, sizes):
    seen = []

    def same(images):
        seen.append(images.shape[:3])
        return images

    tiles = tiling((None, None, 1), size, margin=10, most=96 * 96)
    in_tiles(np.zeros((*size, 1), np.uint8), tiles, same, most=96 * 96)
    assert seen == sizes


@given(
    size=st.tuples(st.integers(1, 3000), st.integers(1, 3000)),
    margin=st.integers(0, 384),
    most=st.sampled_from([64 * 64, 1 << 20]),
)
@settings(max_examples=80)
def test_a_tile_of_any_size_is_no_larger_than_allowed(size, margin, most):
    """But for a strip that is narrower than two tiles overlap."""
    tiles = tiling((None, None, 1), size, margin, most)
    height, width = (min(pair) for pair in zip(size, (tiles.height, tiles.width), strict=True))
    assert height * width <= most
    assert tiles.margin <= margin


def test_a_large_picture_is_not_held_as_floats():
    import tracemalloc

    pixels = np.zeros((4000, 1000, 3), np.uint8)
    tracemalloc.start()
    try:
        in_tiles(
            pixels, tiling((None, None, 3), pixels.shape[:2], 10, 128 * 128), lambda images: images
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2.5 * pixels.nbytes  # the result, and a band; floats would be 4 times as much


@pytest.mark.parametrize(("overlap", "margin"), [(10, 5), (41, 0), (3, -1)])
def test_an_impossible_tiling(overlap, margin):
    with pytest.raises(ValueError, match="margin < overlap"):
        Tiling(40, 40, overlap, margin, True)
