"""Keeps what was found out, each finding in a file named by all that decides it."""

from __future__ import annotations

import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any, TypeVar

import pydantic

from components.base.files import write_json

_Finding = TypeVar("_Finding", bound=pydantic.BaseModel)


class Findings:
    """The files of what was found out.

    Args:
      folder: Holds them.
    """

    def __init__(self, folder: pathlib.Path):
        self._folder = folder

    def known(
        self,
        kind: type[_Finding],
        name: str,
        key: dict[str, Any],
        find: Callable[[], _Finding],
    ) -> _Finding:
        """A finding from its file, or found now and kept.

        A file that does not hold one, because it was cut off or is of another version, counts for
        nothing.

        Args:
          kind: Its type.
          name: Begins the file's name.
          key: All that decides it, as plain values.
          find: Finds it out.
        """
        file = self.file(name, key)
        try:
            return kind.model_validate_json(file.read_text(encoding="utf-8"))
        except (OSError, pydantic.ValidationError):
            found = find()
            write_json(file, found.model_dump(mode="json"))
            return found

    def file(self, name: str, key: dict[str, Any]) -> pathlib.Path:
        """The file of a finding, whether it is there or not."""
        content = json.dumps([name, key], sort_keys=True, default=str)
        return self._folder / f"{name}-{hashlib.sha256(content.encode()).hexdigest()[:20]}.json"
