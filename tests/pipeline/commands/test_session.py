"""A command's log."""

from __future__ import annotations

import pytest

from components.base.errors import RunError, WorkspaceError
from pipeline.commands.session import session


def test_the_end_of_a_file_is_not_that_of_what_is_typed(tmp_path):
    """For click it is, and so a stop by the user."""
    with pytest.raises(RunError, match="Compressed file ended") as told, session(tmp_path, "data"):
        raise EOFError("Compressed file ended before the end-of-stream marker")
    assert told.value.log == tmp_path / "data.log"


@pytest.mark.parametrize("blocked", ["workspace", "workspace/logs/evaluate.log"])
def test_where_no_log_can_be_a_command_ends_or_does_without(tmp_path, blocked):
    logs = tmp_path / "workspace" / "logs"
    if blocked == "workspace":
        (tmp_path / blocked).touch()
    else:
        for command in ("evaluate", "predict"):
            (logs / f"{command}.log").mkdir(parents=True)
    with (
        pytest.raises(WorkspaceError, match=r"/evaluate\.log: cannot be made.*--workspace"),
        session(logs, "evaluate"),
    ):
        pass
    with session(logs, "evaluate", verbose=True):
        pass
    with session(logs, "predict", log_needed=False) as (out, _, _):
        print("to a library", flush=True)
        print("denoised", file=out, flush=True)
    if blocked == "workspace":
        assert (tmp_path / "workspace").read_bytes() == b""
