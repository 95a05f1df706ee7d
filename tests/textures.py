"""A seeded generator of smooth textures of any size, written as the image files people have."""

from __future__ import annotations

import pathlib

import numpy as np
import PIL.Image


def texture(seed: int, height: int, width: int, channels: int = 3) -> np.ndarray:
    """uint8 (height, width, channels): some waves and edges, no two seeds the same."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float32) / 32
    image = np.zeros((height, width, channels), np.float32)
    for _ in range(4):
        across, down, phase = random.uniform(-3, 3, 3)
        image += np.sin(across * x + down * y + phase)[..., None] * random.uniform(0.3, 1, channels)
    top, left = random.integers(0, height // 2 + 1), random.integers(0, width // 2 + 1)
    image[top : top + height // 3, left : left + width // 3] += 1.5
    image = (image - image.min()) / np.ptp(image)
    return np.rint(255 * image).astype(np.uint8)


def write(path: pathlib.Path, pixels: np.ndarray) -> pathlib.Path:
    """Writes uint8 (H, W, 1 or 3) as the format that the name says; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0]).save(path)
    return path


def write_folder(
    folder: pathlib.Path, *, train: int = 6, test: int = 2, size: tuple[int, int] = (40, 50)
) -> pathlib.Path:
    """Writes `folder`/train/*.png and `folder`/test/*.png, all different; returns `folder`."""
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            seed = number if split == "train" else 1000 + number
            write(folder / split / f"{number:02d}.png", texture(seed, *size))
    return folder
