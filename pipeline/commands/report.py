"""`denoise report`: the page of a run."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.commands import options
from pipeline.commands.session import session
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
    open_: Annotated[bool, typer.Option("--open", help="Show it in the browser.")] = False,
    as_json: options.Json = False,
    verbose: options.Verbose = False,
) -> None:
    """Print the path of a run's report, one HTML file; make it if it is not there.

    Example: `denoise report --open`.
    """
    from components.report.result import CONTENTS_FILE, REPORT_FILE
    from pipeline.history import reports

    place = Workspace(workspace)
    run, steps = reports.find(place, run)
    page = place.reports / run / REPORT_FILE
    if remake or not page.exists():
        with (
            place.lock(),
            session(place.logs, "report", verbose) as (_, _, shown),
            shown.step("report"),
        ):
            reports.remake(place, run, steps)
    if as_json:
        print((page.parent / CONTENTS_FILE).read_text(), end="")
    else:
        print(page)
    if open_:
        typer.launch(str(page))
