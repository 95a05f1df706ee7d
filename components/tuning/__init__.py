"""Tuning: which settings train best, found by trials on a part of the training images.

`search` makes the trials, `trials` is what it found, `component` and `executor` are the step
around it. The best settings go to the Trainer (components/training/hyperparameters.py).
"""

from __future__ import annotations

from typing import Any


def tuner_fn(fn_args: Any) -> Any:
    """What TFX's Tuner calls, by this import path; see `search.tuner_fn`.

    TFX imports this module anew each time: nothing else may be defined here.
    """
    from components.tuning import search

    return search.tuner_fn(fn_args)
