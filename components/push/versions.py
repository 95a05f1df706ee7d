"""The versions in a serving folder: which there are, and which one a step takes."""

from __future__ import annotations

import filecmp
import pathlib

from components.base import object_store
from components.training import start as training_start

NONE = training_start.NONE
RESOLVE = ""
_COMPLETE = "saved_model.pb"
_EXTRA = "assets.extra"


def versions(serving: pathlib.Path | str) -> list[int]:
    """The complete versions in a serving folder, a local path or a URI, oldest first."""
    if object_store.is_remote(str(serving)):
        files = object_store.files(str(serving))
    else:
        folder = pathlib.Path(serving)
        files = [file.relative_to(folder).as_posix() for file in folder.glob(f"*/{_COMPLETE}")]
    folders = [file.partition("/") for file in files]
    return sorted(int(name) for name, _, file in folders if name.isdigit() and file == _COMPLETE)


def same_model(one: pathlib.Path, other: pathlib.Path) -> bool:
    """Whether two SavedModel folders hold the same graph and weights."""
    files = sorted(
        str(file.relative_to(one))
        for file in one.rglob("*")
        if file.is_file() and file.relative_to(one).parts[0] != _EXTRA
    )
    _, mismatch, errors = filecmp.cmpfiles(one, other, files, shallow=False)
    return not mismatch and not errors


def latest(serving: str, candidate: str | None) -> str:
    """The newest pushed version that is not the candidate itself, or NONE.

    Args:
      serving: The serving folder, `.../denoiser`, a local path or a URI.
      candidate: SavedModel folder of the model to compare with; None: nothing is left out.
    """
    for version in reversed(versions(serving)):
        if candidate is None:
            return str(version)
        with object_store.local_copy(f"{serving}/{version}") as folder:
            if not same_model(pathlib.Path(candidate), folder):
                return str(version)
    return NONE


def start_version(serving: str, data: str) -> str:
    """The pushed version to start a training from, or NONE.

    The newest; but if that was trained from a warm start on the very same rows, then what it
    started from itself: running again on the same data is the same training, and no further one.

    Args:
      serving: The serving folder, a local path or a URI.
      data: Fingerprint of the rows to train on.
    """
    pushed = versions(serving)
    if not pushed:
        return NONE
    newest = str(pushed[-1])
    with object_store.local_copy(f"{serving}/{newest}/{_EXTRA}") as folder:
        start = training_start.read(folder)
    return start.version if start is not None and start.data == data else newest
