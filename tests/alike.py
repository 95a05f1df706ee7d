"""Values of a test that are alike: the first ones in `make test`, all of them in `.ci/run`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def alike(values: Sequence[Any], here: int = 1) -> list[Any]:
    """For `pytest.mark.parametrize`: as they are, those after the first `here` marked `ci`."""
    return [
        value if number < here else pytest.param(value, marks=pytest.mark.ci)
        for number, value in enumerate(values)
    ]
