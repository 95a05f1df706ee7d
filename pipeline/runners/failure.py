"""Explains why a step failed, as a person can use it."""

from __future__ import annotations

import shutil

from components.base import errors

_ALMOST_FULL = 16 << 20
"""Bytes left on a disk that is as good as full: a step may remove part of what it wrote."""


def explained(step: str, error: BaseException, folder: str | None = None) -> errors.DenoiseError:
    """The known error in what a step raised, or one that says what was raised.

    Args:
      step: Name of the step, which the message begins with.
      error: What the step raised.
      folder: Where the step wrote, if that is a local folder: libraries may hide that its disk
        is full behind an error of their own.
    """
    known = errors.explained(error)
    if known is None and folder and shutil.disk_usage(folder).free < _ALMOST_FULL:
        known = errors.RunError(
            f"{type(error).__name__}: {error}. Most likely the disk is full ({folder}). Make room "
            "and call it again: what is finished stays."
        )
    if known is not None and known.step == step:
        return known
    if known is not None:
        failure = type(known)(f"{step}: {known}")
    else:
        failure = errors.RunError(f"{step} failed: {type(error).__name__}: {error}")
    failure.step = step
    return failure
