"""The images of a data folder, without TFX."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from concurrent import futures

import numpy as np

from components.base.settings import Settings
from components.csv_ingestion import data_folder, examples
from components.image.pixels import normalise
from components.image.reader import read_patches
from components.image_ingestion import folder as image_folder
from components.image_ingestion import patches


@dataclasses.dataclass(frozen=True)
class Split:
    """Some images of a data folder."""

    images: np.ndarray
    """float32 (N, H, W, C) in [0, 1]."""
    keys: np.ndarray
    """int64 (N,)."""


def read(folder: pathlib.Path, settings: Settings) -> tuple[Split, Split, Split]:
    """Train, validation and test, with the very rows, or patches of images, that the pipeline puts
    in each.

    Args:
      folder: A data folder of CSVs or of images, not of pairs.
      settings: Those of a run.

    Raises:
      DataError: there is no such file, or a row or an image is bad.
    """
    kind = image_folder.kind_of(image_folder.names_in(str(folder), "train"))
    fraction = settings.data.validation_fraction
    if kind == "images":
        train, test = (_patches(folder, name, settings) for name in ("train", "test"))
    else:
        train, test = (_rows(folder, name, settings) for name in ("train", "test"))
    pixels, keys, deciding = train
    validation = examples.is_validation(deciding, fraction)
    return (
        _split(pixels[~validation], keys[~validation], settings),
        _split(pixels[validation], keys[validation], settings),
        _split(*test[:2], settings),
    )


def _split(pixels: np.ndarray, keys: np.ndarray, settings: Settings) -> Split:
    return Split(np.array(normalise(pixels, settings.image.shape)), keys)


_Read = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Pixels uint8 (N, H*W*C), keys of the Examples, and those that decide on the split."""


def _rows(folder: pathlib.Path, split: str, settings: Settings) -> _Read:
    blocks = data_folder.rows(folder, split, settings.image.pixels, len(settings.data.classes))
    _, pixels, keys = (np.concatenate(each) for each in zip(*blocks, strict=True))
    return pixels, keys, keys


def _patches(folder: pathlib.Path, split: str, settings: Settings) -> _Read:
    height, width, channels = settings.image.shape
    number = settings.data.patches

    def of_file(name: str) -> _Read:
        with open(folder / split / name, "rb") as file:
            key = patches.file_key(file)
            places = functools.partial(patches.places, key, size=(height, width), number=number)
            found = read_patches(file, name, channels, (height, width), places)
        count = len(found.pixels)
        deciding = np.frombuffer(key, "<i8").repeat(count)
        return found.pixels.reshape(count, -1), patches.keys(key, count), deciding

    names = [
        image.name
        for image in image_folder.files(str(folder), "images").images
        if image.split == split
    ]
    with futures.ThreadPoolExecutor() as threads:
        read = list(threads.map(of_file, names))
    pixels, keys, deciding = (np.concatenate(each) for each in zip(*read, strict=True))
    return pixels, keys, deciding
