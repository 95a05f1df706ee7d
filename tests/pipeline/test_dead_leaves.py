"""Drawn images: the same for a seed, in the colours given, with as much in them as they should."""

import itertools

import numpy as np
import pytest

from pipeline.dead_leaves import dead_leaves, smooth_leaves
from pipeline.photographs import detail

GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, 1)


@pytest.mark.parametrize("draw", [dead_leaves, smooth_leaves])
def test_a_seed_gives_one_image_and_another_another(draw):
    image = draw(64, GREYS, seed=1)
    assert image.shape == (64, 64, 3)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(draw(64, GREYS, seed=1), image)
    assert np.any(draw(64, GREYS, seed=2) != image)


def test_colours_are_those_given():
    """Shapes of one colour, edges and textures between two: a line from green to red."""
    colours = np.array([[0, 200, 10], [200, 0, 10]], np.uint8)
    image = dead_leaves(96, colours, seed=3).astype(int)
    assert np.all(image[..., 2] == 10)
    inside = np.all((image > 0) & (image < 200), axis=-1)
    assert np.all(np.abs(image[inside][:, :2].sum(1) - 200) <= 1)


@pytest.mark.parametrize("seed", range(3))
def test_detail_falls_with_frequency_as_in_photographs(seed):
    """Their power falls with some second power of the frequency (Field, JOSA A 1987)."""
    grey = dead_leaves(256, GREYS, seed)[..., 0].astype(float)
    power = np.abs(np.fft.fft2(grey - grey.mean())) ** 2
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(256), np.fft.fftfreq(256)))
    bands = np.geomspace(4 / 256, 0.4, 9)
    means = [
        power[(frequency >= low) & (frequency < high)].mean()
        for low, high in itertools.pairwise(bands)
    ]
    slope = np.polyfit(np.log((bands[:-1] * bands[1:]) ** 0.5), np.log(means), 1)[0]
    assert -3.5 < slope < -1


def test_smooth_ones_have_as_little_detail_as_skies_and_walls():
    details = [detail(smooth_leaves(128, GREYS, seed)) for seed in range(40)]
    # Photographs of the sky or the moon have 2.5, the others a median of 15.
    assert 1 < np.median(details) < 6
    assert max(details) > 6
    assert np.median([detail(dead_leaves(128, GREYS, seed)) for seed in range(10)]) > 10


def test_smooth_ones_keep_near_one_colour_where_the_contrast_is_faint():
    spread = [np.ptp(smooth_leaves(64, GREYS, seed).astype(int), axis=(0, 1)) for seed in range(40)]
    assert min(np.max(spread, axis=1)) < 40
    assert max(np.max(spread, axis=1)) > 120
    # Of one colour alone only grain and the tones of bricks differ.
    for seed in range(20):
        image = smooth_leaves(64, np.array([[90, 120, 150]], np.uint8), seed).astype(int)
        assert np.all(np.abs(image - np.median(image, axis=(0, 1))).mean(axis=(0, 1)) < 10)
