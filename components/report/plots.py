"""The report's figures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

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
from components.report.contents import Contents


def plots(contents: Contents) -> dict[str, list[Plot]]:
    """All figures, by the section of the page they are in."""
    import matplotlib

    with matplotlib.rc_context(STYLE):
        return {
            "training": list(_curves(contents)),
            "distribution": list(_histograms(contents)),
            "classes": list(_classes(contents)),
            "pixels": list(_pixel_values(contents)),
        }


def _curves(contents: Contents) -> Iterator[Plot]:
    history = contents.history
    epochs = np.arange(1, len(history) + 1)
    loss = contents.settings["training"]["loss"]
    for column, name, title, unit in (
        ("loss", "loss", f"Loss ({loss})", ""),
        ("psnr", "psnr", "PSNR", " dB"),
    ):
        figure, axes = new_axes()
        for key, label, colour in (
            (column, "training", NOISY),
            (f"val_{column}", "validation", DENOISED),
        ):
            values = [row.get(key, np.nan) for row in history]
            marker = "o" if len(history) < 30 else None
            axes.plot(epochs, values, color=colour, marker=marker, label=label)
        _epoch_axis(axes, epochs)
        axes.set_ylabel(f"{column.upper() if unit else column}{', dB' if unit else ''}")
        axes.legend()
        last = history[-1]
        yield finished(
            figure,
            f"training-{name}",
            title,
            f"{title} by epoch. After epoch {len(history)}: training "
            f"{last.get(column, float('nan')):.3f}{unit}, validation "
            f"{last.get(f'val_{column}', float('nan')):.3f}{unit}.",
        )
    if contents.learning_rate:
        figure, axes = new_axes()
        schedule = np.array(contents.learning_rate)
        axes.plot(*schedule.T, color=DENOISED)
        axes.set_ylim(bottom=0)
        axes.set_xlabel("epochs done")
        axes.set_ylabel("learning rate")
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-2, 3))
        peak = schedule[np.argmax(schedule[:, 1])]
        yield finished(
            figure,
            "training-learning-rate",
            "Learning rate",
            f"Learning rate, {contents.settings['training']['schedule']} schedule: at most "
            f"{peak[1]:.2g}, after {peak[0]:.4g} epochs; {schedule[-1, 1]:.2g} at the end.",
        )


def _epoch_axis(axes: Any, epochs: np.ndarray) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8, min_n_ticks=1))
    if len(epochs) == 1:
        axes.set_xlim(0.5, 1.5)


def _histograms(contents: Contents) -> Iterator[Plot]:
    for number, distribution in enumerate(contents.distributions, start=1):
        figure, axes = new_axes()
        edges = np.array(distribution.edges)
        for name, counts, quantiles, colour in (
            ("noisy", distribution.noisy, distribution.noisy_quantiles, NOISY),
            ("denoised", distribution.denoised, distribution.denoised_quantiles, DENOISED),
        ):
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.35)
            axes.stairs(counts, edges, color=colour, label=name, linewidth=1.4)
            axes.axvline(quantiles["50"], color=colour, linestyle="--", linewidth=1)
        axes.set_xlabel("PSNR of one image, dB")
        axes.set_ylabel("test images")
        axes.grid(axis="x", visible=False)
        axes.legend()
        after, before = distribution.denoised_quantiles, distribution.noisy_quantiles
        yield finished(
            figure,
            f"psnr-histogram-{number}",
            distribution.noise,
            f"Histogram of per-image PSNR under {distribution.noise}. Median noisy "
            f"{before['50']:.1f} dB, denoised {after['50']:.1f} dB; 5 % of the denoised images "
            f"are below {after['5']:.1f} dB, 5 % above {after['95']:.1f} dB.",
        )


def _classes(contents: Contents) -> Iterator[Plot]:
    labels = contents.labels
    if not labels:
        return
    names = [contents.class_name(label) for label in labels]
    for number, noise in enumerate(contents.noises, start=1):
        rows = [contents.row(noise, label) for label in labels]
        figure, axes = new_axes((4.6, max(2.0, 0.8 + 0.25 * len(rows))))
        y = np.arange(len(rows))
        noisy = [row.noisy["psnr"] for row in rows]
        denoised = [row.denoised["psnr"] for row in rows]
        axes.hlines(y, noisy, denoised, color=MUTED, linewidth=1)
        axes.scatter(noisy, y, color=NOISY, s=22, label="noisy", zorder=3)
        before = [
            (row.baseline["psnr"], at) for at, row in zip(y, rows, strict=True) if row.baseline
        ]
        if before:
            axes.scatter(
                *zip(*before, strict=True),
                color=BASELINE,
                marker="|",
                s=60,
                label="pushed before",
                zorder=3,
            )
        axes.scatter(denoised, y, color=DENOISED, s=22, label="denoised", zorder=3)
        axes.set_yticks(y, names)
        axes.tick_params(axis="y", colors=INK, length=0)
        axes.invert_yaxis()
        axes.grid(axis="y", visible=False)
        axes.set_xlabel("mean PSNR, dB")
        figure.legend(loc="outside upper right", ncols=3, fontsize=8.5)
        best, worst = int(np.argmax(denoised)), int(np.argmin(denoised))
        yield finished(
            figure,
            f"classes-{number}",
            noise,
            f"Mean PSNR by class under {noise}, noisy and denoised. Denoised best: "
            f"{names[best]}, {denoised[best]:.1f} dB; worst: {names[worst]}, "
            f"{denoised[worst]:.1f} dB.",
        )


def _pixel_values(contents: Contents) -> Iterator[Plot]:
    splits = [
        (split.split, split.features["image"])
        for split in contents.statistics
        if split.split in ("train", "test") and split.features["image"].histogram
    ]
    if splits:
        figure, axes = new_axes()
        for (name, feature), colour in zip(splits, (DENOISED, NOISY), strict=False):
            _shares(axes, feature, name, colour)
        axes.set_xlabel("pixel value")
        axes.set_ylabel("% of values")
        axes.legend()
        yield finished(
            figure,
            "pixels-splits",
            "Pixel values, train and test",
            "Histogram of the pixel values. "
            + " ".join(
                f"{name}: mean {feature.mean:.1f}, {100 * (feature.zeros or 0):.1f} % are 0."
                for name, feature in splits
            ),
        )
    transformed = contents.transformed
    if transformed and {"clean", "noisy"} <= transformed.features.keys():
        figure, axes = new_axes()
        for name, colour in (("clean", DENOISED), ("noisy", NOISY)):
            _shares(axes, transformed.features[name], name, colour)
        axes.set_xlabel("pixel value after Transform")
        axes.set_ylabel("% of values")
        axes.legend()
        yield finished(
            figure,
            "pixels-transformed",
            "Transformed pixels, clean and noisy",
            "Histogram of the pixel values after Transform. "
            + " ".join(
                f"{name}: mean {transformed.features[name].mean:.3f}, standard deviation "
                f"{transformed.features[name].sd:.3f}."
                for name in ("clean", "noisy")
            ),
        )


def _shares(axes: Any, feature: Any, name: str, colour: str) -> None:
    counts = np.array(feature.histogram)
    shares = 100 * counts / counts.sum()
    axes.stairs(shares, feature.edges, fill=True, color=colour, alpha=0.25)
    axes.stairs(shares, feature.edges, color=colour, label=name, linewidth=1.4)
