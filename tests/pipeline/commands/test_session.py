"""A command's log."""

from __future__ import annotations

import pytest

from components.base.errors import WorkspaceError
from pipeline.commands.session import session


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
