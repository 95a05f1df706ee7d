"""A model for photographs beside BM3D, on the same noisy photographs in one run.

    python -m benchmarks.photo photo_grey.keras [--data photographs/test] [--crop 256]
        [--deviations 15 25 50] [--seed 0] [--output FOLDER]

The middle of each photograph gets Gaussian noise, the same at every call, and is clipped to what
a file can hold. BM3D is told the standard deviation, the model is not. BM3D is the authors' package
bm3d, an extra that nothing installs by itself: `pip install denoise-pipeline[bm3d]`, Python 3.11
and later. Writes photo.json and prints a table.
"""

from __future__ import annotations

import argparse
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import rich.box
import rich.console
import rich.table

from components.base.errors import DataError, DenoiseError, UsageError
from components.base.files import write_json

RESULT_FILE = "photo.json"
MODEL, BM3D = "model", "bm3d"
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}

Denoise = Callable[[np.ndarray, float], np.ndarray]
"""Noisy float32 (1, H, W, C) in [0, 1] and the standard deviation to denoised, the same shape."""


def crops(folder: pathlib.Path, size: int, channels: int) -> dict[str, np.ndarray]:
    """The middle of each photograph, by the file's name: float32 (1, size, size, C) in [0, 1].

    Raises:
      DataError: there is none in the folder, or one is smaller.
    """
    from PIL import Image

    found = {}
    for file in sorted(folder.iterdir() if folder.is_dir() else ()):
        if file.suffix.lower() not in _SUFFIXES:
            continue
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("L" if channels == 1 else "RGB"), np.float32)
        height, width = pixels.shape[:2]
        if min(height, width) < size:
            raise DataError(f"{file} has {height}x{width} pixels; {size}x{size} are measured.")
        top, left = (height - size) // 2, (width - size) // 2
        middle = pixels[top : top + size, left : left + size]
        found[file.stem] = middle.reshape(1, size, size, channels) / 255
    if not found:
        raise DataError(
            f"{folder} holds no photographs. `denoise data --photographs DIR` brings some, those "
            "to test with to DIR/test."
        )
    return found


def corrupt(clean: np.ndarray, deviation: float, seed: int) -> np.ndarray:
    """Adds Gaussian noise, the same for the same seed, and clips to [0, 1]."""
    noise = np.random.default_rng(seed).normal(0.0, deviation, clean.shape)
    return np.clip(clean + noise, 0.0, 1.0).astype(np.float32)


def measure(
    photographs: Mapping[str, np.ndarray],
    methods: Mapping[str, Denoise],
    deviations: Sequence[float],
    seed: int = 0,
) -> list[dict[str, Any]]:
    """PSNR, SSIM and seconds of each method on each photograph.

    Args:
      photographs: Clean ones, float32 (1, H, W, C) in [0, 1].
      methods: By name; each is called once before it is timed.
      deviations: Of the noise, in grey levels of 255.
      seed: Of the noise; each photograph and deviation has its own.

    Returns:
      A row for each: photograph, deviation, method, psnr, ssim, seconds, cpu_seconds. The method
      `noisy` is the input.
    """
    from components.image import metrics

    rows: list[dict[str, Any]] = []
    for method in methods.values():
        method(next(iter(photographs.values())), deviations[0] / 255)
    for deviation in deviations:
        for number, (name, clean) in enumerate(photographs.items()):
            noisy = corrupt(clean, deviation / 255, seed + 1000 * number + round(deviation))
            for method, denoise in {"noisy": lambda image, _: image, **methods}.items():
                started, cpu_started = time.perf_counter(), time.process_time()
                denoised = np.clip(denoise(noisy, deviation / 255), 0.0, 1.0)
                seconds = time.perf_counter() - started
                rows.append(
                    {
                        "photograph": name,
                        "deviation": deviation,
                        "method": method,
                        "psnr": float(metrics.psnr(clean, denoised)[0]),
                        "ssim": float(metrics.ssim(clean, denoised)[0]),
                        "seconds": seconds,
                        "cpu_seconds": time.process_time() - cpu_started,
                    }
                )
            print(f"sd {deviation:g}, {name}", file=sys.stderr, flush=True)
    return rows


def summary(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """By deviation: means of each method, and how the model's PSNR differs from BM3D's."""
    summed = []
    for deviation in dict.fromkeys(row["deviation"] for row in rows):
        here = [row for row in rows if row["deviation"] == deviation]
        methods: dict[str, list[Mapping[str, Any]]] = {}
        for row in here:
            methods.setdefault(row["method"], []).append(row)
        line: dict[str, Any] = {"deviation": deviation, "methods": {}}
        for name, own in methods.items():
            line["methods"][name] = {
                **{key: statistics.mean(row[key] for row in own) for key in ("psnr", "ssim")},
                **{
                    key: statistics.median(row[key] for row in own)
                    for key in ("seconds", "cpu_seconds")
                },
            }
        if BM3D in methods:
            gains = [
                ours["psnr"] - theirs["psnr"]
                for ours, theirs in zip(methods[MODEL], methods[BM3D], strict=True)
            ]
            line |= {
                "mean_gain": statistics.mean(gains),
                "median_gain": statistics.median(gains),
                "better": sum(gain > 0 for gain in gains),
                "photographs": len(gains),
            }
        summed.append(line)
    return summed


def table(lines: Sequence[Mapping[str, Any]]) -> rich.table.Table:
    """The summary for people."""
    made = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    methods = list(lines[0]["methods"])
    made.add_column("sd", justify="right")
    for name in methods:
        made.add_column(f"{name}, dB (SSIM)", justify="right", no_wrap=True)
    for column in ("gain, dB: mean, median", "better in", "CPU s of a photograph"):
        made.add_column(column, justify="right")
    for line in lines:
        values = [line["methods"][name] for name in methods]
        seconds = [f"{value['cpu_seconds']:.2f}" for value in values[1:]]
        compared = "mean_gain" in line
        made.add_row(
            f"{line['deviation']:g}",
            *(f"{value['psnr']:.2f} ({value['ssim']:.3f})" for value in values),
            f"{line['mean_gain']:+.2f}, {line['median_gain']:+.2f}" if compared else "",
            f"{line['better']} of {line['photographs']}" if compared else "",
            ", ".join(seconds),
        )
    return made


def _model(file: pathlib.Path) -> tuple[Denoise, int]:
    """A Keras file's model, and the channels it takes."""
    import keras

    import components.models  # noqa: F401  (registers the layers of our own)

    model = keras.saving.load_model(file, compile=False)

    def denoise(noisy: np.ndarray, _: float) -> np.ndarray:
        return np.asarray(model.predict_on_batch(noisy))

    return denoise, model.input_shape[-1]


def _bm3d() -> Denoise:
    import importlib.util

    from components.filters import FILTERS

    if importlib.util.find_spec("bm3d") is None:
        raise UsageError(
            "The package bm3d is not installed: pip install bm3d, in an environment with Python "
            "3.11 or later. Its licence is for non-commercial use. --without-bm3d leaves it out."
        )

    def denoise(noisy: np.ndarray, deviation: float) -> np.ndarray:
        return FILTERS["bm3d"](noisy, sigma=deviation)

    return denoise


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=pathlib.Path, help="a .keras file")
    parser.add_argument("--data", type=pathlib.Path, default=pathlib.Path("photographs/test"))
    parser.add_argument("--crop", type=int, default=256, help="side of what is measured")
    parser.add_argument("--deviations", type=float, nargs="+", default=[15, 25, 50])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without-bm3d", action="store_true")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("."))
    given = parser.parse_args(arguments)
    try:
        denoise, channels = _model(given.model)
        methods = {MODEL: denoise}
        if not given.without_bm3d:
            methods[BM3D] = _bm3d()
        photographs = crops(given.data, given.crop, channels)
        rows = measure(photographs, methods, given.deviations, given.seed)
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return 1
    lines = summary(rows)
    given.output.mkdir(parents=True, exist_ok=True)
    write_json(given.output / RESULT_FILE, {"summary": lines, "rows": rows})
    rich.console.Console().print(table(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
