"""A contact sheet: images before and after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGES = 12
"""As many have room on one sheet."""

_TILE = 84
_MARGIN = 8
_TITLES = 72


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

    height, width = columns[0][0].shape[:2]
    zoom = max(1, round(_TILE / max(height, width)))
    tile = (width * zoom, height * zoom)
    size = (
        _TITLES + len(columns) * (tile[0] + _MARGIN),
        _MARGIN + len(titles) * (tile[1] + _MARGIN),
    )
    sheet = PIL.Image.new("RGB", size, "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for row, title in enumerate(titles):
        top = _MARGIN + row * (tile[1] + _MARGIN)
        draw.text((_MARGIN, top + tile[1] // 2 - 6), title, fill="black")
        for column, images in enumerate(columns):
            enlarged = picture(images[row]).resize(tile, PIL.Image.Resampling.NEAREST)
            sheet.paste(enlarged, (_TITLES + column * (tile[0] + _MARGIN), top))
    return sheet
