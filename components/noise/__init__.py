"""Noise: what is added to clean images, by name, from an explicit seed.

    noise = components.noise.parse("gaussian(sd=0.2) + salt_pepper(rate=0.05)")
    noise(images, training=True)                  # fresh noise, in a training step
    fixed_noise(noise, images, keys, seed=1)      # each image's own noise, for ever the same

Pixel values are in [0, 1] and stay there. One implementation in keras.ops serves both uses;
only the source of the random numbers differs (components/noise/draws.py).

A new noise is one file here with a `@register("name")` class; the parser, the command line,
the tests and the report then know it.
"""

from __future__ import annotations

import importlib
import pkgutil

from components.base import plugins
from components.noise.base import NOISES, Noise, Parameter, listing, register
from components.noise.draws import Draws, FreshDraws, KeyedDraws
from components.noise.expression import parse
from components.noise.fixed import assigned_noise, fixed_noise

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
plugins.load()

__all__ = [
    "NOISES",
    "Draws",
    "FreshDraws",
    "KeyedDraws",
    "Noise",
    "Parameter",
    "assigned_noise",
    "fixed_noise",
    "listing",
    "parse",
    "register",
]
