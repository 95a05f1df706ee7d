"""Puts the benchmark into one page."""

from __future__ import annotations

import pathlib
from typing import Any

from components.base.settings import GIVEN
from components.page.figures import Plot
from components.page.template import environment, made, style
from pipeline.benchmark.contents import ALL, Benchmark, Method, Result, Tuning
from pipeline.benchmark.plots import KINDS

_FOLDER = pathlib.Path(__file__).parent


def sentence(found: Benchmark) -> str:
    """The outcome in a sentence, with its key figures."""
    best = found.overall()[0]
    noises = f"{len(found.noises)} noises" if len(found.noises) > 1 else found.noises[0]
    if found.noises == [GIVEN]:
        noises = "the noise that the images were given with"
    told = (
        f"{best.title} is best over {noises}: {found.mean_psnr(best.name):.1f} dB on average "
        f"over {found.images:,} test images"
    )
    others = [method for method in found.overall() if method.kind in ("filter", "linear")]
    if others and others[0].name != best.name:
        told += (
            f", {found.mean_psnr(best.name) - found.mean_psnr(others[0].name):.1f} dB more than "
            f"{others[0].title}, the best that is no neural network"
        )
    return f"{told}."


def pictured(found: Benchmark, noise: str) -> list[tuple[str, Result]]:
    """The strips to show under a noise, each with what it is: noisy, best filter, ridge, models."""
    chosen = [found.best(kind, noise) for kind in ("noisy", "filter", "linear")]
    models = [
        result for result in found.ranked(noise) if found.method(result.method).kind == "model"
    ]
    shown = [result for result in chosen if result is not None]
    return [(found.method(result.method).title, result) for result in [*shown, *reversed(models)]]


def tuned(found: Benchmark) -> list[tuple[Method, list[tuple[str, Tuning]]]]:
    """The methods whose parameters were found on training images, and what was found."""
    rows = []
    for method in found.methods:
        tunings = [(noise, found.result(method.name, noise).tuning) for noise in found.noises]
        known = [(noise, tuning) for noise, tuning in tunings if tuning is not None]
        if known:
            rows.append((method, known))
    return rows


def render(found: Benchmark, figures: dict[str, list[Plot]]) -> str:
    """The page.

    Args:
      found: What it says.
      figures: By section.
    """
    template = environment(_FOLDER).get_template("benchmark.html.j2")
    values: dict[str, Any] = {
        "ALL": ALL,
        "b": found,
        "KINDS": KINDS,
        "sentence": sentence(found),
        "pictured": pictured,
        "tuned": tuned(found),
        "figures": figures,
        "style": style(),
        "made": made(),
    }
    return template.render(**values)
