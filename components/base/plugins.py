"""Plug-ins: modules of others that register noises, models and filters when they are imported.

The setting `plugins` names them, and so does the entry-point group `denoise.plugins` of an
installed package. The registries load them when they are imported themselves, in every process
that this one starts; a process of another machine is given the setting, and calls `load`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.metadata
import os
import traceback
from collections.abc import Iterable
from typing import Any

from components.base.errors import UsageError

GROUP = "denoise.plugins"
"""Entry points whose value is a module."""
REGISTRIES = tuple(f"components.{name}" for name in ("noise", "models", "filters"))

_LOADED = "DENOISE_PLUGINS"
"""Environment variable: what was loaded here, for the processes that are started from here."""
_failed: dict[str, str] = {}
"""Message by plug-in: a second import would say something else, what it registered being there."""


@functools.cache
def installed() -> dict[str, str]:
    """The modules that installed packages name as plug-ins, each with its distribution."""
    return {
        point.value: point.dist.name if point.dist else ""
        for point in importlib.metadata.entry_points(group=GROUP)
    }


def load(given: Iterable[str] = ()) -> None:
    """Imports plug-ins: installed ones, those that were loaded before, and these.

    Args:
      given: Names of modules, as in the setting `plugins`.

    Raises:
      UsageError: one cannot be imported; names it, its error and what to do.
    """
    before = filter(None, os.environ.get(_LOADED, "").split(","))
    named = tuple(dict.fromkeys((*before, *given)))
    for plugin in dict.fromkeys((*installed(), *named)):
        _import(plugin)
    if named:
        os.environ[_LOADED] = ",".join(named)


def origin(registered: Any) -> str:
    """Where a registered class or function is from: `denoise`, or the module of a plug-in."""
    while isinstance(registered, functools.partial):
        registered = registered.func
    module = registered.__module__
    return "denoise" if module.startswith(REGISTRIES) else module


def missing(plugin: str) -> UsageError:
    """The error for a plug-in of which there is no module here."""
    return UsageError(
        f"{_named(plugin)}: there is no such module here. Install its package into this "
        "environment, or put its folder on PYTHONPATH; on Kubeflow the image must have it, and on "
        "a cluster each worker (docs/plugins.md)."
    )


def _import(plugin: str) -> None:
    if plugin in _failed:
        raise UsageError(_failed[plugin])
    try:
        importlib.import_module(plugin)
    except Exception as error:
        if isinstance(error, UsageError) and str(error) in _failed.values():
            raise  # Of another one, which the registries load too.
        failure = _explained(plugin, error)
        _failed[plugin] = str(failure)
        raise failure from error


def _explained(plugin: str, error: Exception) -> UsageError:
    absent = error.name if isinstance(error, ModuleNotFoundError) else None
    if absent and f"{plugin}.".startswith(f"{absent}."):
        return missing(plugin)
    last = traceback.extract_tb(error.__traceback__)[-1]
    advice = (
        f"Install the package {absent.partition('.')[0]}, which it needs"
        if absent
        else "Mend it, or leave it out"
    )
    return UsageError(
        f"{_named(plugin)}: cannot be imported: {type(error).__name__}: {error} "
        f"({last.filename}, line {last.lineno}). {advice}."
    )


def _named(plugin: str) -> str:
    distribution = installed().get(plugin)
    return f"plugins: {plugin}" + (f" (of the package {distribution})" if distribution else "")
