"""Why a step failed, as a person can use it."""

from __future__ import annotations

import shutil

from components.base.errors import DenoiseError, RunError


def own(error: BaseException | None) -> DenoiseError | None:
    """The project's own error inside whatever TFX and Beam wrapped it in, if there is one."""
    while error is not None and not isinstance(error, DenoiseError):
        error = error.__cause__ or error.__context__
    return error


def explained(step: str, error: BaseException) -> DenoiseError:
    """The project's own error in what a step raised, or one that says what it was.

    Args:
      step: Name of the step, which the message begins with.
      error: What the step raised.
    """
    found = own(error)
    if found is not None:
        return type(found)(f"{step}: {found}")
    if isinstance(error, OSError) and error.errno == 28:
        free = shutil.disk_usage("/").free
        return RunError(
            f"{step}: the disk is full ({free >> 20} MiB free). Make room and run again."
        )
    return RunError(f"{step} failed: {type(error).__name__}: {error}")
