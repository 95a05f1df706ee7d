"""`denoise evaluate`: the Evaluator's figures for any SavedModel and data folder, without a run."""

from __future__ import annotations

import contextlib
import itertools
import pathlib
from typing import TYPE_CHECKING

from components.base.errors import ModelError, UsageError
from pipeline.commands import options
from pipeline.commands.session import answer, data_source, session
from pipeline.commands.version import require
from pipeline.workspace import Workspace

if TYPE_CHECKING:
    import numpy as np

    from components.base.settings import Settings
    from pipeline.history.summary import Metrics


def evaluate(
    model: options.Model = None,
    pretrained: options.Pretrained = None,
    data: options.Data = None,
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Measure any SavedModel on the test images of a data folder.

    Example: `denoise evaluate --model workspace/serving/denoiser/1700000000 --data my_images`.
    """
    from pipeline import config

    require("tfx")
    settings = config.load(preset, set_ or [])
    place = Workspace(workspace)
    with session(place.logs, "evaluate", verbose) as (out, _, steps):
        from components.push.versions import pushed_model
        from pipeline.history import summary

        with steps.step("evaluate"), contextlib.ExitStack() as stack:
            settings, folder = data_source(settings, data, workspace)
            if pretrained is not None:
                if model is not None:
                    raise UsageError("--pretrained: not with --model.")
                from components.pretrained import kept

                versions = stack.enter_context(kept.servable(kept.find(pretrained)))
                model = pushed_model(versions)
            saved_model = model or pushed_model(place.serving)
            figures = measured(str(saved_model), folder, settings)
        shown = [row for row in figures if row.label == summary.ALL]
        answer(
            figures,
            as_json,
            out,
            show=lambda console: console.print(summary.metrics_table(shown, str(saved_model))),
        )


def measured(saved_model: str, folder: pathlib.Path, settings: Settings) -> list[Metrics]:
    """Measures a SavedModel on every noise of `noise.evaluation` and every test image.

    Args:
      saved_model: A folder with a `serving_default` that answers `image` with `denoised`.
      folder: A data folder; `test` is read.
      settings: Of the folder; `image`, `data`, `noise`, `plugins` and `evaluation.batch_size`
        count.

    Returns:
      By noise and label, and for all of either; the same figures a run's Evaluator gives.

    Raises:
      DataError: the data cannot be read.
      ModelError: the model cannot be loaded or takes other images.
      UsageError: a plug-in or a noise is not one.
    """
    import numpy as np

    from components.base import plugins, progress
    from components.evaluation.measure import FIGURES, Measurement, load_denoiser, sums
    from components.image.pixels import normalise
    from components.ingestion.formats import rows
    from pipeline.history.summary import ALL, Metrics

    plugins.load(settings.plugins)
    denoise = load_denoiser(saved_model)
    measurement = Measurement(settings.noise.evaluation, settings.noise.seed)
    totals: dict[tuple[str, str], np.ndarray] = {}
    done = 0
    batch = settings.evaluation.batch_size
    for labels, pixels, keys, noisy in rows(folder, "test", settings):
        for start in range(0, len(labels), batch):
            part = slice(start, start + batch)
            clean = np.asarray(normalise(pixels[part], settings.image.shape))
            given = None
            if noisy is not None:
                given = np.asarray(normalise(noisy[part], settings.image.shape))
            try:
                measured = list(measurement({"": denoise}, clean, keys[part], given))
            except (ValueError, TypeError) as error:
                raise ModelError(
                    f"{saved_model}: does not take images of shape {settings.image.shape} "
                    f"(--set image.height=… to give another): {error}"
                ) from error
            for noise, _, results in measured:
                for label, vector in sums(labels[part], results[""]).items():
                    by_label = [str(label)] if settings.data.classes else []
                    for key in itertools.product((noise, ALL), (*by_label, ALL)):
                        totals[key] = totals.get(key, 0.0) + vector
            done += len(clean)
            progress.tell("evaluate", done, None, f"{done:,} images")
    return [
        Metrics(
            noise=noise,
            label=label,
            images=int(vector[-1]),
            **dict(zip(FIGURES, (vector[:-1] / vector[-1]).tolist(), strict=True)),
        )
        for (noise, label), vector in sorted(totals.items())
    ]
