"""The versions in a serving folder: which there are, and which one a step takes."""

from __future__ import annotations

import filecmp
import os
import pathlib
import re
import shutil
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from components.base import object_store
from components.base.errors import ModelError
from components.csv_ingestion.result import read_summary
from components.training import start as training_start

NONE = training_start.NONE
RESOLVE = ""
_COMPLETE = "saved_model.pb"
_EXTRA = "assets.extra"
LARGEST = 2**63 - 1
"""The largest number of a version: TF Serving's are int64."""
_NUMBER = re.compile(r"[ \t\n\v\f\r]*[-+]?[0-9]+[ \t\n\v\f\r]*")
_LONGEST_NAME = 255
"""Bytes, of a file system's names; Python refuses to read numbers of thousands of digits."""


class Version(NamedTuple):
    """A version in a serving folder."""

    number: int
    name: str
    """Its folder's, which need not be its number in decimal: `00000123` is version 123."""


def number_of(name: str) -> int | None:
    """The version that a folder of this name holds for TF Serving; None: it is no version.

    absl::SimpleAtoi<int64>, which TF Serving reads names with (ParseVersionNumber in
    tensorflow_serving/sources/storage_path/file_system_storage_path_source.cc): leading zeros, a
    sign and ASCII white space around are taken, and what does not fit an int64 is not.
    """
    if not _NUMBER.fullmatch(name) or len(name) > _LONGEST_NAME:
        return None
    number = int(name)
    return number if -(2**63) <= number <= LARGEST else None


def named(names: Iterable[str]) -> list[Version]:
    """The versions among the names in a serving folder, oldest first.

    Of two names of one number, such as `1` and `01`, the last in order of bytes counts, as for
    TF Serving.
    """
    by_number: dict[int, str] = {}
    for name in sorted(names, key=os.fsencode):
        number = number_of(name)
        if number is not None:
            by_number[number] = name
    return [Version(*pair) for pair in sorted(by_number.items())]


def folders(serving: pathlib.Path) -> list[Version]:
    """The versions in a local serving folder, complete or not, oldest first.

    Raises:
      OSError: it cannot be read.
    """
    return named(child.name for child in serving.iterdir() if child.is_dir())


def versions(serving: pathlib.Path | str) -> list[Version]:
    """The complete versions in a serving folder, a local path or a URI, oldest first."""
    if object_store.is_remote(str(serving)):
        files = [file.split("/") for file in object_store.files(str(serving))]
        complete = {parts[0] for parts in files if parts[1:] == [_COMPLETE]}
        return [version for version in named({p[0] for p in files}) if version.name in complete]
    local = pathlib.Path(serving)
    if not local.is_dir():
        return []
    return [version for version in folders(local) if (local / version.name / _COMPLETE).is_file()]


def pushed_model(serving: pathlib.Path) -> pathlib.Path:
    """The newest pushed SavedModel of a local serving folder.

    Raises:
      ModelError: none was pushed.
    """
    pushed = versions(serving)
    if not pushed:
        raise ModelError(
            f"{serving}: no model was pushed. Call `denoise run`, or give --model DIR."
        )
    return serving / pushed[-1].name


def same_model(one: pathlib.Path, other: pathlib.Path) -> bool:
    """True if two SavedModel folders hold the same graph and weights."""
    files = sorted(
        str(file.relative_to(one))
        for file in one.rglob("*")
        if file.is_file() and file.relative_to(one).parts[0] != _EXTRA
    )
    _, mismatch, errors = filecmp.cmpfiles(one, other, files, shallow=False)
    return not mismatch and not errors


def latest(serving: str, candidate: str | None) -> str:
    """Name of the newest pushed version that is not the candidate itself, or NONE.

    Args:
      serving: The serving folder, `.../denoiser`, a local path or a URI.
      candidate: SavedModel folder of the model to compare with; None: nothing is left out.
    """
    for version in reversed(versions(serving)):
        if candidate is None:
            return version.name
        with object_store.local_copy(f"{serving}/{version.name}") as folder:
            if not same_model(pathlib.Path(candidate), folder):
                return version.name
    return NONE


def start_version(serving: str, data: str) -> str:
    """Name of the pushed version to start a training from, or NONE.

    The newest; but if that was trained from a warm start on the very same rows, then what it
    started from itself: running again on the same data is the same training, and no further one.

    Args:
      serving: The serving folder, a local path or a URI.
      data: Fingerprint of the rows to train on.
    """
    pushed = versions(serving)
    if not pushed:
        return NONE
    newest = pushed[-1].name
    with object_store.local_copy(f"{serving}/{newest}/{_EXTRA}") as folder:
        start = training_start.read(folder)
    return start.version if start is not None and start.data == data else newest


def copy(serving: str, version: str, folder: str) -> None:
    """Copies a pushed version to a local folder."""
    with object_store.local_copy(f"{serving}/{version}") as pushed:
        shutil.copytree(pushed, folder, dirs_exist_ok=True)


def baseline(parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The version PushedModel takes, or NONE.

    Args:
      parameters: The step's.
      inputs: The folder of each input artifact.
    """
    from tfx.utils import path_utils

    return latest(parameters["serving"], path_utils.serving_model_path(inputs["candidate"]))


def start(parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """The version WarmStart takes, or NONE. Arguments as for `baseline`."""
    return start_version(parameters["serving"], read_summary(inputs["examples"]).fingerprint)
