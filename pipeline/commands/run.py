"""`denoise run`: the pipeline, from CSVs or image files to a pushed model."""

from __future__ import annotations

from components.base.errors import NotBlessedError
from pipeline.commands import options
from pipeline.commands.session import answer, data_source, session
from pipeline.commands.version import require
from pipeline.workspace import Workspace


def run(
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    preset: options.Preset = options.DEFAULT_PRESET,
    set_: options.Set = None,
    data: options.Data = None,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Run the pipeline: from CSVs or image files to a pushed model.

    Without `--data` it takes Fashion-MNIST; `--preset smoke` draws images, and tries every step in
    half a minute. A run that was killed goes on with its last
    unfinished step; steps whose inputs did not change are not run again.

    Example: `denoise run --set training.epochs=3`.
    """
    from pipeline import config, display

    require("tfx")
    settings = config.load(preset, set_ or [])
    place = Workspace(workspace)
    with place.lock(), session(place.logs, "run", verbose) as (out, err, _):
        stream = err if as_json else out
        if data is None:
            name = "generated images" if settings.data.generated else "Fashion-MNIST"
            with display.Steps(stream, total=1) as steps, steps.step(name):
                settings, folder = data_source(settings, None, workspace)
        else:
            settings, folder = data_source(settings, data, workspace)
        from components.ingestion import formats
        from pipeline.history import summary
        from pipeline.runners import local

        for line in formats.remarks(settings):
            print(line, file=stream)
        result = local.run(settings, place, folder, stream)
        if as_json:
            answer(result, as_json, out)
        summary.show(result, display.console(stream))
    if result.outcome == "not blessed":
        raise NotBlessedError(
            "The model was not blessed, so it was not pushed; what is served stays as it is.\n"
            + "\n".join(f"  {miss}" for miss in result.misses)
            + "\nTrain longer or otherwise (--set training.epochs=…), or lower "
            "evaluation.thresholds if the bound is wrong."
        )
    if result.outcome == "not servable":
        raise NotBlessedError(
            "The exported model did not answer as the trainer's did, so it was not pushed.\n"
            + "\n".join(f"  {failure}" for failure in result.serving_check["failures"])
        )
