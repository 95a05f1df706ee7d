"""What the report leaves, and what it says of a run as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic

REPORT_FILE = "report.html"
"""In the report: the page. It needs no network and no other file."""
CONTENTS_FILE = "report.json"
"""In the report: `contents.Contents`, for machines."""
FIGURES_FOLDER = "figures"
"""In the report: each figure of the page as a PNG."""
BEFORE_AFTER_FILE = "before_after.png"
"""In FIGURES_FOLDER: a typical image of each class, clean, noisy and denoised."""


class StepTime(pydantic.BaseModel):
    """One step of a run, as its runner saw it."""

    name: str
    state: str
    """done, cached or failed."""
    seconds: float


def outcome(pushed_version: str | None, misses: Sequence[object]) -> str:
    """What became of a model that was evaluated and checked.

    Args:
      pushed_version: The version it was pushed as; None: it was not pushed.
      misses: The thresholds it did not keep.

    Returns:
      pushed; not blessed; not servable.
    """
    if pushed_version is not None:
        return "pushed"
    return "not blessed" if misses else "not servable"
