"""Files written whole or not at all."""

from __future__ import annotations

import json
import os
import pathlib
import tempfile
from typing import Any


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", delete=False
    ) as file:
        json.dump(value, file, indent=2, allow_nan=False)
        file.write("\n")
    os.replace(file.name, path)
