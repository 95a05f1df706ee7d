"""What Kubeflow Pipelines' own driver and launcher of four releases handed to steps of this
project: `recorded/<release>/<task>.json` is the ExecutorInput in the arguments of the command,
`<task>.before.txt` what lay on the container's disk before it started.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from typing import Any

FOLDER = pathlib.Path(__file__).parent / "recorded"
RELEASES = ("2.4.1", "2.5.0", "2.15.0", "2.17.0")
TASKS = ("CsvIngestion-version", "CsvIngestion", "Trainer", "QualityEvaluator")


@dataclasses.dataclass(frozen=True)
class Recording:
    """One task under one release."""

    release: str
    task: str

    def __str__(self) -> str:
        return f"{self.release}-{self.task}"

    @property
    def executor_input(self) -> dict[str, Any]:
        """The ExecutorInput, parsed."""
        return json.loads((FOLDER / self.release / f"{self.task}.json").read_text())

    @property
    def before(self) -> list[tuple[str, str]]:
        """Kind (`d` or `f`) and path of each folder and file, those that hold others first."""
        lines = (FOLDER / self.release / f"{self.task}.before.txt").read_text().splitlines()
        return [(line.split(" ")[0], line.split(" ")[4]) for line in lines]

    def lay_out(self, disk: pathlib.Path) -> None:
        """Makes those folders and files in a folder that stands for `/`; their content is short."""
        for kind, path in self.before:
            place = disk / path.lstrip("/")
            if kind == "d":
                place.mkdir(parents=True, exist_ok=True)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_text(path)


RECORDINGS = [Recording(release, task) for release in RELEASES for task in TASKS]
