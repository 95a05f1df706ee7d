"""`denoise noises`: the noises there are."""

from __future__ import annotations

from components.base import plugins
from pipeline.commands import options
from pipeline.commands.session import listing, without_log


def noises(
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """List the noises: how each is written, its formula and source.

    Those of plug-ins, too: installed ones, and what the settings' `plugins` names.

    Example: `denoise noises --json`, or `denoise noises --set plugins=my_package.noises`.
    """
    from pipeline import config

    settings = config.load(preset, set_ or [])
    with without_log():
        plugins.load(settings.plugins)
        from components import noise

        rows = noise.listing()
    listing(rows, ("usage", "formula", "source"), as_json)
