"""`denoise noises`: the noises there are."""

from __future__ import annotations

from pipeline.commands import options
from pipeline.commands.session import listing, without_log


def noises(as_json: options.Json = False) -> None:
    """List the noises: how each is written, its formula and source.

    Example: `denoise noises --json`.
    """
    with without_log():
        from components import noise

        rows = noise.listing()
    listing(rows, ("usage", "formula", "source"), as_json)
