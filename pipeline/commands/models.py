"""`denoise models`: the architectures there are."""

from __future__ import annotations

from pipeline.commands import options
from pipeline.commands.session import listing, without_log


def models(as_json: options.Json = False) -> None:
    """List the architectures: name, parameters, preset, source.

    Example: `denoise models --json`.
    """
    with without_log():
        from components import models as architectures

        rows = architectures.listing()
    listing(rows, ("name", "parameters", "preset", "source"), as_json)
