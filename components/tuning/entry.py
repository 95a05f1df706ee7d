"""The function that TFX's Tuner calls, by its import path.

TFX imports this module anew each time: nothing else may be defined here.
"""

from __future__ import annotations

from typing import Any


def tuner_fn(fn_args: Any) -> Any:
    """Searches as TFX's Tuner asks; see `search.tuner_fn`."""
    from components.tuning import search

    return search.tuner_fn(fn_args)
