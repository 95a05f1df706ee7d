"""Keras files as another version of Keras writes them."""

from __future__ import annotations

import json
import pathlib
import zipfile
from typing import Any

_CONFIG = "config.json"


def as_another_writes(file: pathlib.Path) -> pathlib.Path:
    """Gives each initializer in a .keras file an argument that no Keras knows, in place: Keras 3.15
    writes arguments of GlorotUniform that 3.12 does not take."""
    with zipfile.ZipFile(file) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    members[_CONFIG] = json.dumps(_with_unknown(json.loads(members[_CONFIG]))).encode()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def _with_unknown(value: Any) -> Any:
    if isinstance(value, list):
        return [_with_unknown(each) for each in value]
    if not isinstance(value, dict):
        return value
    changed = {name: _with_unknown(each) for name, each in value.items()}
    if changed.get("class_name") == "GlorotUniform":
        changed["config"] = {**changed["config"], "of_tomorrow": None}
    return changed
