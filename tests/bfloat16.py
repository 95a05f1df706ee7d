"""Tests that compute in bfloat16 ask first, in a process of its own, whether this machine does."""

from __future__ import annotations

import functools
import pathlib

import pytest

from components.base import child
from components.training import precision
from components.training.result import Candidate
from tests.components.training import measures


@functools.cache
def _reason() -> str | None:
    job = measures.job(pathlib.Path(), blocks=1, mixer_blocks=1)
    try:
        child.call(
            precision.images_per_second, job, Candidate(precision="mixed_bfloat16"), seconds=300
        )
    except child.DiedError as error:
        return error.reason
    return None


def require() -> None:
    """Skips the test where bfloat16 ends the process that computes in it."""
    reason = _reason()
    if reason is not None:
        pytest.skip(f"this machine does not compute in bfloat16: a process that did was {reason}")
