from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from components.image import png


def _read(uri: str) -> np.ndarray:
    kind, _, data = uri.partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_a_data_uri_holds_the_very_pixels():
    pixels = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4) * 10
    np.testing.assert_array_equal(_read(png.data_uri(png.encoded(pixels))), pixels)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_opaque_and_stand_apart(channels):
    white = png.rgba(np.ones((4, 4, channels), np.float32))
    black = png.rgba(np.zeros((4, 4, channels), np.float32))
    row = _read(png.side_by_side([white, black]))
    assert row.shape == (4, 4 + 1 + 4, 4)
    assert (row[:, :4] == 255).all()
    assert (row[:, 4] == 0).all()
    assert (row[:, 5:] == [0, 0, 0, 255]).all()


def test_a_large_image_is_drawn_smaller():
    row = _read(png.side_by_side([np.zeros((2 * png.MAX_SIDE, 10, 4), np.uint8)]))
    assert row.shape[0] == png.MAX_SIDE
