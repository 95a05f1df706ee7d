"""The benchmark's figures, drawn as the report's are."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from components.page.figures import (
    BASELINE,
    DENOISED,
    INK,
    MUTED,
    NOISY,
    STYLE,
    Plot,
    finished,
    new_axes,
)
from pipeline.benchmark.contents import Benchmark, Curve, Kind

COLOURS: dict[Kind, str] = {
    "model": DENOISED,
    "filter": NOISY,
    "linear": BASELINE,
    "noisy": MUTED,
}
KINDS: dict[Kind, str] = {
    "model": "model",
    "filter": "classical filter",
    "linear": "linear map",
    "noisy": "noisy input",
}


def plots(found: Benchmark) -> dict[str, list[Plot]]:
    """All figures, by the section of the page they are in."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        return {
            "bars": list(_bars(found)),
            "robustness": [
                _curve(found, number, curve) for number, curve in enumerate(found.robustness, 1)
            ],
        }


def _bars(found: Benchmark) -> Iterator[Plot]:
    for number, noise in enumerate(found.noises, 1):
        ranked = found.ranked(noise)
        names = [found.method(result.method).title for result in ranked]
        kinds = [found.method(result.method).kind for result in ranked]
        values = [result.total.psnr for result in ranked]
        figure, axes = new_axes((4.6, 0.9 + 0.24 * len(ranked)))
        y = np.arange(len(ranked))
        axes.barh(y, values, color=[COLOURS[kind] for kind in kinds], height=0.68)
        for at, value in zip(y, values, strict=True):
            axes.text(value + 0.2, at, f"{value:.1f}", va="center", fontsize=8, color=INK)
        axes.set_yticks(y, names, fontsize=8.5)
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.invert_yaxis()
        axes.set_xlim(0, 1.12 * max(values))
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("mean PSNR, dB")
        best = {kind: found.best(kind, noise) for kind in KINDS}
        yield finished(
            figure,
            f"psnr-{number}",
            noise,
            f"Mean PSNR under {noise}. "
            + " ".join(
                f"Best {KINDS[kind]}: {found.method(result.method).title}, "
                f"{result.total.psnr:.1f} dB."
                if kind in ("model", "filter")
                else f"{found.method(result.method).title.capitalize()}: "
                f"{result.total.psnr:.1f} dB."
                for kind, result in best.items()
                if result is not None
            ),
        )


def _curve(found: Benchmark, number: int, curve: Curve) -> Plot:
    figure, axes = new_axes()
    severities = [point.severity for point in curve.points]
    for method, line in curve.lines.items():
        kind = found.method(method).kind
        specialist = found.method(method).specialist_for is not None
        axes.plot(
            severities,
            [point.psnr[method] for point in curve.points],
            color=COLOURS[kind],
            linestyle="--" if specialist else "-",
            marker="o",
            label=line.partition(",")[0] if kind == "filter" else line.partition(" for ")[0],
        )
    axes.set_xlabel(curve.axis, fontsize=8.5, wrap=True)
    axes.set_ylabel("mean PSNR, dB")
    axes.legend(fontsize=8)
    ends = [
        f"{line}: {curve.points[0].psnr[method]:.1f} to {curve.points[-1].psnr[method]:.1f} dB."
        for method, line in curve.lines.items()
    ]
    return finished(
        figure,
        f"robustness-{number}",
        curve.noise,
        f"Mean PSNR of {curve.images:,} test images from {curve.points[0].noise} to "
        f"{curve.points[-1].noise}. " + " ".join(ends),
    )
