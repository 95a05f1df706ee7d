"""Small inputs for `denoise predict`."""

from __future__ import annotations

import gzip
import pathlib

import numpy as np
from PIL import Image

from serving.predict.files import format_rows
from tests.serving.saved_models import HEIGHT, PIXELS, WIDTH

HEADER = ",".join(["label", *(f"pixel{i}" for i in range(PIXELS))]) + "\n"


def write_image(path: pathlib.Path, value: int) -> pathlib.Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HEIGHT, WIDTH), value, np.uint8)).save(path, "PNG")
    return path


def write_rows(
    path: pathlib.Path, number: int, header: str = "", labelled: bool = True
) -> np.ndarray:
    """Writes rows, and returns their pixels."""
    pixels = (3 + 7 * np.arange(number * PIXELS)).reshape(number, PIXELS) % 256
    labels = np.arange(number) % 10 if labelled else None
    content = header.encode() + format_rows(labels, pixels)
    path.write_bytes(gzip.compress(content) if path.suffix.lower() == ".gz" else content)
    return pixels


def pixels_of(path: pathlib.Path) -> set[int]:
    return set(np.array(Image.open(path)).ravel().tolist())
