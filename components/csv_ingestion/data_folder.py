"""The layout of a data folder.

It holds `train/*.csv[.gz]` and `test/*.csv[.gz]`, or such folders as spans:
`span-1/train/*.csv`, `span-1/test/*.csv`, `span-2/...`, of which the pipeline takes the latest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from components.base import object_store
from components.base.errors import DataError
from components.base.files import check_file, shown

if TYPE_CHECKING:
    import numpy as np

_SPLITS = ("train", "test")
_LARGEST_SPAN = 2**63 - 1
_SPAN = re.compile(r"span-(\d+)")
_SUFFIXES = (".csv", ".csv.gz")
_LAYOUT = (
    "train/*.csv[.gz] and test/*.csv[.gz], or images below train/ and test/, or span-N folders "
    "that do"
)


@dataclasses.dataclass(frozen=True)
class Files:
    """What lies in the folder of a split."""

    csvs: tuple[str, ...]
    """Paths, in order."""
    ignored: Mapping[str, str]
    """Why each other one is not taken, by its path under the data folder."""


def files(folder: str, split: str) -> Files:
    """Lists the folder of a split, in a file system that TFX knows.

    `.csv` and `.csv.gz` are taken, in upper or lower case; hidden files are not, such as the
    `._a.csv` that macOS leaves beside a.csv.

    Args:
      folder: The data folder, or one of its spans.
      split: `train` or `test`.

    Raises:
      DataError: there is none to take; or a name is not UTF-8, or what is named as a CSV is no
        file. Names it.
    """
    place = os.path.join(folder, split)
    csvs: list[str] = []
    ignored: dict[str, str] = {}
    for name in _names(place):
        path = os.path.join(place, name)
        try:
            name.encode()
        except UnicodeEncodeError:
            raise DataError(
                f"{shown(path)}: its name is not UTF-8, which TFX needs. Rename it."
            ) from None
        reason = _not_taken(name)
        if reason:
            ignored[f"{split}/{name}"] = reason
            continue
        if not _is_uri(place):
            check_file(path)
        csvs.append(path)
    if not csvs:
        others = "".join(f"\n  {shown(name)}: {reason}" for name, reason in ignored.items())
        raise DataError(
            f"{shown(folder)} has no {split}/*.csv or {split}/*.csv.gz. A data folder holds "
            f"{_LAYOUT}." + (f" Not taken:{others}" if others else "")
        )
    return Files(tuple(csvs), ignored)


def _not_taken(name: str) -> str | None:
    """Why a file with this name is no CSV of a data folder."""
    if name.startswith("."):
        return "hidden"
    return None if name.lower().endswith(_SUFFIXES) else "not named .csv or .csv.gz"


def is_csv(name: str) -> bool:
    """Whether a file of a split is taken for a CSV, by its path under the split's folder."""
    return "/" not in name and _not_taken(name) is None


def _is_uri(path: str) -> bool:
    return "://" in path


def _names(folder: str) -> list[str]:
    if not _is_uri(folder):
        try:
            return sorted(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise DataError(f"{shown(folder)} cannot be listed: {error.strerror}.") from error
    from tfx.dsl.io import fileio

    return sorted(name.rstrip("/") for name in fileio.listdir(folder))


def check_folder(path: pathlib.Path | str) -> None:
    """Looks whether a local folder is a data folder, without reading its files.

    Raises:
      DataError: says what is missing, or which file cannot be one.
    """
    folder = pathlib.Path(path)
    try:
        str(folder.absolute()).encode()
    except UnicodeEncodeError:
        raise DataError(
            f"{shown(folder.absolute())}: a path that is not UTF-8, which TFX needs. Rename it, or "
            "give a link to it."
        ) from None
    if not folder.is_dir():
        raise DataError(f"{shown(folder)} is not a folder. A data folder holds {_LAYOUT}.")
    for split in _SPLITS:
        files(str(latest_span(folder)), split)


def ignored(path: pathlib.Path | str) -> dict[str, str]:
    """Why files of a local data folder, or of its latest span, are not taken, by their path."""
    folder = str(latest_span(path))
    return {name: why for split in _SPLITS for name, why in files(folder, split).ignored.items()}


def has_spans(path: pathlib.Path | str) -> bool:
    """Whether a data folder holds `span-N` folders rather than `train` and `test`."""
    return bool(newest_span(_folders(path)))


def latest_span(path: pathlib.Path | str) -> pathlib.Path:
    """The `span-N` folder with the highest N, or the data folder itself without spans."""
    return pathlib.Path(path) / newest_span(_folders(path))


def _folders(path: pathlib.Path | str) -> list[str]:
    return [child.name for child in pathlib.Path(path).iterdir() if child.is_dir()]


def newest_span(folders: Iterable[str]) -> str:
    """The name `span-N` with the highest N, or an empty string without spans.

    Args:
      folders: Names of the folders in a data folder.

    Raises:
      DataError: two have the same N, or one is too large.
    """
    names = set(folders)
    if names & set(_SPLITS):
        return ""
    spans = sorted((number, name) for name in names if (number := span_number(name)) is not None)
    if spans and spans[-1][0] > _LARGEST_SPAN:
        raise DataError(
            f"{spans[-1][1]}: its number is larger than {_LARGEST_SPAN}, the largest that MLMD "
            "holds. Rename it."
        )
    if len(spans) > 1 and spans[-1][0] == spans[-2][0]:
        raise DataError(f"{spans[-2][1]} and {spans[-1][1]} have the same number. Rename one.")
    return spans[-1][1] if spans else ""


def span_number(folder: str) -> int | None:
    """N of a folder that is named `span-N`, with zeros in front or without; of others, None."""
    match = _SPAN.fullmatch(os.path.basename(folder.rstrip("/")))
    return int(match[1]) if match else None


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
    from components.csv_ingestion import examples, reader

    row = reader.RowFormat(pixels, classes)
    for file in files(str(latest_span(path)), split).csvs:
        yield from examples.read_file(file, row)


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
    span = newest_span(name.partition("/")[0] for name in names)
    folder = f"{location}/{span}".rstrip("/")
    for split in _SPLITS:
        place = f"{span}/{split}".lstrip("/")
        found = [name.rpartition("/") for name in names]
        if not any(above == place and not _not_taken(name) for above, _, name in found):
            raise DataError(
                f"{folder} has no {split}/*.csv or {split}/*.csv.gz. A data folder holds {_LAYOUT}."
            )
    return folder


def version(parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """A fingerprint of the files that ingestion will read, names, sizes and times, and of the names
    of the others.

    Args:
      parameters: Ingestion's: `input_base` is the data folder, a local path or a URI.
      inputs: Not used: it has none.

    Raises:
      DataError: there is no data folder.
    """
    folder = to_take(parameters["input_base"])
    if object_store.is_remote(folder):
        return object_store.fingerprint(folder)
    digest = hashlib.sha256(folder.encode())
    for split in _SPLITS:
        found = files(folder, split)
        for path in found.csvs:
            status = os.stat(path)
            digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
        for name in found.ignored:
            digest.update(f"{name}\n".encode())
    return digest.hexdigest()
