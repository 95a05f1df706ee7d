"""`denoise report`: the page of a run."""

from __future__ import annotations

import os
import pathlib
from typing import Annotated

import typer

from components.base import files
from pipeline.commands import options
from pipeline.commands.session import session, without_log
from pipeline.workspace import Workspace


def report(
    workspace: options.Workspace = options.DEFAULT_WORKSPACE,
    run: Annotated[
        str | None,
        typer.Option(
            "--run", metavar="ID", help="Which run (`denoise status`); default: the last."
        ),
    ] = None,
    remake: Annotated[
        bool, typer.Option("--remake", help="Make it anew from what the run's steps wrote.")
    ] = False,
    overwrite: options.Overwrite = False,
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Print the path of a run's report, one HTML file; make it if it is not there.

    Example: `denoise report --open`.
    """
    from components.report.result import BEFORE_AFTER_FILE, CONTENTS_FILE, REPORT_FILE

    place = Workspace(workspace)
    with without_log():
        from pipeline.history import reports

        run, steps = reports.find(place, run)
    page = place.reports / run / REPORT_FILE
    if remake or not page.exists():
        picture = place.reports / BEFORE_AFTER_FILE
        files.refuse_inputs([page.parent, page, picture], place.pipeline_root.rglob("*"))
        files.refuse_others([page.parent], _is_report, overwrite)
        files.refuse_others(
            [picture], lambda _: any(map(_is_report, place.reports.iterdir())), overwrite
        )
        with (
            place.lock(),
            session(place.logs, "report", verbose) as (_, _, shown),
            shown.step("report"),
        ):
            reports.remake(place, run, steps)
    if as_json:
        print((page.parent / CONTENTS_FILE).read_text(encoding="utf-8"), end="")
    else:
        print(page)
    if open_:
        typer.launch(str(page))


def _is_report(folder: str | os.PathLike[str]) -> bool:
    """True if a folder is one that `denoise run` or this command made."""
    from components.report.result import CONTENTS_FILE

    return files.is_json_with(pathlib.Path(folder, CONTENTS_FILE), "outcome", "provenance")
