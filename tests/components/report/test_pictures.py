from __future__ import annotations

import numpy as np

from components.report import pictures


def test_error_is_black_where_there_is_none_and_brightest_from_the_scale_on():
    clean = np.zeros((1, 3, 1), np.float32)
    denoised = np.array([[[0.0], [pictures.ERROR_SCALE], [1.0]]], np.float32)
    none, most, more = pictures.error_colours(clean, denoised)[0].astype(int)
    assert none[:3].sum() < 10
    assert (most == more).all()
    assert most[:3].sum() > 600


def test_error_of_colour_images_is_the_mean_over_channels():
    clean = np.zeros((1, 1, 3), np.float32)
    red = np.array([[[0.3, 0.0, 0.0]]], np.float32)
    grey = np.array([[[0.1, 0.1, 0.1]]], np.float32)
    np.testing.assert_array_equal(
        pictures.error_colours(clean, red), pictures.error_colours(clean, grey)
    )
