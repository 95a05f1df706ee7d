"""Artifacts to report.html, report.json and the figures."""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

from tfx import types
from tfx.dsl.components.base import base_executor
from tfx.types import artifact_utils

from components.report import inputs
from components.report.gather import gather
from components.report.inputs import Artifacts
from components.report.result import BEFORE_AFTER_FILE, CONTENTS_FILE, FIGURES_FOLDER, REPORT_FILE


def make(artifacts: Artifacts, sections: dict[str, Any], data_folder: str, output: str) -> None:
    """Writes a report.

    Args:
      artifacts: Where the steps' outputs are.
      sections: `settings` as plain values, and `code`, the fingerprint of the sources by step.
      data_folder: Where the data were.
      output: The folder to write.
    """
    from components.base import child, plugins
    from components.base.progress import tell
    from components.image import png
    from components.report import page, pictures, plots

    plugins.load(sections["settings"].get("plugins", ()))
    folder = pathlib.Path(output)
    figures_folder = folder / FIGURES_FOLDER
    figures_folder.mkdir(parents=True, exist_ok=True)
    tell("report", 0, 4, "reading what the steps wrote")
    contents = gather(artifacts, sections["settings"], data_folder, sections["code"])
    tell("report", 1, 4, "denoising test images")
    # Before TensorFlow computes, after which this process may not fork.
    with child.Beside(plots.plots, contents) as drawn:
        shown = pictures.Shown(contents, artifacts)
        contents = contents.model_copy(update={"classifier": shown.classifier})
        tell("report", 2, 4, "drawing figures")
        before_after = shown.before_after()
        figures = drawn.answer()
    tell("report", 3, 4, "writing the page")
    strips = [(picture, shown.strip(picture)) for picture in contents.pictures]
    html = page.render(contents, figures, strips, png.data_uri(before_after))
    (folder / REPORT_FILE).write_text(html, encoding="utf-8")
    (folder / CONTENTS_FILE).write_text(contents.model_dump_json(indent=2) + "\n", encoding="utf-8")
    (figures_folder / BEFORE_AFTER_FILE).write_bytes(before_after)
    for section in figures.values():
        for plot in section:
            (figures_folder / f"{plot.name}.png").write_bytes(plot.png)


class Executor(base_executor.BaseExecutor):
    """Runs `make` on the artifacts of the run."""

    def Do(
        self,
        input_dict: dict[str, list[types.Artifact]],
        output_dict: dict[str, list[types.Artifact]],
        exec_properties: dict[str, Any],
    ) -> None:
        """See `component.Report` for the inputs, outputs and parameters."""

        def folder(name: str) -> str | None:
            given = input_dict.get(name)
            return artifact_utils.get_single_uri(given) if given else None

        pushed = artifact_utils.get_single_instance(input_dict["pushed_model"])
        artifacts = inputs.locate(folder, pushed.get_string_custom_property("pushed_version"))
        make(
            artifacts,
            json.loads(exec_properties["sections"]),
            exec_properties["data_folder"],
            os.fspath(artifact_utils.get_single_uri(output_dict["report"])),
        )
