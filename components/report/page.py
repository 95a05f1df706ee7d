"""Puts contents, pictures and figures into the page."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Sequence

from components.base import yaml_text
from components.evaluation.result import SMALLER_IS_BETTER
from components.page.figures import Plot
from components.page.template import environment, made, style
from components.report import pictures
from components.report.contents import ALL, Contents, MetricsRow, Picture
from components.report.result import StepTime

_FOLDER = pathlib.Path(__file__).parent
_RUN = re.compile(r"<!--run-->.*?<!--/run-->", re.DOTALL)


def sentence(contents: Contents) -> str:
    """The outcome, in one sentence with its key figures."""
    row = contents.row()
    measured = (
        f"mean PSNR {row.noisy['psnr']:.1f} → {row.denoised['psnr']:.1f} dB, "
        f"SSIM {row.noisy['ssim']:.3f} → {row.denoised['ssim']:.3f} "
        f"over {row.images:,} noisy test images"
    )
    if contents.outcome == "pushed":
        return f"The model was pushed as version {contents.version}: {measured}."
    if contents.outcome == "not blessed":
        count = len(contents.misses)
        missed = "one threshold" if count == 1 else f"{count} thresholds"
        return f"The model missed {missed} and was not pushed: {measured}."
    return f"The exported model failed the serving check and was not pushed: {measured}."


def verdict(row: MetricsRow, metric: str) -> bool | None:
    """Whether a row keeps its threshold; None: it has none."""
    bound = row.bounds.get(metric)
    if bound is None:
        return None
    value = (
        row.denoised["psnr"] - row.noisy["psnr"] if metric == "psnr_gain" else row.denoised[metric]
    )
    return value <= bound if metric in SMALLER_IS_BETTER else value >= bound


def render(
    contents: Contents,
    figures: dict[str, list[Plot]],
    strips: Sequence[tuple[Picture, str]],
    before_after: str,
) -> str:
    """The page, with a place for what only the runner knows, see `with_run`.

    Args:
      contents: What it says.
      figures: By section.
      strips: Pictures, each with its strip as a data URI.
      before_after: The overview as a data URI.
    """
    by_noise = {
        noise: {
            kind: [(p, uri) for p, uri in strips if (p.noise, p.kind) == (noise, kind)]
            for kind in ("typical", "worst")
        }
        for noise in contents.noises
    }
    template = environment(_FOLDER).get_template("report.html.j2")
    return template.render(
        ALL=ALL,
        c=contents,
        sentence=sentence(contents),
        verdict=verdict,
        figures=figures,
        strips=by_noise,
        before_after=before_after,
        hardest=contents.worst,
        error_scale=pictures.ERROR_SCALE,
        total_quantiles=list(contents.distributions[0].denoised_quantiles),
        settings_yaml=yaml_text.written(contents.settings),
        style=style(),
        made=made(),
    )


def with_run(page: str, run: str, steps: Sequence[StepTime]) -> str:
    """Adds what a step cannot know: which run it is of, and how long every step took.

    Args:
      page: What `render` or this gave.
      run: The run's id.
      steps: In order.
    """
    section = environment(_FOLDER).get_template("run.html.j2").render(run=run, steps=steps)
    return _RUN.sub(lambda _: section, page)
