"""The layout of a data folder.

It holds `train/*.csv[.gz]` and `test/*.csv[.gz]`, or such folders as spans:
`span-1/train/*.csv`, `span-1/test/*.csv`, `span-2/...`, of which the pipeline takes the latest.
"""

from __future__ import annotations

import fnmatch
import hashlib
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from components.base import object_store
from components.base.errors import DataError

if TYPE_CHECKING:
    import numpy as np

_SPLITS = ("train", "test")
_SPAN = re.compile(r"span-(\d+)")


def check_folder(path: pathlib.Path | str) -> None:
    """Looks whether a local folder is a data folder, without reading its files.

    Raises:
      DataError: says what is missing.
    """
    folder = pathlib.Path(path)
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. A data folder holds {_LAYOUT}.")
    folder = latest_span(folder)
    for split in _SPLITS:
        if not any(_csvs(folder, split)):
            raise DataError(
                f"{folder} has no {split}/*.csv or {split}/*.csv.gz. A data folder holds {_LAYOUT}."
            )


_LAYOUT = "train/*.csv[.gz] and test/*.csv[.gz], or span-N folders that do"


def has_spans(path: pathlib.Path | str) -> bool:
    """Whether a data folder holds `span-N` folders rather than `train` and `test`."""
    folder = pathlib.Path(path)
    return not any((folder / split).is_dir() for split in _SPLITS) and bool(_spans(folder))


def latest_span(path: pathlib.Path | str) -> pathlib.Path:
    """The `span-N` folder with the highest N, or the data folder itself without spans."""
    folder = pathlib.Path(path)
    spans = _spans(folder)
    return spans[max(spans)] if has_spans(folder) else folder


def rows(
    path: pathlib.Path | str, split: str, pixels: int, classes: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Reads a split of a local data folder, in blocks.

    Args:
      path: The data folder; of its spans, the latest is read.
      split: `train` or `test`.
      pixels: Values of an image, H*W*C.
      classes: Labels are 0 to `classes - 1`.

    Yields:
      Labels int64 (n,), pixels uint8 (n, H*W*C) and keys int64 (n,).

    Raises:
      DataError: a file is broken, or a row is bad; names it.
    """
    from components.csv_ingestion import examples, ingest, reader

    row = reader.RowFormat(pixels, classes)
    ranges, _ = ingest.plan(str(latest_span(path)), {split: f"{split}/*.csv*"}, row)
    for file in dict.fromkeys(part.path for part in ranges):
        yield from examples.read_file(file, row)


def _spans(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    matches = ((_SPAN.fullmatch(child.name), child) for child in sorted(folder.iterdir()))
    return {int(match[1]): child for match, child in matches if match and child.is_dir()}


def _csvs(folder: pathlib.Path, split: str) -> Iterator[pathlib.Path]:
    yield from (folder / split).glob("*.csv")
    yield from (folder / split).glob("*.csv.gz")


def to_take(location: str) -> str:
    """The folder that a pipeline takes from a data folder: its latest span, or itself.

    Args:
      location: A local path, or a URI of an object store.

    Returns:
      The same kind of location.

    Raises:
      DataError: there is no data folder; it names the location and what is missing.
    """
    if not object_store.is_remote(location):
        check_folder(location)
        return str(latest_span(location))
    location = location.rstrip("/")
    names = object_store.files(location)
    if not names:
        raise DataError(f"{location} holds no files. A data folder holds {_LAYOUT}.")
    span = _newest_span(names)
    folder = f"{location}/{span}".rstrip("/")
    for split in _SPLITS:
        pattern = f"{span}/{split}/*.csv".lstrip("/")
        if not any(fnmatch.filter(names, pattern + ending) for ending in ("", ".gz")):
            raise DataError(
                f"{folder} has no {split}/*.csv or {split}/*.csv.gz. A data folder holds {_LAYOUT}."
            )
    return folder


def _newest_span(names: Sequence[str]) -> str:
    """The folder `span-N` with the highest N, or an empty string without spans.

    Args:
      names: Of the files in a data folder, as paths within it.
    """
    folders = {name.partition("/")[0] for name in names}
    if folders & set(_SPLITS):
        return ""
    numbers = {folder: _SPAN.fullmatch(folder) for folder in folders}
    found = {int(match[1]): folder for folder, match in numbers.items() if match}
    return found[max(found)] if found else ""


def version(parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """A fingerprint of the files that ingestion will read: names, sizes and times.

    Args:
      parameters: Ingestion's: `input_base` is the data folder, a local path or a URI.
      inputs: Not used: it has none.

    Raises:
      DataError: there is no data folder.
    """
    folder = to_take(parameters["input_base"])
    if object_store.is_remote(folder):
        return object_store.fingerprint(folder)
    digest = hashlib.sha256()
    for file in sorted(path for path in pathlib.Path(folder).rglob("*") if path.is_file()):
        stat = file.stat()
        digest.update(f"{file} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()
