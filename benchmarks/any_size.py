"""Seconds and memory of `denoise predict` on a large photograph, the start of the process included.

    python -m benchmarks.any_size

The models are untrained: what they compute takes as long.
"""

from __future__ import annotations

import dataclasses
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import numpy as np

_NOISE = 25


@dataclasses.dataclass(frozen=True)
class Case:
    """A model and a picture."""

    model: str
    shape: tuple[int, int, int]
    """(H, W, C) of the images it was trained on."""
    height: int
    width: int


CASES = (
    Case("photo_unet", (64, 64, 3), 3000, 4000),
    Case("photo_unet", (64, 64, 1), 3000, 4000),
    Case("unet", (28, 28, 1), 1000, 1000),
)


def export(case: Case, folder: pathlib.Path) -> None:
    """Writes the model, of any size where it can be, as a SavedModel."""
    from components import models
    from components.export.signatures import export_servable

    any_size = models.MODELS[case.model].any_size
    shape = (None, None, case.shape[-1]) if any_size else case.shape
    pixels = np.zeros((2, int(np.prod(case.shape))), np.uint8)
    export_servable(models.build(case.model, shape), folder / "1", case.shape, pixels)


def photograph(case: Case, path: pathlib.Path) -> None:
    """Writes smooth colours with Gaussian noise as a PNG."""
    from PIL import Image

    random = np.random.default_rng(0)
    colours = Image.fromarray(random.integers(0, 256, (60, 80, 3), np.uint8))
    size = (case.width, case.height)
    values = np.asarray(colours.resize(size, Image.Resampling.BICUBIC), np.float32)
    values = values + random.normal(0, _NOISE, values.shape).astype(np.float32)
    Image.fromarray(np.clip(values, 0, 255).astype(np.uint8)).save(path, compress_level=1)


def main() -> None:
    """Prints a row for each case."""
    print("| model | picture | seconds | processor seconds | peak memory |\n|---|---|---|---|---|")
    for case in CASES:
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            code = "import sys, benchmarks.any_size as b; b.prepare(int(sys.argv[1]), sys.argv[2])"
            number = str(CASES.index(case))
            subprocess.run([sys.executable, "-c", code, number, name], check=True)
            arguments = [folder / "photo.png", "-o", folder / "clean", "--model", folder / "model"]
            arguments += ["--workspace", folder / "workspace"]
            measured = subprocess.run(
                [sys.executable, "-m", "benchmarks.any_size", *map(str, arguments)],
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            seconds, processor, peak = measured.stdout.split()[-3:]
        picture = f"{case.width}x{case.height} in colour"
        model = f"{case.model}, {'colour' if case.shape[-1] == 3 else 'grey'}"
        print(f"| {model} | {picture} | {seconds} | {processor} | {peak} MiB |", flush=True)


def prepare(number: int, folder: str) -> None:
    """Writes the model and the picture of a case, in a process of its own."""
    export(CASES[number], pathlib.Path(folder, "model"))
    photograph(CASES[number], pathlib.Path(folder, "photo.png"))


def measure(arguments: list[str]) -> None:
    """Runs `denoise predict`; prints its seconds, its processor seconds and its peak in MiB."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "pipeline.cli", "predict", *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - started
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{seconds:.1f} {used.ru_utime + used.ru_stime:.1f} {used.ru_maxrss // 1024:,}")


if __name__ == "__main__":
    measure(sys.argv[1:]) if sys.argv[1:] else main()
