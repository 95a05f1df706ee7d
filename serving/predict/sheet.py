"""A contact sheet: images before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from serving.client.tiling import as_floats, as_pixels

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES = 12
"""As many have room on one sheet."""

_TILE = 84
_LARGEST = 256
"""Of a larger picture the middle is shown: made smaller, it would show no noise."""
_MARGIN = 8
_TITLES = 72


def middle(pixels: np.ndarray) -> np.ndarray:
    """What a sheet shows of a picture: uint8, uint16 or floats (H, W, C) to uint8, at most 256
    pixels high and wide."""
    top, left = (max(0, (size - _LARGEST) // 2) for size in pixels.shape[:2])
    part = pixels[top : top + _LARGEST, left : left + _LARGEST]
    return as_pixels(as_floats(part), np.uint8)


def picture(pixels: np.ndarray) -> Image:
    """uint8 (H, W, 1 or 3) as Pillow's image, grey or RGB."""
    import PIL.Image

    return PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def contact_sheet(columns: Sequence[tuple[np.ndarray, ...]], titles: Sequence[str]) -> Image:
    """Images before and after, one column each, enlarged without smoothing.

    Args:
      columns: For each image its uint8 (H, W, C) versions, from top to bottom.
      titles: What the rows are.
    """
    import PIL.Image
    import PIL.ImageDraw

    enlarged = [[_enlarged(image) for image in images] for images in columns]
    widths = [images[0].width for images in enlarged]
    height = max(images[0].height for images in enlarged)
    size = (
        _TITLES + sum(widths) + len(columns) * _MARGIN,
        _MARGIN + len(titles) * (height + _MARGIN),
    )
    sheet = PIL.Image.new("RGB", size, "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for row, title in enumerate(titles):
        top = _MARGIN + row * (height + _MARGIN)
        draw.text((_MARGIN, top + height // 2 - 6), title, fill="black")
        left = _TITLES
        for images, width in zip(enlarged, widths, strict=True):
            sheet.paste(images[row], (left, top))
            left += width + _MARGIN
    return sheet


def _enlarged(pixels: np.ndarray) -> Image:
    import PIL.Image

    height, width = pixels.shape[:2]
    zoom = max(1, round(_TILE / max(height, width)))
    return picture(pixels).resize((width * zoom, height * zoom), PIL.Image.Resampling.NEAREST)
