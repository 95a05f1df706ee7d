"""`denoise evaluate`: the Evaluator's figures for any SavedModel and data folder, without a run."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator

import numpy as np

from components.base import progress
from components.base.errors import ModelError
from components.base.settings import Settings
from pipeline.history.summary import ALL, Metrics
from pipeline.workspace import Workspace


def pushed_model(workspace: Workspace) -> pathlib.Path:
    """The newest pushed SavedModel.

    Raises:
      ModelError: none was pushed.
    """
    from components.push.versions import versions

    pushed = versions(workspace.serving)
    if not pushed:
        raise ModelError(
            f"{workspace.serving}: no model was pushed. Call `denoise run`, or give --model DIR."
        )
    return workspace.serving / pushed[-1].name


def rows(folder: pathlib.Path, split: str, settings: Settings) -> Iterator[tuple[np.ndarray, ...]]:
    """Labels int64 (n,), pixels uint8 (n, H*W*C) and keys int64 (n,) of a split, in blocks.

    Raises:
      DataError: a file is broken, or a row is bad; names it.
    """
    from components.csv_ingestion import examples, ingest, reader
    from components.csv_ingestion.data_folder import latest_span

    row = reader.RowFormat(settings.image.pixels, len(settings.data.classes))
    ranges, _ = ingest.plan(str(latest_span(folder)), {split: f"{split}/*.csv*"})
    for path, compressed in dict.fromkeys((part.path, part.compressed) for part in ranges):
        yield from examples.read_file(path, compressed, row)


def evaluate(saved_model: str, folder: pathlib.Path, settings: Settings) -> list[Metrics]:
    """Measures a SavedModel on every noise of `noise.evaluation` and every test image.

    Args:
      saved_model: A folder with a `serving_default` that answers `image` with `denoised`.
      folder: A data folder; `test` is read.
      settings: `image`, `data.classes`, `noise` and `evaluation.batch_size` count.

    Returns:
      By noise and label, and for all of either; the same figures a run's Evaluator gives.

    Raises:
      DataError: the data cannot be read.
      ModelError: the model cannot be loaded or takes other images.
    """
    from components.evaluation.measure import FIGURES, Measurement, load_denoiser, sums
    from components.image.pixels import normalise

    denoise = load_denoiser(saved_model)
    measurement = Measurement(settings.noise.evaluation, settings.noise.seed)
    totals: dict[tuple[str, str], np.ndarray] = {}
    done = 0
    batch = settings.evaluation.batch_size
    for labels, pixels, keys in rows(folder, "test", settings):
        for start in range(0, len(labels), batch):
            part = slice(start, start + batch)
            clean = np.asarray(normalise(pixels[part], settings.image.shape))
            try:
                measured = list(measurement({"": denoise}, clean, keys[part]))
            except (ValueError, TypeError) as error:
                raise ModelError(
                    f"{saved_model}: does not take images of shape {settings.image.shape} "
                    f"(--set image.height=… to give another): {error}"
                ) from error
            for noise, _, results in measured:
                for label, vector in sums(labels[part], results[""]).items():
                    for key in ((noise, str(label)), (noise, ALL), (ALL, str(label)), (ALL, ALL)):
                        totals[key] = totals.get(key, 0.0) + vector
            done += len(clean)
            progress.report("evaluate", done, None, f"{done:,} images")
    return [
        Metrics(
            noise=noise,
            label=label,
            images=int(vector[-1]),
            **dict(zip(FIGURES, (vector[:-1] / vector[-1]).tolist(), strict=True)),
        )
        for (noise, label), vector in sorted(totals.items())
    ]
