"""The weights of a Keras file, whichever version of Keras wrote it."""

from __future__ import annotations

import collections
import math
import pathlib
import zipfile
from typing import TYPE_CHECKING

import h5py

if TYPE_CHECKING:
    import keras

_MEMBER = "model.weights.h5"
"""In a .keras file, which is a ZIP archive."""


def load(model: keras.Model, file: pathlib.Path) -> None:
    """Gives a model the weights of a .keras file, and reads nothing else of it.

    The configuration that such a file holds beside them may have arguments that another version of
    Keras does not know.

    Args:
      model: Of the architecture that was saved.
      file: A .keras file.

    Raises:
      ValueError: the file has weights of other shapes than the model.
      OSError, KeyError, zipfile.BadZipFile: it is no .keras file.
    """
    found = _shapes(file)
    expected = [tuple(variable.shape) for variable in model.weights]
    if collections.Counter(found) != collections.Counter(expected):
        numbers = [sum(map(math.prod, shapes)) for shapes in (found, expected)]
        raise ValueError(
            "it has {:,} weights, of another architecture than the one to be given them, which "
            "has {:,}".format(*numbers)
        )
    model.load_weights(file)


def _shapes(file: pathlib.Path) -> list[tuple[int, ...]]:
    """Of all but the states of random generators, which are integers."""
    shapes = []

    def note(_: str, found: object) -> None:
        if isinstance(found, h5py.Dataset) and found.dtype.kind == "f":
            shapes.append(tuple(found.shape))

    with (
        zipfile.ZipFile(file) as archive,
        archive.open(_MEMBER) as member,
        h5py.File(member) as weights,
    ):
        weights.visititems(note)
    return shapes
