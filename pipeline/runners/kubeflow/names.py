"""Names that the compiled pipeline, the containers of its steps and the dry run share."""

from __future__ import annotations

import os
from typing import Any

from components.base import object_store

COMMAND = ("python", "-m", "pipeline.runners.kubeflow.container")
"""The command of every step's container."""
DATA, PRESET, EPOCHS = "data", "preset", "epochs"
"""Parameters that an operator may change when starting a run."""
AS_COMPILED: dict[str, Any] = {PRESET: "", EPOCHS: 0}
"""Defaults that change nothing; the default of DATA is a location."""
VERSION_TASK = "-version"
"""Ending of the tasks that see what a step depends on besides its inputs (`dag.LATE`). KFP ignores
TFX's drivers, and would answer the step from its cache when data or pushed models changed; so a
task before it looks, which is never answered from the cache."""
LOGS = "executor-logs"
"""Output artifact that KFP gives every task since 2.5: a file, which its launcher writes."""
ROOT = "DENOISE_LAUNCHER_ROOT"
"""Environment variable: the folder that stands for `/` in the launcher's local paths."""
FOLDERS = {"s3": "s3", "minio": "minio", "gs": "gcs"}
"""The launcher's folder for a scheme's artifacts: LocalPathForURI of launcher_v2.go."""


def local_path(location: str, root: str | None = None) -> str:
    """The place on the container's disk that KFP's launcher gives something.

    Args:
      location: URI of an artifact, or a path that the launcher names itself.
      root: The folder that stands for `/`; default: what `ROOT` says, or `/` itself.
    """
    if object_store.is_remote(location):
        scheme, bucket, key = object_store.split(location)
        location = os.path.join(FOLDERS[scheme], bucket, key)
    return os.path.join(root or os.environ.get(ROOT, "/"), location.lstrip("/"))
