"""The workspace: one run at a time, files whole or not at all."""

import json
import os
import signal
import subprocess
import sys

import pytest

from components.base import files
from components.base.errors import WorkspaceError
from components.base.files import write_json
from pipeline.workspace import Workspace


def test_a_second_lock_is_refused_and_names_the_process(tmp_path):
    workspace = Workspace(tmp_path / "w")
    assert not workspace.in_use
    with workspace.lock():
        assert workspace.in_use
        with pytest.raises(WorkspaceError, match=str(os.getpid())), workspace.lock():
            pass
    assert not workspace.in_use
    with workspace.lock():
        pass


def test_a_killed_process_lets_go(tmp_path):
    code = (
        "import pathlib, sys, time; from pipeline.workspace import Workspace\n"
        "with Workspace(pathlib.Path(sys.argv[1])).lock():\n"
        "    print('held', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    workspace = Workspace(tmp_path)
    assert workspace.in_use
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    process.stdout.close()
    with workspace.lock():
        pass


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkspaceError, match="file/w"), Workspace(tmp_path / "file" / "w").lock():
        pass


def test_json_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "deep" / "summary.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert json.loads(path.read_text()) == {"a": 1}


@pytest.mark.parametrize("name", ["ws [1]", "a*", "a?", "a\\b", "a\nb", os.fsdecode(b"caf\xe9")])
def test_a_path_that_tfx_would_take_for_another_is_refused_at_once(tmp_path, name):
    with pytest.raises(WorkspaceError) as caught, Workspace(tmp_path / name / "w").lock():
        pass
    assert f"--workspace {files.shown(tmp_path / name)}/w: TFX cannot" in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a b", "q\"'", "p%41", "h#1", "x]", "{1,2}", "é", "no\xa0break"])
def test_other_names_are_taken(tmp_path, name):
    with Workspace(tmp_path / name / "w").lock():
        pass
