"""Recipes beside each other: the seconds of training, and what each reaches.

    python -m benchmarks.training --data DIR [--compare default] [--only RECIPE …] [--seeds 1 2 3]

Each recipe of a comparison is trained in turn, in a fresh process, on the very images of the
pipeline, and measured on the test images; its curve is that of the validation images. CPU-seconds
are what a busy machine changes least. `--precision` is float32 or mixed_bfloat16: on a CPU the
pipeline takes whichever is faster.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import rich.box
import rich.console
import rich.table

from benchmarks import measured
from components.base.files import write_json
from pipeline import config

_OURS = "training={optimizer: muon, learning_rate: 2.0e-2, schedule: cosine, batch_size: 64, \
warmup_fraction: 0.03, clip_norm: 1.0, noise: fresh, loss: mse}"
_BEFORE = [
    "training={epochs: 8, steps_per_epoch: null, optimizer: adam, learning_rate: 6.0e-3, "
    "schedule: cosine, batch_size: 64, warmup_fraction: 0.03, clip_norm: 1.0, noise: fresh, "
    "loss: log_mse}",
    "model.arguments={limits: false}",
    "noise.training=mixture(salt_pepper(rate=0.1), gaussian(sd=0.5), "
    "gaussian(sd=0.2) + salt_pepper(rate=0.05))",
]

COMPARISONS: dict[str, dict[str, tuple[str, list[str]]]] = {
    "default": {
        "default": ("default", []),
        "without weight decay": ("default", ["training.weight_decay=null"]),
        "the one before": ("default", _BEFORE),
    },
    "windsor_cae": {
        "as published": ("windsor_cae", []),
        "this project's": ("windsor_cae", [_OURS, "training.epochs=8"]),
    },
    "windsor_cnn": {
        "as published": ("windsor_cnn", []),
        "this project's": ("windsor_cnn", [_OURS, "training.epochs=8"]),
    },
}
"""Recipes by comparison and name: a preset, and what is set over it."""


def recipes(comparison: str, only: Sequence[str] = ()) -> dict[str, tuple[str, list[str]]]:
    """Those of a comparison, or the ones it has of some names; of another preset, that alone."""
    found = COMPARISONS.get(comparison, {comparison: (comparison, [])})
    return {name: found[name] for name in only or found}


def measure(
    compared: Mapping[str, tuple[str, list[str]]],
    folder: pathlib.Path,
    seeds: list[int],
    overrides: list[str],
    images: int | None = None,
    cpu_seconds: float | None = None,
) -> list[dict[str, Any]]:
    """Trains each recipe with each seed, in turn.

    Args:
      compared: As `recipes` gives them.
      folder: A data folder.
      seeds: Of weights, batches and noise.
      overrides: Set over every recipe.
      images: To take of each split; None: all.
      cpu_seconds: A training ends with the epoch that reaches them; None: never.

    Returns:
      What `subject.train` returns, with `recipe` and `seed`.
    """
    made = []
    for seed in seeds:
        for name, (preset, own) in compared.items():
            found = measured.call(
                "benchmarks.training.subject.train",
                preset=preset,
                overrides=[*own, *overrides, f"seed={seed}"],
                folder=str(folder),
                limit=images,
                cpu_seconds=cpu_seconds,
            )
            made.append({"recipe": name, "seed": seed, **found.result})
            print(summary(made[-1]), file=sys.stderr, flush=True)
    return made


def summary(training: dict[str, Any]) -> str:
    """A training in one line."""
    reached = ", ".join(
        f"{noise} {means['psnr']:.2f} dB, SSIM {means['ssim']:.3f}, MSE {means['mse']:.5f}"
        for noise, means in training["test"].items()
    )
    return (
        f"{training['recipe']}, seed {training['seed']}: {training['training_seconds']:.0f} s, "
        f"{training['training_cpu_seconds']:.0f} CPU-s: {reached}"
    )


def curves(trainings: list[dict[str, Any]]) -> rich.table.Table:
    """Every epoch of every training."""
    table = rich.table.Table(box=rich.box.MARKDOWN)
    for heading in ("recipe", "seed", "epoch", "CPU-s", "validation MSE", "PSNR, dB"):
        table.add_column(heading)
    for training in trainings:
        for point in training["curve"]:
            table.add_row(
                training["recipe"],
                str(training["seed"]),
                str(point["epoch"]),
                f"{point['cpu_seconds']:.0f}",
                f"{point['mse']:.5f}",
                f"{point['psnr']:.2f}",
            )
    return table


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=pathlib.Path, required=True, help="a data folder")
    parser.add_argument("--compare", choices=config.preset_names(), default="default")
    parser.add_argument("--only", metavar="RECIPE", nargs="+", default=[], help="of the comparison")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--precision", choices=("float32", "mixed_bfloat16"), default="float32")
    parser.add_argument("--epochs", type=int, help="of every recipe, in place of its own")
    parser.add_argument("--cpu-seconds", type=float, help="end with the epoch that reaches them")
    parser.add_argument("--images", type=int, help="to take of each split, for a quick look")
    parser.add_argument("--set", action="append", default=[], help="over every recipe")
    parser.add_argument("--output", type=pathlib.Path, help="a JSON file for the figures")
    given = parser.parse_args(arguments)
    overrides = [f"training.precision={given.precision}", *given.set]
    if given.epochs is not None:
        overrides.append(f"training.epochs={given.epochs}")
    known = recipes(given.compare)
    if unknown := [name for name in given.only if name not in known]:
        parser.error(f"--only is of {', '.join(known)}, was {', '.join(unknown)}")
    trainings = measure(
        recipes(given.compare, given.only),
        given.data,
        given.seeds,
        overrides,
        given.images,
        given.cpu_seconds,
    )
    if given.output:
        write_json(given.output, trainings)
    rich.console.Console().print(curves(trainings))
    for training in trainings:
        print(summary(training))
    return 0


if __name__ == "__main__":
    sys.exit(main())
