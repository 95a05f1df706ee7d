"""Which files `denoise predict` reads, and which it may write."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np

from components.base.errors import UsageError
from components.base.files import refuse_inputs, refuse_others, shown, write_json
from components.image.reader import SUFFIXES
from serving.predict.denoisers import NotDenoisedError

CSV_SUFFIXES = (".csv", ".csv.gz")
RECORD = ".denoise-predict.json"
"""In an output folder: what this command wrote there, and so may write again."""

DOT_FILE = "its name begins with a dot"

_EXPECTED = f"{', '.join(sorted(SUFFIXES))}, .csv or .csv.gz"


@dataclasses.dataclass(frozen=True)
class Passed:
    """A file that was not denoised."""

    path: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Inputs:
    """The files to denoise."""

    images: tuple[pathlib.Path, ...]
    csvs: tuple[pathlib.Path, ...]
    folders: tuple[pathlib.Path, ...]
    """The folders that were named."""
    ignored: tuple[Passed, ...]
    """What lies in them and is not taken."""

    @property
    def files(self) -> tuple[pathlib.Path, ...]:
        """Images, then CSVs."""
        return self.images + self.csvs


def find_inputs(inputs: Sequence[pathlib.Path]) -> Inputs:
    """The images and the CSVs that are named, or lie in the folders that are.

    Names are compared without regard to case. In a folder, dot files are passed over: macOS
    leaves a `._photo.png` that is no image beside each photo.png.

    Returns:
      The files in the order given and by name within a folder.

    Raises:
      UsageError: an input does not exist or is neither, or there is none.
    """
    images: list[pathlib.Path] = []
    csvs: list[pathlib.Path] = []
    ignored: list[Passed] = []
    for path in inputs:
        if not path.exists():
            raise UsageError(f"{shown(path)}: there is no such file or folder.")
        in_folder = path.is_dir()
        for file in sorted(path.iterdir()) if in_folder else [path]:
            name = file.name.lower()
            if in_folder and name.startswith("."):
                ignored.append(Passed(str(file), DOT_FILE))
            elif in_folder and file.is_dir():
                ignored.append(Passed(str(file), "a folder within the folder"))
            elif file.suffix.lower() in SUFFIXES:
                images.append(file)
            elif name.endswith(CSV_SUFFIXES):
                csvs.append(file)
            elif in_folder:
                ignored.append(Passed(str(file), f"its name does not end in {_EXPECTED}"))
            else:
                raise UsageError(f"{shown(file)}: expected {_EXPECTED}, or a folder.")
    if not images and not csvs:
        raise UsageError(f"{', '.join(map(shown, inputs))}: no {_EXPECTED} in there.")
    folders = tuple(path for path in inputs if path.is_dir())
    return Inputs(tuple(dict.fromkeys(images)), tuple(dict.fromkeys(csvs)), folders, tuple(ignored))


Path = TypeVar("Path", bound=pathlib.PurePath)


def output_names(paths: Iterable[Path], reserved: Iterable[str]) -> dict[Path, str]:
    """Names for the outputs, told apart by a number where two inputs have the same."""
    names: dict[Path, str] = {}
    taken = set(reserved)
    for path in paths:
        name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
        stem = name.rpartition(".")[0] or name
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name)
        names[path] = name
    return names


Written = tuple[int, float]
"""(size in bytes, time of the last change in seconds since 1970) of a file."""


@contextlib.contextmanager
def claimed(
    folder: pathlib.Path,
    planned: Sequence[str],
    inputs: Iterable[pathlib.Path],
    overwrite: bool,
) -> Iterator[None]:
    """Holds names in an output folder, after making sure that nothing of others is lost.

    What this command wrote is remembered in the folder (`RECORD`), so that it can be repeated:
    names before they are written, so that an interrupted call can be, too; when it has ended,
    sizes and times, so that a file which somebody changed is theirs.

    Args:
      folder: Made if need be.
      planned: Names, relative to the folder, that may be written until the block ends.
      inputs: Files and folders that are read.
      overwrite: Whether files of others may be replaced.

    Raises:
      UsageError: the folder or a file in it is an input, cannot be made, or exists and was not
        made by this command.
    """
    refuse_inputs([folder, *(folder / name for name in planned)], inputs)
    record = _read_record(folder)

    def ours(path: str | os.PathLike[str]) -> bool:
        name = os.path.relpath(path, folder)
        return name in record and record[name] in (None, _state(path))

    refuse_others((folder / name for name in planned), ours, overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _write_record(folder, record | dict.fromkeys(planned))
    except OSError as error:
        raise UsageError(f"-o {shown(folder)}: cannot be written to: {error}") from error
    before = {name: _state(folder / name) for name in planned}
    try:
        yield
    finally:
        # What was not written is as it was: a file that appears there later is somebody's.
        after = {name: _state(folder / name) for name in planned}
        written = {name: state for name, state in after.items() if state and state != before[name]}
        kept = {name: state for name, state in record.items() if after.get(name, state)}
        _write_record(folder, kept | written)


def _read_record(folder: pathlib.Path) -> dict[str, Written | None]:
    try:
        files = json.loads((folder / RECORD).read_bytes())["files"]
        return {name: tuple(state) if state else None for name, state in files.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return {}


def _write_record(folder: pathlib.Path, files: Mapping[str, Written | None]) -> None:
    write_json(folder / RECORD, {"files": files})


def _state(path: str | os.PathLike[str]) -> Written | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size, status.st_mtime


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Names the file that cannot be written.

    Raises:
      NotDenoisedError: the disk is full, or the folder is read-only.
    """
    try:
        yield
    except OSError as error:
        raise NotDenoisedError(f"{shown(path)}: cannot be written: {error.strerror}") from error


def format_rows(labels: np.ndarray | None, pixels: np.ndarray) -> bytes:
    """CSV lines.

    Args:
      labels: int64 (N,), or None for rows without.
      pixels: uint8 (N, P).
    """
    table = pixels if labels is None else np.column_stack([labels, pixels])
    return b"".join(b",".join(b"%d" % value for value in row) + b"\n" for row in table.tolist())
