"""A command's log."""

from __future__ import annotations

import pytest

from components.base.errors import WorkspaceError
from pipeline.commands.session import session


def test_where_no_log_can_be_a_command_ends_or_does_without(tmp_path):
    (tmp_path / "workspace").touch()
    logs = tmp_path / "workspace" / "logs"
    with (
        pytest.raises(WorkspaceError, match=r"workspace/logs: cannot be made.*--workspace"),
        session(logs, "evaluate"),
    ):
        pass
    with session(logs, "predict", log_needed=False) as (out, _, _):
        print("to a library", flush=True)
        print("denoised", file=out, flush=True)
    assert (tmp_path / "workspace").read_bytes() == b""
