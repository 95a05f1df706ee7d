"""The workspace: one folder that holds everything a run writes."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import pathlib
import re
from collections.abc import Iterator

from components.base.errors import WorkspaceError
from components.base.files import shown
from components.base.places import SERVABLE

_NOT_IN_PATHS = re.compile(r"[*?\[\\\x00-\x1f\ud800-\udfff]")


@dataclasses.dataclass(frozen=True)
class Workspace:
    """Paths under `--workspace DIR`."""

    root: pathlib.Path

    @property
    def data(self) -> pathlib.Path:
        """Fashion-MNIST as CSVs: train/*.csv and test/*.csv."""
        return self.root / "data"

    @property
    def schema(self) -> pathlib.Path:
        """The schema of the run."""
        return self.root / "schema"

    @property
    def pipeline_root(self) -> pathlib.Path:
        """Artifacts of every step and run."""
        return self.root / "pipeline_root"

    @property
    def metadata(self) -> pathlib.Path:
        """ML Metadata: runs, artifacts and their lineage."""
        return self.root / "metadata.sqlite"

    @property
    def serving(self) -> pathlib.Path:
        """Versions a model server polls."""
        return self.root / "serving" / SERVABLE

    @property
    def reports(self) -> pathlib.Path:
        """One HTML report a run."""
        return self.root / "reports"

    @property
    def benchmark(self) -> pathlib.Path:
        """Findings of `denoise benchmark`, and its page."""
        return self.root / "benchmark"

    @property
    def logs(self) -> pathlib.Path:
        """Output of the steps, one file a command."""
        return self.root / "logs"

    @property
    def jobs(self) -> pathlib.Path:
        """Beam jobs of `denoise predict` that a job server works on."""
        return self.root / "jobs"

    @property
    def summary(self) -> pathlib.Path:
        """The last run, for machines."""
        return self.root / "summary.json"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the workspace for one run; the kernel lets go when the process dies.

        Raises:
          WorkspaceError: another run holds it, or the folder cannot be written or has a name that
            a step cannot use.
        """
        path = str(self.root.resolve())
        # TFX's own steps take their folders for patterns, and ML Metadata for UTF-8.
        if _NOT_IN_PATHS.search(path):
            raise WorkspaceError(
                f"--workspace {shown(path)}: TFX cannot use a folder with *, ?, [, a "
                "backslash, a line end or bytes that are not UTF-8 in its path."
            )
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            file = open(self.root / ".lock", "a+", encoding="utf-8")  # noqa: SIM115  # held open for the lock
        except OSError as error:
            raise WorkspaceError(
                f"--workspace {self.root}: cannot be written ({error.strerror}). "
                "Give another folder."
            ) from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                file.seek(0)
                holder = file.read().strip() or "unknown"
                raise WorkspaceError(
                    f"--workspace {self.root}: another run (process {holder}) is using it. "
                    "Wait for it to end, or give another folder with --workspace."
                ) from error
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    @property
    def in_use(self) -> bool:
        """True while a run holds the workspace."""
        try:
            with open(self.root / ".lock", encoding="utf-8") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        return False
