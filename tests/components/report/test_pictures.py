from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image

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


def test_png_uri_holds_the_very_pixels():
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4) * 10
    kind, _, data = pictures.png_uri(pixels).partition(",")
    assert kind == "data:image/png;base64"
    read = Image.open(io.BytesIO(base64.b64decode(data)))
    np.testing.assert_array_equal(np.asarray(read), pixels)


def test_confusion_counts_true_by_predicted():
    counts = pictures.confusion(np.array([0, 0, 2, 2]), np.array([0, 1, 2, 2]), 3)
    np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 0, 0], [0, 0, 2]])
