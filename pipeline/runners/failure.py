"""Why a step failed, as a person can use it."""

from __future__ import annotations

from components.base import errors


def explained(step: str, error: BaseException) -> errors.DenoiseError:
    """What is known of what a step raised, or an error that says what it was.

    Args:
      step: Name of the step, which the message begins with.
      error: What the step raised.
    """
    known = errors.explained(error)
    if known is not None and known.step == step:
        return known
    if known is not None:
        failure = type(known)(f"{step}: {known}")
    else:
        failure = errors.RunError(f"{step} failed: {type(error).__name__}: {error}")
    failure.step = step
    return failure
