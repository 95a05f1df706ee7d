"""Tests that compute in bfloat16 ask first, in a process of its own, whether this machine does."""

from __future__ import annotations

import functools

import pytest

from components.base import child


def _train() -> None:
    """One step of a small U-Net."""
    import numpy as np

    from components.training import recipe

    model = recipe.denoiser("unet", (8, 8, 1), {"widths": (4,)}, "mixed_bfloat16")
    model.compile("sgd", "mse", jit_compile=False)
    images = np.random.default_rng(1).random((4, 8, 8, 1), np.float32)
    model.train_on_batch(images, images)


@functools.cache
def _reason() -> str | None:
    try:
        child.call(_train, seconds=300)
    except child.DiedError as error:
        return error.reason
    return None


def require() -> None:
    """Skips the test where bfloat16 ends the process that computes in it."""
    reason = _reason()
    if reason is not None:
        pytest.skip(f"this machine does not compute in bfloat16: a process that did was {reason}")
