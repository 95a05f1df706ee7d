"""AtomicPusher: TFX's Pusher, but a server that polls never sees half a model."""

from __future__ import annotations

import os
import pathlib
import shutil
import time
from typing import Any

from tfx import types
from tfx.components.pusher import component as tfx_component
from tfx.components.pusher import executor as tfx_executor
from tfx.dsl.components.base import executor_spec
from tfx.proto import pusher_pb2
from tfx.types import artifact_utils
from tfx.utils import io_utils, json_utils, proto_utils

from components.base import code, object_store
from components.base.errors import WorkspaceError
from components.base.places import Places
from components.base.settings import Settings
from components.push.versions import LARGEST, number_of, same_model, versions


def push(model: str, serving: str, keep: int | None = None) -> str:
    """Copies a SavedModel to `serving/<version>` in one visible step.

    The copy is made complete and durable under a name no server takes for a version, then
    renamed. Versions are Unix times, as TFX's Pusher has them, and always grow.

    Args:
      model: The SavedModel folder.
      serving: The serving folder, a local path or a URI of an object store. A store cannot
        rename: `saved_model.pb` appears last, and TF Serving, which may have seen the version
        earlier, tries again until it is there (--max_num_load_retries).
      keep: How many versions to leave, the new one counted; None: all.

    Returns:
      The version.

    Raises:
      WorkspaceError: the folder's newest version has the largest number there can be.
    """
    pushed = versions(serving)
    newest = pushed[-1].number if pushed else 0
    if newest == LARGEST:
        raise WorkspaceError(
            f"{serving}/{pushed[-1].name}: its number is the largest a version can have, so no "
            "newer one can be pushed. Rename or remove that folder."
        )
    version = max(int(time.time()), newest + 1)
    if object_store.is_remote(serving):
        for name in _left_over(serving):
            object_store.delete(f"{serving}/{name}")
        object_store.publish(model, f"{serving}/{version}", last="saved_model.pb")
        for old in versions(serving)[:-keep] if keep is not None else []:
            # Without its saved_model.pb it is no version any more.
            object_store.delete(f"{serving}/{old.name}/saved_model.pb")
            object_store.delete(f"{serving}/{old.name}")
        return str(version)
    folder = pathlib.Path(serving)
    folder.mkdir(parents=True, exist_ok=True)
    for left_over in folder.glob(".*.partial"):
        shutil.rmtree(left_over)
    partial = folder / f".{version}.partial"
    shutil.copytree(model, partial)
    for path in [*partial.rglob("*"), partial]:
        _sync(path)
    partial.rename(folder / str(version))
    _sync(folder)
    if keep is not None:
        for old in versions(folder)[:-keep]:
            # Renamed first, for the same reason.
            (folder / old.name).rename(folder / f".{old.name}.partial")
            shutil.rmtree(folder / f".{old.name}.partial")
    return str(version)


def _left_over(serving: str) -> set[str]:
    """Folders of pushes that broke off."""
    files = [name.split("/") for name in object_store.files(serving)]
    folders = {parts[0] for parts in files}
    whole = {parts[0] for parts in files if parts[1:] == ["saved_model.pb"]}
    partial = {name for name in folders if name.startswith(".") and name.endswith(".partial")}
    return partial | {name for name in folders - whole if number_of(name) is not None}


def _sync(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Executor(tfx_executor.Executor):
    """Pushes a blessed model atomically; one that is not blessed is never pushed."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """The inputs and outputs of TFX's Pusher."""
        pushed_model = artifact_utils.get_single_instance(output_dict["pushed_model"])
        if not self.CheckBlessing(input_dict):
            self._MarkNotPushed(pushed_model)
            return
        destination = pusher_pb2.PushDestination()
        proto_utils.json_to_proto(exec_properties["push_destination"], destination)
        serving = destination.filesystem.base_directory
        model = self.GetModelPath(input_dict)
        config = json_utils.loads(exec_properties.get("custom_config") or "null") or {}
        keep = config.get("keep_versions")
        version = _pushed_already(model, serving) or push(model, serving, keep)
        io_utils.copy_dir(model, pushed_model.uri)
        self._MarkPushed(
            pushed_model,
            pushed_destination=os.path.join(serving, version),
            pushed_version=version,
        )


def _pushed_already(model: str, serving: str) -> str | None:
    """The newest version, if it is this model: a runner without drivers cannot cache a push."""
    pushed = versions(serving)
    if not pushed:
        return None
    newest = pushed[-1].name
    with object_store.local_copy(f"{serving}/{newest}") as folder:
        return newest if same_model(pathlib.Path(model), folder) else None


class AtomicPusher(tfx_component.Pusher):
    """TFX's Pusher with the atomic executor."""

    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(Executor)


def step(settings: Settings, places: Places, trainer: Any, evaluator: Any, check: Any) -> Any:
    """The push, as the DAG has it: of a model that was blessed twice."""
    return AtomicPusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        infra_blessing=check.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=places.serving)
        ),
        custom_config={
            "keep_versions": settings.serving.keep_versions,
            "code": code.fingerprint(__name__),
        },
    )
