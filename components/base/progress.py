"""A step's progress: a log record on `denoise.progress`, which a runner may show."""

from __future__ import annotations

import logging

LOGGER = logging.getLogger("denoise.progress")


def tell(step: str, done: int, total: int | None, message: str = "") -> None:
    """Says that `done` of `total` units of `step` are finished; `total` is None if unknown.

    The record carries `step`, `done` and `total` as attributes. Without a handler that
    lets INFO through, nothing is shown.
    """
    of = "" if total is None else f"/{total}"
    LOGGER.info(
        message or f"{step}: {done}{of}", extra={"step": step, "done": done, "total": total}
    )
