"""What the serving check leaves."""

from __future__ import annotations

import json
import pathlib
from typing import Any

CHECK_FILE = "check.json"
"""In the blessing: what components.serving_check.check printed."""


def read_check(blessing: str) -> dict[str, Any]:
    """What the check found: `failures`, and `signatures` with the latency of each.

    Args:
      blessing: The folder of the blessing.
    """
    return json.loads(pathlib.Path(blessing, CHECK_FILE).read_text(encoding="utf-8"))
