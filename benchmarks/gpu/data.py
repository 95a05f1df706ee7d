"""The images of a data folder, without TFX."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from components.base.settings import Settings
from components.csv_ingestion import data_folder, examples, reader


@dataclasses.dataclass(frozen=True)
class Split:
    """Some images of a data folder."""

    images: np.ndarray
    """float32 (N, H, W, C) in [0, 1]."""
    keys: np.ndarray
    """int64 (N,)."""


def read(folder: pathlib.Path, settings: Settings) -> tuple[Split, Split, Split]:
    """Train, validation and test, with the very rows the pipeline puts in each.

    Raises:
      DataError: there is no such file, or a row is bad.
    """
    row = reader.RowFormat(settings.image.pixels, len(settings.data.classes))
    train, test = (_rows(folder / name, row) for name in ("train", "test"))
    validation = examples.is_validation(train[1], settings.data.validation_fraction)
    return (
        _split(*(values[~validation] for values in train), settings),
        _split(*(values[validation] for values in train), settings),
        _split(*test, settings),
    )


def _split(pixels: np.ndarray, keys: np.ndarray, settings: Settings) -> Split:
    from components.image.pixels import normalise

    return Split(np.array(normalise(pixels, settings.image.shape)), keys)


def _rows(folder: pathlib.Path, row: reader.RowFormat) -> tuple[np.ndarray, np.ndarray]:
    pixels, keys = [], []
    for path in data_folder.files(str(folder.parent), folder.name).csvs:
        for _, block, block_keys in examples.read_file(path, row):
            pixels.append(block)
            keys.append(block_keys)
    return np.concatenate(pixels), np.concatenate(keys)
