"""KFP's metadata store and cache, as one JSON file."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from components.base.files import write_json


@dataclasses.dataclass(frozen=True)
class Artifact:
    """An artifact as KFP's metadata store has it."""

    id: int
    type: str
    """Its schema's title, such as `tfx.Model`."""
    uri: str
    metadata: dict[str, Any]


class Outputs(NamedTuple):
    """A task's outputs by name."""

    artifacts: dict[str, Artifact]
    parameters: dict[str, Any]


class State:
    """Artifacts, and the outputs of finished tasks by cache key; the file is written by `save`."""

    def __init__(self, file: pathlib.Path):
        self._file = file
        try:
            self._values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            self._values = {"artifacts": [], "cache": {}}

    def add(self, type_: str, uri: str, metadata: Mapping[str, Any]) -> Artifact:
        """Records an artifact.

        Raises:
          ValueError: metadata without a value, which KFP refuses.
        """
        kept = {key: _kept(key, value) for key, value in metadata.items()}
        artifact = Artifact(len(self._values["artifacts"]) + 1, type_, uri, kept)
        self._values["artifacts"].append(dataclasses.asdict(artifact))
        return artifact

    def cached(self, key: str) -> Outputs | None:
        """The outputs kept under a key, if there are any."""
        entry = self._values["cache"].get(key)
        if entry is None:
            return None
        artifacts = {
            name: Artifact(**self._values["artifacts"][number - 1])
            for name, number in entry["artifacts"].items()
        }
        return Outputs(artifacts, entry["parameters"])

    def cache(self, key: str, outputs: Outputs) -> None:
        """Keeps outputs under a key."""
        self._values["cache"][key] = {
            "artifacts": {name: artifact.id for name, artifact in outputs.artifacts.items()},
            "parameters": outputs.parameters,
        }

    def save(self) -> None:
        """Writes the file, whole or not at all."""
        write_json(self._file, self._values)


def _kept(key: str, value: Any) -> Any:
    """A metadata value after it has been through the store (metadata/converter.go)."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, list):
        return {"list": value}
    if isinstance(value, dict):
        return {"struct": value}
    if value is None:
        raise ValueError(f"metadata without a value: {key}")
    return value
