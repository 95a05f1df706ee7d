"""What a step that takes long keeps of its work, for the next run to go on from if it is killed.

It lies beside the step's outputs, in `<step>/resume/<fingerprint>`, where the fingerprint stands
for all that decides the outcome. Done is not over: until the outputs are published a kill loses
them, so what is kept is only marked when the work is done, and removed by `forget`.
"""

from __future__ import annotations

import json
import pathlib
import shutil
from typing import Any

from components.base.files import write_json

_FOLDER = "resume"
_DONE = "done"


def place(step_folder: pathlib.Path, fingerprint: str) -> pathlib.Path:
    """The folder for what is kept of one piece of work; not made yet."""
    return step_folder / _FOLDER / fingerprint


def done(kept: pathlib.Path, noted: Any = None) -> None:
    """Marks that the work is done whose `place` this is, with what is to be known of it."""
    write_json(kept / _DONE, noted)


def noted(kept: pathlib.Path) -> Any:
    """What `done` was given; None: the work is not done."""
    try:
        return json.loads((kept / _DONE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None


def begin_anew(kept: pathlib.Path) -> None:
    """Takes the mark away."""
    (kept / _DONE).unlink(missing_ok=True)


def forget(step_folder: pathlib.Path, but: str | None = None) -> None:
    """Removes what was kept of work that is done.

    Args:
      step_folder: Of one step, whose outputs are published.
      but: The fingerprint of work that is about to go on: it may have been killed since.
    """
    for mark in (step_folder / _FOLDER).glob(f"*/{_DONE}"):
        if mark.parent.name != but:
            shutil.rmtree(mark.parent)
