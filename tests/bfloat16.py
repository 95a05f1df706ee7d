"""Tests that compute in bfloat16 ask first, in a process of its own, whether this machine does."""

from __future__ import annotations

import functools
import os

import pytest

from components.base import child
from tests import warm

MODULE = __name__


def main() -> None:
    """One step of a small U-Net."""
    import numpy as np

    from components.training import recipe

    model = recipe.denoiser("unet", (8, 8, 1), {"widths": (4,)}, "mixed_bfloat16")
    model.compile("sgd", "mse", jit_compile=False)
    images = np.random.default_rng(1).random((4, 8, 8, 1), np.float32)
    model.train_on_batch(images, images)


@functools.cache
def _reason() -> str | None:
    done = warm.call(MODULE, [], os.environ)
    assert done.returncode <= 0, done.stderr
    return child.died(done.returncode).reason if done.returncode else None


def require() -> None:
    """Skips the test where bfloat16 ends the process that computes in it."""
    reason = _reason()
    if reason is not None:
        pytest.skip(f"this machine does not compute in bfloat16: a process that did was {reason}")
