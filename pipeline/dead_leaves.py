"""Drawn images with the statistics of photographs: what photographs at hand are few of.

Opaque shapes of all sizes that hide each other, as leaves on the ground do: the model of natural
images of Lee, Mumford, Huang (IJCV 2001), whose radii follow a power law of exponent 3. Networks
learn to denoise from them nearly as well as from photographs (Achddou, Gousseau, Ladjal: Synthetic
images as a regularity prior for image restoration neural networks, SSVM 2021). Here most shapes
have a texture too, fine gratings and tiles among them: a network that has seen these in few
photographs takes them for noise.
"""

from __future__ import annotations

import numpy as np

_OVERSAMPLED = 2
"""Drawn so many times larger, and averaged: edges as a lens and a sensor leave them."""
_LEAST_RADIUS, _LARGEST_RADIUS = 3.0, 250.0
"""Of a shape, in pixels of the drawing."""
_COVERED = 3.0
"""The area of all shapes is so many times that of the drawing: little of the ground is left."""


def dead_leaves(side: int, colours: np.ndarray, seed: int) -> np.ndarray:
    """Draws an image.

    Args:
      side: Of the image, in pixels.
      colours: uint8 (N, 3), such as the pixels of photographs: what shapes are coloured with.
      seed: The same one gives the same image.

    Returns:
      uint8 (side, side, 3).
    """
    from PIL import Image, ImageDraw

    random = np.random.default_rng(seed)
    size = side * _OVERSAMPLED
    canvas = np.empty((size, size, 3), np.float32)
    canvas[:] = colours[random.integers(len(colours))]
    # So that neither every image has shapes of all sizes, nor every one the finest textures.
    least = _LEAST_RADIUS * 2.0 ** random.uniform(0, 4)
    textured = random.uniform(0.2, 0.9)
    covered = 0.0
    while covered < _COVERED * size * size:
        radius = _radius(random, least)
        covered += 2 * radius * radius
        top, left = (random.uniform(-radius, size + radius, 2) - radius).astype(int)
        reach = int(2 * radius) + 1
        rows = slice(max(top, 0), min(top + reach, size))
        columns = slice(max(left, 0), min(left + reach, size))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        mask = Image.new("L", (reach, reach))
        ImageDraw.Draw(mask).polygon(_outline(random, radius), fill=1)
        inside = np.asarray(mask, bool)[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        ink = colours[random.integers(len(colours))].astype(np.float32)
        if radius > 8 and random.uniform() < textured:
            other = colours[random.integers(len(colours))].astype(np.float32)
            mixed = _texture(random, shape)[..., None]
            canvas[rows, columns][inside] = (ink + (other - ink) * mixed)[inside]
        else:
            canvas[rows, columns][inside] = ink
    blocks = canvas.reshape(side, _OVERSAMPLED, side, _OVERSAMPLED, 3)
    return np.rint(np.clip(blocks.mean((1, 3)), 0, 255)).astype(np.uint8)


def _radius(random: np.random.Generator, least: float) -> float:
    """A radius whose density falls with its third power."""
    low, high = least**-2, _LARGEST_RADIUS**-2
    return float((low + (high - low) * random.uniform()) ** -0.5)


def _outline(random: np.random.Generator, radius: float) -> list[tuple[float, float]]:
    """The corners of an ellipse, a rectangle or another polygon, in a square of 2 `radius`."""
    corners = int(random.choice([3, 4, 5, 32], p=[0.1, 0.3, 0.2, 0.4]))
    angles = random.uniform(0, 2 * np.pi) + np.arange(corners) * (2 * np.pi / corners)
    if corners in (3, 5):
        angles = np.sort(random.uniform(0, 2 * np.pi, corners))
    turned, slim = random.uniform(0, np.pi), random.uniform(0.15, 1.0)
    along, across = np.cos(angles), slim * np.sin(angles)
    x = radius * (1 + along * np.cos(turned) - across * np.sin(turned))
    y = radius * (1 + along * np.sin(turned) + across * np.cos(turned))
    return list(zip(x.tolist(), y.tolist(), strict=True))


def _texture(random: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """float32 (H, W): how much of a second colour there is, -.5 to 1.5."""
    rows, columns = np.indices(shape, np.float32)
    strength = random.uniform(0.05, 1.0)
    turned = random.uniform(0, np.pi)
    along = rows * np.cos(turned) + columns * np.sin(turned)
    across = columns * np.cos(turned) - rows * np.sin(turned)
    # In pixels of the drawing; the finest are two pixels of the image.
    period = 2.0 * _OVERSAMPLED * 2.0 ** random.uniform(0, 4)
    kind = random.choice(["grating", "tiles", "gradient", "grain"], p=[0.35, 0.25, 0.15, 0.25])
    if kind == "grating":
        # Bent, as on cloth.
        bent = along + random.uniform(0, period) * np.sin(across / (4 * period))
        wave = np.sin(bent * (2 * np.pi / period))
        sharp = random.uniform(1, 8)
        values = np.clip(wave * sharp, -1, 1)
    elif kind == "tiles":
        # One drawn tile, again and again.
        cells = int(random.integers(3, 9))
        tile = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
        step = period / 2
        values = tile[(along // step).astype(int) % cells, (across // step).astype(int) % cells]
    elif kind == "gradient":
        values = along / (np.abs(along).max() + 1) * 2 - 1
    else:
        # Independent from grain to grain, grains of some pixels.
        grain = max(int(period / 2), 1)
        coarse = random.normal(0, 0.5, (shape[0] // grain + 1, shape[1] // grain + 1))
        values = coarse.repeat(grain, 0).repeat(grain, 1)[: shape[0], : shape[1]]
    return (0.5 + 0.5 * strength * np.clip(values, -2, 2)).astype(np.float32)
