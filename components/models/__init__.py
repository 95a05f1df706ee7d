"""Models: every architecture by name, ours and those of the systems this project replaces.

    model = components.models.build("unet", (28, 28, 1))
    denoised = model(noisy)          # float32 (N, 28, 28, 1), from values in [0, 1]

A model maps noisy float32 (N, H, W, C) images in [0, 1] to denoised float32 ones of the same
shape; with a linear last layer they may lie a little outside [0, 1], and are clipped where they
are used. Pure Keras 3: the same code runs on every backend, and in mixed precision, where the
last layer stays float32.

A new architecture is one file here with a `@register("name", ...)` function; the command line,
the tests and the benchmark then know it.
"""

from __future__ import annotations

import importlib
import pkgutil

from components.base import plugins
from components.models.base import MODELS, Architecture, build, encoder, listing, register

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
plugins.load()

__all__ = ["MODELS", "Architecture", "build", "encoder", "listing", "register"]
