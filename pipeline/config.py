"""Settings: a preset (pipeline/presets/NAME.yaml) with `--set section.field=value` laid over it.

What there is to set is in components/base/settings.py.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterable
from typing import Any

import pydantic

from components.base import yaml_text
from components.base.errors import UsageError
from components.base.files import shown
from components.base.settings import DEFAULT_PRESET, Settings

PRESETS = pathlib.Path(__file__).parent / "presets"


def preset_names() -> list[str]:
    """Names `--preset` takes."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def load(preset: str = DEFAULT_PRESET, overrides: Iterable[str] = ()) -> Settings:
    """Reads a preset and lays overrides over it.

    Args:
      preset: A name in pipeline/presets, or the path of a YAML file.
      overrides: `section.field=value`, the value in YAML: `training.epochs=3`.

    Raises:
      UsageError: no such preset, or a value that is not what its field expects.
    """
    path = PRESETS / f"{preset}.yaml"
    if preset not in preset_names():
        path = pathlib.Path(preset)
        # Of a name that is too long `is_file` raises an error.
        if path.suffix not in (".yaml", ".yml") or not os.path.isfile(path):
            raise UsageError(
                f"--preset {shown(preset)}: there is no such preset. "
                f"Take one of {', '.join(preset_names())}, or the path of a .yaml file."
            )
    try:
        values = yaml_text.read(path.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UsageError(f"--preset {shown(path)}: cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise UsageError(f"--preset {path}: not a YAML file: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"--preset {path}: expected sections and fields, found {values!r}.")
    values.setdefault("preset", path.stem)
    for override in overrides:
        _lay_over(values, override)
    return validate(values, source=str(path))


def _lay_over(values: dict[str, Any], override: str) -> None:
    field, equals, text = override.partition("=")
    if not equals or not field:
        raise UsageError(
            f"--set {override}: expected section.field=value, for example training.epochs=3."
        )
    try:
        value = yaml_text.read(text)
    except ValueError as error:
        raise UsageError(f"--set {override}: the value is not YAML: {error}") from error
    *sections, name = field.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise UsageError(f"--set {override}: {section!r} is a value, not a section.")
    values[name] = value


def validate(values: dict[str, Any], source: str) -> Settings:
    """Checks plain values, such as those of a YAML file or an earlier `model_dump`.

    Raises:
      UsageError: names each wrong field, what it expects and what it was given.
    """
    try:
        return Settings.model_validate(values)
    except pydantic.ValidationError as error:
        lines = [
            f"  {'.'.join(str(part) for part in problem['loc']) or 'settings'}: {problem['msg']}"
            + ("" if isinstance(problem["input"], dict) else f" (was {problem['input']!r})")
            for problem in error.errors()
        ]
        raise UsageError("\n".join([f"{source} with the overrides given:", *lines])) from error
