"""Drawn images with the statistics of photographs: what photographs at hand are few of.

Opaque shapes of all sizes that hide each other, as leaves on the ground do: the model of natural
images of Lee, Mumford, Huang (IJCV 2001), whose radii follow a power law of exponent 3. Networks
learn to denoise from them nearly as well as from photographs (Achddou, Gousseau, Ladjal: Synthetic
images as a regularity prior for image restoration neural networks, SSVM 2021). Here most shapes
have a texture too, fine gratings and tiles among them: a network that has seen these in few
photographs takes them for noise. And what is nearly smooth, as skies, walls and what is out of
focus are: without such images it paints strokes into them.
"""

from __future__ import annotations

from collections.abc import Callable

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
        rows, columns, mask = _shape(random, radius, size)
        inside = mask > 0
        shape = inside.shape
        if not inside.size:
            continue
        ink = colours[random.integers(len(colours))].astype(np.float32)
        if radius > 8 and random.uniform() < textured:
            other = colours[random.integers(len(colours))].astype(np.float32)
            mixed = _texture(random, shape)[..., None]
            canvas[rows, columns][inside] = (ink + (other - ink) * mixed)[inside]
        else:
            canvas[rows, columns][inside] = ink
    return _image(_averaged(canvas))


def smooth_leaves(side: int, colours: np.ndarray, seed: int) -> np.ndarray:
    """Draws an image with little in it.

    Few shapes, shaded and some with soft borders, whose colours may differ by next to nothing;
    now and then a wall of bricks over them, in perspective; thin lines. A third of the images is
    out of focus, a third has a little grain.

    Args and returns as of `dead_leaves`.
    """
    from PIL import Image, ImageFilter

    random = np.random.default_rng(seed)
    size = side * _OVERSAMPLED
    contrast = 2.0 ** random.uniform(-3.5, 0)
    ground = colours[random.integers(len(colours))].astype(np.float32)

    def ink() -> np.ndarray:
        other = colours[random.integers(len(colours))].astype(np.float32)
        return ground + (other - ground) * contrast

    canvas = _shaded(random, (size, size), ink)
    radii = 2.0 ** random.uniform(4, 8.5, random.integers(25))
    for radius in sorted(radii.tolist(), reverse=True):
        blur = radius * random.uniform(0.02, 0.25) if random.uniform() < 0.4 else 0.0
        rows, columns, mask = _shape(random, radius, size, blur)
        if not mask.size:
            continue
        filled = _shaded(random, mask.shape, ink)
        if random.uniform() < 0.3:
            filled += (ink() - filled) * _texture(random, mask.shape)[..., None]
        canvas[rows, columns] += (filled - canvas[rows, columns]) * mask[..., None]
    if random.uniform() < 0.4:
        tones, mortar = _bricks(random, size)
        canvas += tones[..., None]
        canvas += (ink() - canvas) * mortar[..., None]
    for _ in range(random.integers(12)):
        canvas += (ink() - canvas) * _line(random, size)[..., None]

    image = _averaged(canvas)
    if random.uniform() < 0.3:
        focus = ImageFilter.GaussianBlur(random.uniform(0.5, 3.0))
        image = np.asarray(Image.fromarray(_image(image)).filter(focus), np.float32)
    if random.uniform() < 0.3:
        image = image + random.normal(0, random.uniform(0.5, 3.0), (side, side, 1))
    return _image(image)


def _averaged(canvas: np.ndarray) -> np.ndarray:
    """float32 (H, W, 3): pixels of what was drawn larger."""
    height, width = (length // _OVERSAMPLED for length in canvas.shape[:2])
    return canvas.reshape(height, _OVERSAMPLED, width, _OVERSAMPLED, 3).mean((1, 3))


def _image(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 255)).astype(np.uint8)


def _shape(
    random: np.random.Generator, radius: float, size: int, blur: float = 0.0
) -> tuple[slice, slice, np.ndarray]:
    """A shape somewhere on a square drawing, or beside it.

    Returns:
      The rows and columns of the drawing that it may cover, and how much it covers of each pixel
      of these: float32 in [0, 1].
    """
    from PIL import Image, ImageDraw, ImageFilter

    top, left = (random.uniform(-radius, size + radius, 2) - radius).astype(int)
    reach = int(2 * radius) + 1
    rows = slice(max(top, 0), min(top + reach, size))
    columns = slice(max(left, 0), min(left + reach, size))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return rows, columns, np.empty((0, 0), np.float32)
    # So much smaller that a soft border ends within the square.
    margin = min(2.5 * blur, 0.8 * radius)
    corners = [
        (x * (1 - margin / radius) + margin, y * (1 - margin / radius) + margin)
        for x, y in _outline(random, radius)
    ]
    mask = Image.new("L", (reach, reach))
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    if blur:
        mask = mask.filter(ImageFilter.GaussianBlur(blur))
    part = np.asarray(mask, np.float32)[
        rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
    ]
    return rows, columns, part / 255


def _shaded(
    random: np.random.Generator, shape: tuple[int, ...], ink: Callable[[], np.ndarray]
) -> np.ndarray:
    """float32 (H, W, 3): from one colour to another, in a random direction."""
    rows, columns = np.indices(shape, np.float32)
    turned = random.uniform(0, 2 * np.pi)
    along = rows * np.sin(turned) + columns * np.cos(turned)
    along = (along - along.min()) / (np.ptp(along) + 1)
    one, other = ink(), ink()
    return one + (other - one) * along[..., None]


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


def _texture(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """float32 (H, W): how much of a second colour there is, -.5 to 1.5."""
    rows, columns = np.indices(shape, np.float32)
    strength = random.uniform(0.05, 1.0)
    along, across = _turned(rows, columns, random.uniform(0, np.pi))
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


def _turned(rows: np.ndarray, columns: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along axes that are turned."""
    return (
        rows * np.cos(angle) + columns * np.sin(angle),
        columns * np.cos(angle) - rows * np.sin(angle),
    )


def _bricks(random: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A wall in rough perspective, float32 (H, W) each: how much brighter a brick is than the
    others, in grey levels of 255, and how much of the mortar there is, 0 to 1."""
    rows, columns = np.indices((size, size), np.float32) - size / 2
    turned = random.uniform(0, np.pi)
    nearer = 1 + (random.uniform(-0.4, 0.4) * rows + random.uniform(-0.4, 0.4) * columns) / size
    up, along = (axis / nearer for axis in _turned(rows, columns, turned))

    height = 2.0 ** random.uniform(4, 7)
    width = height * random.uniform(1, 4)
    gap = random.uniform(2, max(3, height / 4))
    course = np.floor(up / height)
    bond = 0.5 if random.uniform() < 0.5 else random.uniform()
    along = along + course * width * bond
    brick = np.floor(along / width)
    tones = random.normal(0, random.uniform(0, 8), 997).astype(np.float32)
    # Neighbours differ, and no place does for itself.
    tone = tones[(course * 7919 + brick * 104729).astype(int) % len(tones)]
    mortar = (up - course * height < gap) | (along - brick * width < gap)
    return tone, mortar * np.float32(random.uniform(0.4, 1))


def _line(random: np.random.Generator, size: int) -> np.ndarray:
    """float32 (H, W): how much of each pixel a thin straight line covers."""
    from PIL import Image, ImageDraw

    ends = random.uniform(0, size, 4).tolist()
    mask = Image.new("L", (size, size))
    ImageDraw.Draw(mask).line(ends, fill=255, width=int(random.integers(2, 9)))
    return np.asarray(mask, np.float32) / 255
