"""The files of a report, and what it says of a run as a whole."""

from __future__ import annotations

from collections.abc import Sequence

import pydantic

REPORT_FILE = "report.html"
"""The page. It needs no network and no other file."""
CONTENTS_FILE = "report.json"
"""`contents.Contents`, for machines."""
FIGURES_FOLDER = "figures"
"""Folder with each figure of the page as a PNG."""
BEFORE_AFTER_FILE = "before_after.png"
"""Picture in FIGURES_FOLDER: a typical image of each class, clean, noisy and denoised."""


class StepTime(pydantic.BaseModel):
    """One step of a run, as its runner saw it."""

    name: str
    state: str
    """done, cached or failed."""
    began: float = 0.0
    """Seconds after the first step did: they may run beside each other."""
    seconds: float

    @property
    def ended(self) -> float:
        """Seconds after the first step began."""
        return self.began + self.seconds


def outcome(pushed_version: str | None, misses: Sequence[object]) -> str:
    """The fate of a model that was evaluated and checked.

    Args:
      pushed_version: The version it was pushed as; None: it was not pushed.
      misses: The thresholds it did not keep.

    Returns:
      pushed; not blessed; not servable.
    """
    if pushed_version is not None:
        return "pushed"
    return "not blessed" if misses else "not servable"
