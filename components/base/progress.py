"""How a step says how far it is: a log record on `denoise.progress`, which a runner may show."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("denoise.progress")


def report(step: str, done: int, total: int | None, message: str = "") -> None:
    """Says that `done` of `total` units of `step` are finished; None: nobody knows of how many.

    The record carries `step`, `done` and `total` as attributes. Without a handler that
    lets INFO through, nothing is shown.
    """
    LOGGER.info(
        message or f"{step}: {done}/{total}", extra={"step": step, "done": done, "total": total}
    )
