"""The places a pipeline reads and writes."""

from __future__ import annotations

import dataclasses

from components.base import object_store
from components.base.errors import UsageError

SERVABLE = "denoiser"
"""Name of the servable, and of its folder of versions."""


@dataclasses.dataclass(frozen=True)
class Places:
    """Local paths or object-store URIs."""

    data: str
    """A data folder, or a span of one: CSVs, or images, in train and test."""
    schema: str
    """The file of the schema; another schema has another name."""
    serving: str
    """The serving folder, `.../denoiser`."""
    pipeline_root: str

    @classmethod
    def under(
        cls, pipeline_root: str, data: str | None = None, serving: str | None = None
    ) -> Places:
        """Places in an object store: folders under the pipeline root for what is not given.

        Raises:
          UsageError: the pipeline root is no URI of an object store.
        """
        try:
            object_store.split(pipeline_root)
        except ValueError as error:
            raise UsageError(f"--pipeline-root: {error}.") from error
        root = pipeline_root.rstrip("/")
        return cls(
            data=_folder(data) or f"{root}/data",
            schema="",
            serving=_folder(serving) or f"{root}/serving/denoiser",
            pipeline_root=root,
        )


def _folder(location: str | None) -> str | None:
    """Without a slash at the end of a URI: what is joined to it would be below a folder without a
    name, where nobody looks."""
    remote = location is not None and object_store.is_remote(location)
    return location.rstrip("/") if location and remote else location
