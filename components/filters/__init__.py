"""Filters: what a denoiser has to be better than, without learning or with little of it.

    filter_ = components.filters.FILTERS["median"]
    filter_(noisy, size=3)                       # float32 (N, H, W, C) in [0, 1], as a model

`best_parameters` picks a filter's parameters on training images, with a tone curve (`tone_curve`)
where that is better; `ridge` is the best linear map.

A new filter is one file here with a `@register("name")` class; the benchmark then knows it.
Light on purpose, no TensorFlow: worker processes import it.
"""

from __future__ import annotations

import importlib
import pkgutil

from components.base import plugins
from components.filters.base import FILTERS, Filter, register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
plugins.load()

__all__ = ["FILTERS", "Filter", "register"]
