"""Where a pipeline reads and writes."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Places:
    """Local paths or object-store URIs."""

    data: str
    """A data folder: train/*.csv[.gz] and test/*.csv[.gz], or span-N folders of those."""
    spans: bool
    """Whether it holds span-N folders, of which the newest is taken."""
    schema: str
    """The file of the schema; another schema has another name."""
    serving: str
    """The serving folder, `.../denoiser`."""
    pipeline_root: str
