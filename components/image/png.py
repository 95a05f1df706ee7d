"""Images drawn for a page: PNGs that stand in it as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np

MAX_SIDE = 256
"""Larger images are drawn smaller, by leaving out rows and columns."""


def rgba(image: np.ndarray) -> np.ndarray:
    """float32 (H, W, 1 or 3) in [0, 1] to uint8 RGBA (H, W, 4)."""
    from components.image.pixels import MAX_PIXEL, quantise_array

    pixels = quantise_array(image)
    rgb = np.broadcast_to(pixels, (*pixels.shape[:2], 3))
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), MAX_PIXEL, np.uint8)], axis=2)


def side_by_side(tiles: Sequence[np.ndarray]) -> str:
    """uint8 RGBA (H, W, 4) images of one size in a row: a PNG as a data URI."""
    step = -(-max(tiles[0].shape[:2]) // MAX_SIDE)
    tiles = [tile[::step, ::step] for tile in tiles]
    gap = np.zeros((tiles[0].shape[0], max(1, tiles[0].shape[1] // 28), 4), np.uint8)
    parts = [part for tile in tiles for part in (gap, tile)][1:]
    return data_uri(encoded(np.concatenate(parts, axis=1)))


def encoded(pixels: np.ndarray) -> bytes:
    """uint8 RGBA (H, W, 4) as a PNG."""
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def data_uri(content: bytes) -> str:
    """A PNG as a data URI (RFC 2397)."""
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
