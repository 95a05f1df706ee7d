"""Settings the Tuner found, laid over those that were given.

keras-tuner's values are numbers and strings. What is neither, such as the widths of a model's
levels, is a string of JSON there.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any

OWN = "tuner/"
"""What keras-tuner notes for itself among the values begins so."""


def encode(value: Any) -> int | float | str:
    """A setting's value as keras-tuner takes it."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    return json.dumps(value)


def decode(value: int | float | str) -> Any:
    """The setting's value that `encode` was given."""
    return json.loads(value) if isinstance(value, str) else value


def tuned(values: Mapping[str, int | float | str]) -> dict[str, Any]:
    """Settings by field, such as `training.learning_rate`, from keras-tuner's values."""
    return {field: decode(value) for field, value in values.items() if not field.startswith(OWN)}


def lay_over(sections: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Sections of the settings with other values.

    Args:
      sections: Plain values; left as they are.
      fields: Values by field: `training.…` or `model.arguments.…`.
    """
    result = copy.deepcopy(dict(sections))
    for field, value in fields.items():
        *path, name = field.split(".")
        section = result
        for part in path:
            section = section[part]
        section[name] = value
    return result
