"""What TFX's Trainer calls, by its import path; TFX imports this module anew each time."""

from __future__ import annotations

from typing import Any


def run_fn(fn_args: Any) -> None:
    """Trains as TFX's Trainer asks; see `trainer.train`."""
    from components.training import trainer

    trainer.run_fn(fn_args)
