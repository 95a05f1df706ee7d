"""A Keras model for photographs beside BM3D, on the same noisy photographs in one run.

    python -m benchmarks.photo photo_grey.keras [--data photographs/test] [--crop 256]
        [--deviations 15 25 50] [--seed 20171] [--filters] [--output FOLDER]
        [--pictures astronaut coffee]

The model is measured as it is and as `denoise predict --ensemble` uses it.
What `denoise benchmark` has of photographs (pipeline/benchmark/photographs.py), for a model that
no run has trained and no card is of. BM3D is the authors' package bm3d, an extra that nothing
installs by itself: `pip install denoise-pipeline[bm3d]`, Python 3.11 and later. Writes photo.json
and prints a table; what is measured is kept beside it. before_after.png shows the photographs named
with the strongest noise: noisy, denoised, clean.
"""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.console

from components.base.errors import DenoiseError, UsageError
from components.base.files import write_json
from components.base.settings import NoiseSettings
from components.image import png
from components.pretrained.kept import sha256
from pipeline.benchmark import filters, photographs, tables, workers
from pipeline.benchmark.contents import BM3D
from pipeline.benchmark.findings import Findings
from pipeline.benchmark.images import NoisyImages
from pipeline.benchmark.subject import Subject

RESULT_FILE = "photo.json"
PICTURE_FILE = "before_after.png"
_GAP = 8


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures and prints; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.photo",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=pathlib.Path, help="a .keras file")
    parser.add_argument("--data", type=pathlib.Path, help="default: those of the benchmark")
    parser.add_argument(
        "--crop", type=int, default=photographs.SIZE, help="side of what is measured"
    )
    parser.add_argument("--deviations", type=float, nargs="+", default=photographs.DEVIATIONS)
    parser.add_argument("--seed", type=int, default=NoiseSettings().seed)
    parser.add_argument("--filters", action="store_true", help="the other filters, too")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("."))
    parser.add_argument("--pictures", nargs="+", default=[], metavar="NAME")
    given = parser.parse_args(arguments)
    try:
        model = _model(given.model)
        files = photographs.files_in(given.data) if given.data else photographs.shipped_files()[0]
        noises = [photographs.noise_of(deviation) for deviation in given.deviations]
        subject = photographs.read(files, model.input_shape[-1], noises, given.seed, given.crop)
        contenders = photographs.contenders(
            given.model.stem, {"file": sha256(given.model)}, lambda: model
        )
        pictured = _pictures(subject, given.pictures, model) if given.pictures else None
        names = [name for name in filters.available() if given.filters or name == BM3D]
        if BM3D not in names:
            print("BM3D: the package bm3d is not installed", file=sys.stderr)
        findings = Findings(given.output / "results")
        with workers.workers() as pool:
            found = photographs.measured(subject, contenders, findings, pool, names)
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return 1
    if pictured is not None:
        (given.output / PICTURE_FILE).write_bytes(png.encoded(pictured))
    write_json(given.output / RESULT_FILE, found.model_dump(mode="json"))
    rich.console.Console().print(tables.photograph_table(found))
    return 0


def _pictures(subject: Subject, names: Sequence[str], model: Any) -> np.ndarray:
    """A row of each photograph, noisy, denoised and clean: uint8 RGBA (H, W, 4)."""
    known = subject.settings.data.classes
    for name in names:
        if name not in known:
            raise UsageError(f"--pictures {name}: expected some of {', '.join(known)}.")
    noise = subject.noises[-1]
    images = NoisyImages(subject.test, [noise], subject.settings.noise.seed, 1)
    place = {label: at for at, label in enumerate(subject.test.labels)}
    rows = []
    for name in names:
        at = place[known.index(name)]
        noisy, clean = images.noisy(noise)[at : at + 1], images.clean[at : at + 1]
        tiles = [png.rgba(kind[0]) for kind in (noisy, model.predict_on_batch(noisy), clean)]
        padded = [np.pad(tile, ((0, _GAP), (0, _GAP), (0, 0))) for tile in tiles]
        rows.append(np.concatenate(padded, axis=1))
    return np.concatenate(rows)[:-_GAP, :-_GAP]


def _model(file: pathlib.Path) -> Any:
    import keras

    import components.models  # noqa: F401  (registers the layers of our own)

    return keras.saving.load_model(file, compile=False)


if __name__ == "__main__":
    sys.exit(main())
