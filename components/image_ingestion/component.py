"""The component that ingests a data folder of images."""

from __future__ import annotations

import json
from typing import Any, ClassVar

from tfx import types
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import standard_artifacts
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.base import code as sources
from components.base.places import Places
from components.base.settings import DataSettings, ImageSettings, Settings
from components.image_ingestion import executor

_DATA = {"format", "classes", "validation_fraction", "patches", "max_bad_files"}


class ImageIngestionSpec(ComponentSpec):
    """Outputs and parameters of ImageIngestion."""

    PARAMETERS = {  # noqa: RUF012
        "input_base": ExecutionParameter(type=str),
        "sections": ExecutionParameter(type=str),
        "data_version": ExecutionParameter(type=str),
    }
    INPUTS: ClassVar[dict[str, Any]] = {}
    OUTPUTS = {"examples": ChannelParameter(type=standard_artifacts.Examples)}  # noqa: RUF012


class ImageIngestion(base_beam_component.BaseBeamComponent):
    """Ingests a folder of images below `train` and `test`, or of pairs of them.

    Patches of a file become Examples as CsvIngestion writes them, all of one split: files of
    `train` go to `train` or `validation` by a hash of their bytes. `key` is a hash of the file and
    the number of the patch, `label` that of the folder, -1 without labels. Of pairs, the Examples
    hold `noisy` too. Files that cannot be cut are set aside beside the Examples.

    Outputs: `examples`, a `standard_artifacts.Examples`.

    Args:
      input_base: The data folder, or one of its spans.
      image: Shape of a patch.
      data: Format, classes, patches of a file, share of validation, share of bad files allowed.
      code: Fingerprint of the code, so that a change of it is not answered from the cache.
      data_version: Fingerprint of the files (`folder.version`), for the cache.
    """

    SPEC_CLASS = ImageIngestionSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        input_base: Any,
        image: ImageSettings,
        data: DataSettings,
        code: str,
        data_version: str = "",
    ):
        sections = {
            "image": image.model_dump(mode="json"),
            "data": data.model_dump(mode="json", include=_DATA),
            "code": code,
        }
        super().__init__(
            ImageIngestionSpec(
                input_base=input_base,
                sections=json.dumps(sections, sort_keys=True),
                data_version=data_version,
                examples=types.Channel(type=standard_artifacts.Examples),
            )
        )


def step(settings: Settings, places: Places) -> Any:
    """Ingestion, as the DAG has it."""
    return ImageIngestion(
        input_base=places.data,
        image=settings.image,
        data=settings.data,
        code=sources.fingerprint(__name__),
    )
