"""What another machine trains, in a process of its own."""

from __future__ import annotations

import json
import sys
import types


def main() -> None:
    """Trains what the argument says as JSON: the fields of TFX's FnArgs."""
    from components.training import trainer

    trainer.run_fn(types.SimpleNamespace(**json.loads(sys.argv[1])))
