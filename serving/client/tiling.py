"""Pictures of any size through a model: whole, or in overlapping tiles blended without seams.

A picture is cut into tiles, each is denoised, and where tiles overlap their results are weighted
means: the weights of a tile rise and fall as half a cosine, and at each place those of all tiles
add up to 1. The outermost `margin` rows and columns of a tile, whose surroundings the model did
not see, count for nothing where another tile has them. So with a margin of half a convolutional
model's receptive field the tiled result is the whole one. It is put together band by band: of a
large picture only the bands in work are held as floats.

    blend = Blend(pixels, tiling(shape_of_the_model, pixels.shape[:2]), channels_of_the_model)
    for batch in blend.batches(1 << 20):
        blend.add(batch.number, denoise(batch.images))
    blend.result
"""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

ModelShape = tuple[int | None, int | None, int]
"""(H, W, C) of the images that a model takes; None: any."""

Denoise = Callable[[np.ndarray], np.ndarray]
"""float32 (N, H, W, C) in [0, 1] to the same."""

WHOLE = 1 << 20
"""Pixels that a model which takes any size is given at once at most: the layers of a network hold
a hundred times as much as the picture."""

_ALIGNMENT = 32
"""Tiles of a model of any size begin at multiples of this many pixels: a network that halves its
images five times then sees each of their pixels at the same place of its grid."""
_TOGETHER = 1 << 17
"""Pixels of small tiles in a batch: more are not faster on a CPU, and take memory."""
_FIXED_OVERLAP = 32
_RAMP = 16
_PROBE = (128, 512)
_PROBE_CUT = 128
_SAME = 2e-5
"""Largest difference of equal images that arithmetic in another order may cause."""


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How pictures are cut.

    Attributes:
      height, width: Of a tile, in pixels.
      overlap: Rows and columns that neighbours share at least, in pixels.
      margin: Outermost rows and columns of a tile that count for nothing where another tile has
        them, in pixels; less than half the overlap.
      fixed: Whether every tile has this very size, and what is smaller is filled up; else the
        last ones end where the picture does.
    """

    height: int
    width: int
    overlap: int
    margin: int
    fixed: bool

    def __post_init__(self) -> None:
        if not 0 <= 2 * self.margin < max(self.overlap, 1) <= min(self.height, self.width):
            raise ValueError(
                "expected 0 <= 2 * margin < overlap <= height and width of a tile, found "
                f"{self.margin}, {self.overlap}, {self.height} and {self.width}"
            )

    def rows(self, length: int) -> Spans:
        """The tiles from top to bottom of a picture `length` pixels high."""
        return _spans(length, self.height, self.overlap, self.margin, self.fixed)

    def columns(self, length: int) -> Spans:
        """The tiles from left to right of a picture `length` pixels wide."""
        return _spans(length, self.width, self.overlap, self.margin, self.fixed)


@dataclasses.dataclass(frozen=True)
class Spans:
    """Tiles along one side of a picture.

    Attributes:
      parts: (begin, end) of each, in order.
      weights: For each, float32 (end - begin,); at each place they add up to 1.
    """

    parts: tuple[tuple[int, int], ...]
    weights: tuple[np.ndarray, ...]


@functools.lru_cache(64)
def _spans(length: int, tile: int, overlap: int, margin: int, fixed: bool) -> Spans:
    if length <= tile:
        return Spans(((0, length),), (np.ones(length, np.float32),))
    if fixed:
        number = 1 + -(-(length - tile) // max(1, tile - overlap))
        begins = [round(i * (length - tile) / (number - 1)) for i in range(number)]
    else:
        step = max(1, tile - overlap)
        step = step // _ALIGNMENT * _ALIGNMENT or step
        begins = list(range(0, length - tile + step, step))
    parts = [(begin, min(begin + tile, length)) for begin in begins]
    weights = []
    for index, (begin, end) in enumerate(parts):
        weight = np.ones(end - begin)
        if index:
            weight *= _rise(end - begin, parts[index - 1][1] - begin, margin)
        if index + 1 < len(parts):
            weight *= _rise(end - begin, end - parts[index + 1][0], margin)[::-1]
        weights.append(weight)
    total = np.zeros(length)
    for (begin, end), weight in zip(parts, weights, strict=True):
        total[begin:end] += weight
    return Spans(
        tuple(parts),
        tuple(
            (weight / total[begin:end]).astype(np.float32)
            for (begin, end), weight in zip(parts, weights, strict=True)
        ),
    )


def _rise(length: int, shared: int, margin: int) -> np.ndarray:
    """From 0 to 1 within the pixels shared with the tile before, but for a margin at both ends."""
    if not shared:
        return np.ones(length)
    ramp = shared - 2 * margin
    places = np.clip((np.arange(length) - margin + 0.5) / ramp, 0, 1)
    return np.sin(np.pi / 2 * places) ** 2


def tiling(shape: ModelShape, size: tuple[int, int], margin: int = 0, most: int = WHOLE) -> Tiling:
    """The tiles for a model and a picture.

    Args:
      shape: What the model takes.
      size: (H, W) of the picture, in pixels.
      margin: Half the model's receptive field in pixels, as `margin_seen` finds it. A model of
        one size has none: it sees the whole of its image.
      most: Pixels of a tile, at most, of a model that takes any size.
    """
    height, width, _ = shape
    if height is not None and width is not None:
        overlap = min(height // 2, width // 2, _FIXED_OVERLAP)
        return Tiling(height, width, overlap, max(0, overlap - 1) // 4, True)
    height, width = size
    if height * width <= most:
        return Tiling(height, width, min(size), 0, False)
    side = _aligned(math.isqrt(most))
    # Of a panorama, tiles from edge to edge.
    short = min(*size, side)
    long = _aligned(most // short)
    # Rather a smaller margin than is needed than a tile of which little is left.
    margin = min(margin, long // 4 - _RAMP // 2)
    overlap = 2 * margin + _RAMP
    short = max(short, overlap)
    sides = (long, short) if height > width else (short, long)
    return Tiling(*sides, overlap, margin, False)


def _aligned(length: int) -> int:
    return max(_ALIGNMENT, length // _ALIGNMENT * _ALIGNMENT)


def margin_probe(channels: int) -> tuple[np.ndarray, np.ndarray]:
    """Two float32 (1, h, w, C) to denoise for `margin_seen`: noise, and the same cut off."""
    height, width = _PROBE
    random = np.random.default_rng(20171)
    noise = random.random((1, height, width, channels), np.float32)
    # Half of it is full of contrast, and half nearly grey.
    noise[:, height // 2 :] = 0.5 + 0.2 * (noise[:, height // 2 :] - 0.5)
    return noise, noise[:, :, _PROBE_CUT:]


def margin_seen(whole: np.ndarray, cut: np.ndarray) -> int:
    """How far from an edge a convolutional model's result depends on what is beyond it.

    Args:
      whole, cut: What the model made of `margin_probe`: near the cut they differ.

    Returns:
      Pixels, 0 to 384; beyond, nothing differs by more than 2e-5.
    """
    differs = np.abs(whole[:, :, _PROBE_CUT:] - cut).max(axis=(0, 1, 3)) > _SAME
    return int(differs.nonzero()[0].max(initial=-1)) + 1


def needs_margin(shape: ModelShape, size: tuple[int, int], most: int = WHOLE) -> bool:
    """Whether `tiling` of these has to know the margin."""
    return shape[0] is None and size[0] * size[1] > most


def as_floats(pixels: np.ndarray) -> np.ndarray:
    """uint8 or uint16 to float32 in [0, 1]; floats to float32."""
    if pixels.dtype.kind == "f":
        return pixels.astype(np.float32, copy=False)
    return pixels.astype(np.float32) * np.float32(1 / np.iinfo(pixels.dtype).max)


def as_pixels(images: np.ndarray, dtype: Any) -> np.ndarray:
    """float32 in [0, 1] to uint8 or uint16, rounded to the nearest; or to another float."""
    dtype = np.dtype(dtype)
    if dtype.kind == "f":
        return images.astype(dtype, copy=False)
    most = np.iinfo(dtype).max
    return np.rint(np.clip(images, 0.0, 1.0) * np.float32(most)).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Batch:
    """Tiles that are denoised together."""

    number: int
    images: np.ndarray
    """float32 (N, H, W, C) in [0, 1]."""


class Blend:
    """One picture in tiles, and their results as one picture."""

    def __init__(self, pixels: np.ndarray, tiling: Tiling, channels: int) -> None:
        """Cuts nothing yet.

        Args:
          pixels: (H, W, C), uint8, uint16 or floats in [0, 1], C 1 or 3; none of H, W is 0.
          tiling: How to cut.
          channels: C of the model: where the picture has 3 and the model 1, each channel is
            denoised by itself; where the picture has 1 and the model 3, it is given three times
            and the mean is taken.
        """
        self._pixels = pixels
        self._tiling = tiling
        self._channels = channels
        height, width, self._own = pixels.shape
        self._rows, self._columns = tiling.rows(height), tiling.columns(width)
        self._apart = self._own != channels and channels == 1
        self._tiles = [
            (row, column)
            for row in range(len(self._rows.parts))
            for column in range(len(self._columns.parts))
        ]
        self._runs: list[list[tuple[int, int]]] = []
        self._added = 0
        self._tiles_added = 0
        self._band: np.ndarray | None = None
        self._partial: np.ndarray | None = None
        self._partial_from = 0
        self.result = np.empty_like(pixels)
        """The picture, complete when every batch was added: shape and dtype of `pixels`."""

    @property
    def done(self) -> float:
        """How much has been added, 0 to 1."""
        return self._tiles_added / len(self._tiles)

    def batches(self, most: int) -> Iterator[Batch]:
        """Cuts the picture, from top to bottom.

        Args:
          most: Pixels in a batch; one tile may be more.
        """
        run: list[tuple[int, int]] = []
        images: list[np.ndarray] = []
        for tile in self._tiles:
            image = self._cut(*tile)
            fits = run and image.shape == images[0].shape
            if run and (not fits or (len(run) + 1) * image[..., 0].size > most):
                yield self._batch(run, images)
                run, images = [], []
            run.append(tile)
            images.append(image)
        yield self._batch(run, images)

    def _batch(self, run: list[tuple[int, int]], images: list[np.ndarray]) -> Batch:
        self._runs.append(run)
        return Batch(len(self._runs) - 1, np.concatenate(images))

    def _cut(self, row: int, column: int) -> np.ndarray:
        """A tile as the model takes it: (1, h, w, C), or each channel as an image of its own."""
        (top, bottom), (left, right) = self._rows.parts[row], self._columns.parts[column]
        tile = as_floats(self._pixels[top:bottom, left:right])
        if self._tiling.fixed:
            tile = _filled(tile, self._tiling.height, self._tiling.width)
        if self._apart:
            return np.moveaxis(tile, -1, 0)[..., None]
        return np.broadcast_to(tile, (1, *tile.shape[:2], self._channels))

    def add(self, number: int, denoised: np.ndarray) -> None:
        """Takes the result of a batch, in the order of the batches.

        Args:
          number: Of the batch.
          denoised: float32, of the shape of its images.
        """
        assert number == self._added
        self._added += 1
        run = self._runs[number]
        parts = denoised.reshape(len(run), -1, *denoised.shape[1:])
        for (row, column), part in zip(run, parts, strict=True):
            self._place(row, column, np.moveaxis(part[..., 0], 0, -1) if self._apart else part[0])
        self._runs[number] = []

    def _place(self, row: int, column: int, part: np.ndarray) -> None:
        (top, bottom), (left, right) = self._rows.parts[row], self._columns.parts[column]
        if part.shape[-1] != self._own:
            part = part.mean(axis=-1, keepdims=True)
        if self._band is None:
            shape = (bottom - top, self._pixels.shape[1], self._own)
            self._band = np.zeros(shape, np.float32)
        weighted = part[: bottom - top, : right - left] * self._columns.weights[column][:, None]
        self._band[:, left:right] += weighted
        self._tiles_added += 1
        if column + 1 == len(self._columns.parts):
            self._finish(row, self._band * self._rows.weights[row][:, None, None])
            self._band = None

    def _finish(self, row: int, band: np.ndarray) -> None:
        """Adds a band, and rounds the rows to which no other will add."""
        top, bottom = self._rows.parts[row]
        if self._partial is not None:
            shared = self._partial_from + len(self._partial) - top
            band[:shared] += self._partial
        last = row + 1 == len(self._rows.parts)
        ready = bottom if last else self._rows.parts[row + 1][0]
        self.result[top:ready] = as_pixels(band[: ready - top], self.result.dtype)
        self._partial, self._partial_from = band[ready - top :], ready


def _filled(tile: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w, C) to (height, width, C): what is missing is reflected, as often as need be."""
    h, w, _ = tile.shape
    if (h, w) == (height, width):
        return tile
    return np.pad(tile, ((0, height - h), (0, width - w), (0, 0)), mode="symmetric")


def denoise_any(
    images: np.ndarray,
    shape: ModelShape,
    denoise: Denoise,
    told: Callable[[float], None] = lambda done: None,
) -> np.ndarray:
    """Denoises pictures of any size with any model, one after the other.

    Args:
      images: (N, H, W, C), uint8, uint16 or floats in [0, 1]; C 1 or 3.
      shape: What the model takes.
      denoise: The model.
      told: Called with how much is done, 0 to 1.

    Returns:
      The same shape and dtype.
    """
    result = np.empty_like(images)
    if not result.size:
        return result
    channels, margin, size = shape[-1], 0, (images.shape[1], images.shape[2])
    if needs_margin(shape, size):
        margin = margin_seen(*map(denoise, margin_probe(channels)))
    cut = tiling(shape, size, margin)
    for index, pixels in enumerate(images):
        blend = Blend(pixels, cut, channels)
        for batch in blend.batches(_TOGETHER):
            blend.add(batch.number, denoise(batch.images))
            told((index + blend.done) / len(images))
        result[index] = blend.result
    return result
