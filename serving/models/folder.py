"""A version's folder, which may still be being written, and which versions a policy asks for."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import pathlib
import time
from collections.abc import Iterable
from typing import Any

from tensorflow.core.protobuf import saved_model_pb2

Snapshot = tuple[tuple[str, int, int], ...]
"""Name, size and time of a folder and all in it."""


@dataclasses.dataclass(frozen=True)
class Folder:
    """A version's folder as it was at the last look."""

    snapshot: Snapshot
    lacking: str | None
    """What its SavedModel still lacks."""
    steady: bool
    """Whether nothing of it seems to be being written."""

    @classmethod
    def look(
        cls,
        path: pathlib.Path,
        last: Folder | None,
        still_after: float,
        alternative: str | None = None,
    ) -> Folder:
        """Looks at it again.

        Args:
          path: Its path.
          last: What was seen before.
          still_after: Seconds; files whose times are older are as still as those seen twice.
          alternative: A file that makes it complete without a SavedModel.
        """
        snapshot = _snapshot(path)
        if last is not None and last.snapshot == snapshot:
            return cls(snapshot, last.lacking, True)
        whole = alternative is not None and (path / alternative).is_file()
        lacking = None if whole else missing_file(path)
        return cls(snapshot, lacking, _age(snapshot) > still_after)


def _snapshot(path: pathlib.Path) -> Snapshot:
    """Folders count: a copy that keeps its files' times still touches the folder they go into."""
    files = []
    for file in (path, *sorted(path.rglob("*"))):
        with contextlib.suppress(FileNotFoundError):
            status = file.stat()
            files.append((str(file.relative_to(path)), status.st_size, status.st_mtime_ns))
    return tuple(files)


def _age(snapshot: Snapshot) -> float:
    """Seconds since a file of the snapshot last changed."""
    newest = max((modified for _, _, modified in snapshot), default=0)
    return time.time() - newest / 1e9


def missing_file(path: pathlib.Path) -> str | None:
    """What a SavedModel folder still lacks, or None when all of it is there.

    Folders are copied file by file. A SavedModel whose variables have not arrived can be
    loaded all the same, and fails only when it is asked something.
    """
    graph = path / "saved_model.pb"
    if not graph.is_file():
        return graph.name
    saved_model = saved_model_pb2.SavedModel()
    try:
        saved_model.ParseFromString(graph.read_bytes())
    except Exception:  # protobuf's DecodeError differs between its implementations
        return f"{graph.name} (it is cut short)"
    if not saved_model.meta_graphs:
        return f"{graph.name} (it is empty)"
    if not any(meta.saver_def.restore_op_name for meta in saved_model.meta_graphs):
        return None
    variables = path / "variables"
    index = variables / "variables.index"
    if not index.is_file():
        return "variables/variables.index"
    shards = list(variables.glob("variables.data-*-of-*"))
    expected = int(shards[0].name.rpartition("-")[2]) if shards else 1
    return None if len(shards) == expected else "variables/variables.data"


def aspired(config: Any, versions: Iterable[int]) -> list[int]:
    """The versions a model's policy asks for.

    Args:
      config: The ModelConfig.
      versions: Those there are, the newest first; no more is read of it than is needed.
    """
    policy = config.model_version_policy
    choice = policy.WhichOneof("policy_choice") or "latest"
    if choice == "all":
        return list(versions)
    if choice == "specific":
        wanted = set(policy.specific.versions)
        return [version for version in versions if version in wanted]
    return list(itertools.islice(versions, max(policy.latest.num_versions, 1)))
