"""`denoise models`: the architectures there are."""

from __future__ import annotations

from components.base import plugins
from pipeline.commands import options
from pipeline.commands.session import listing, without_log


def models(
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    as_json: options.Json = False,
) -> None:
    """List the architectures: name, parameters, preset, source.

    Those of plug-ins, too: installed ones, and what the settings' `plugins` names.

    Example: `denoise models --json`, or `denoise models --set plugins=my_package.models`.
    """
    from pipeline import config

    settings = config.load(preset, set_ or [])
    with without_log():
        plugins.load(settings.plugins)
        from components import models as architectures

        rows = architectures.listing()
    listing(rows, ("name", "parameters", "preset", "source"), as_json)
