"""`denoise status`: runs, models, blessings and pushes."""

from __future__ import annotations

from pipeline.commands import options
from pipeline.commands.session import answer, without_log
from pipeline.workspace import Workspace


def status(
    workspace: options.Workspace = options.DEFAULT_WORKSPACE, as_json: options.Json = False
) -> None:
    """Show runs, models, blessings and pushes: which data, settings and code made which model.

    Example: `denoise status --json`.
    """
    with without_log():
        from pipeline.history import status as run_status

        history = run_status.history(Workspace(workspace))
    answer(history, as_json, show=lambda console: run_status.show(history, console))
