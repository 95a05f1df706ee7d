"""In which order the local runner runs steps, and what becomes of the others when one fails."""

from __future__ import annotations

import io
import os
import pathlib
import signal
import time
import types

import pytest

from components.base import child
from components.base.errors import DataError, RunError
from pipeline import display
from pipeline.runners import local

UPSTREAM = {
    "first": [],
    "check": ["first"],
    "evaluation": ["first"],
    "push": ["check", "evaluation"],
}


class _Launcher(local._Launcher):
    """Of steps that are functions."""

    def __init__(self, folder: pathlib.Path, **functions):
        self.nodes = {
            name: types.SimpleNamespace(name=name, upstream_nodes=upstream)
            for name, upstream in UPSTREAM.items()
        }
        self._functions = functions
        self._root = folder
        self._lineage = types.SimpleNamespace(close_interrupted=lambda: self.did.append("closed"))
        self.did = []

    def _launch(self, node, shown):
        self.did.append(node.name)
        return child.Beside(self._functions.get(node.name, os.getpid), tell=shown.hear)

    def _keep(self, name):
        self.did.append(f"kept {name}")
        return "done"

    def _cancel_left(self):
        self.did.append("cancelled")
        return []


@pytest.fixture
def forks(monkeypatch):
    monkeypatch.setattr(child.libraries, "untouched", lambda: True)


def _run(launcher):
    with display.Steps(io.StringIO(), total=len(UPSTREAM)) as steps:
        return launcher.run(steps)


def _wait_for(file):
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _refuse():
    raise DataError("row 3 is wrong")


@pytest.mark.usefixtures("forks")
def test_a_step_begins_when_those_before_it_are_done(tmp_path):
    def check():
        _wait_for(tmp_path / "evaluated")

    launcher = _Launcher(tmp_path, check=check, evaluation=(tmp_path / "evaluated").touch)
    times, failures = _run(launcher)
    assert failures == []
    order = ["first", "check", "evaluation", "push"]
    assert launcher.did == [
        *("first", "kept first", "check", "evaluation"),
        *("kept evaluation", "kept check", "push", "kept push"),
    ]
    began = [times[name][0] for name in order]
    assert began == sorted(began)
    assert times["push"][0] >= times["check"][0] + times["check"][1] - 0.1


@pytest.mark.usefixtures("forks")
def test_after_a_failure_what_runs_is_kept_and_nothing_begins(tmp_path):
    def evaluation():
        _wait_for(tmp_path / "failed")

    launcher = _Launcher(tmp_path, check=_refuse, evaluation=evaluation)
    stream = io.StringIO()
    with display.Steps(stream, total=4) as steps:
        finish = display.Step.finish

        def finished(step, state):
            if state == "failed":
                (tmp_path / "failed").touch()
            return finish(step, state)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(display.Step, "finish", finished)
            times, (failure,) = launcher.run(steps)
    assert str(failure) == "check: row 3 is wrong"
    assert isinstance(failure, DataError)
    assert failure.step == "check"
    assert times.keys() == {"first", "evaluation"}
    assert launcher.did[-1] == "kept evaluation"
    assert "✗  2/4 check" in stream.getvalue()
    assert "✓  3/4 evaluation" in stream.getvalue()
    assert "check: row 3 is wrong\nevaluation: runs to its end, and is kept.\n" in stream.getvalue()


@pytest.mark.usefixtures("forks")
def test_both_failures_are_told_and_what_a_death_left_is_closed_last(tmp_path):
    def die():
        _wait_for(tmp_path / "refuses")
        os.kill(os.getpid(), signal.SIGKILL)

    def refuse():
        (tmp_path / "refuses").touch()
        time.sleep(1)
        _refuse()

    launcher = _Launcher(tmp_path, check=die, evaluation=refuse)
    _, failures = _run(launcher)
    assert [failure.step for failure in failures] == ["check", "evaluation"]
    assert isinstance(failures[0], RunError)
    assert "SIGKILL" in str(failures[0])
    assert launcher.did[-2:] == ["cancelled", "closed"]


@pytest.mark.usefixtures("forks")
def test_a_stopped_run_leaves_no_process(tmp_path, monkeypatch):
    def work(name):
        (tmp_path / name).write_text(str(os.getpid()))
        time.sleep(60)

    def first(called):
        if len(called) == 1:
            return in_turn(called)
        for name in ("check", "evaluation"):
            _wait_for(tmp_path / name)
        raise KeyboardInterrupt

    in_turn = child.first
    monkeypatch.setattr(child, "first", first)
    launcher = _Launcher(
        tmp_path, check=lambda: work("check"), evaluation=lambda: work("evaluation")
    )
    with pytest.raises(KeyboardInterrupt):
        _run(launcher)
    assert launcher.did[-1] == "cancelled"
    for name in ("check", "evaluation"):
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / name).read_text()), 0)


def test_what_cannot_be_launched_failed(tmp_path, monkeypatch):
    launcher = _Launcher(tmp_path)
    monkeypatch.setattr(launcher, "_launch", lambda node, shown: _refuse())
    times, (failure,) = _run(launcher)
    assert times == {}
    assert str(failure) == "first: row 3 is wrong"


def test_in_a_process_that_may_not_fork_one_runs_after_the_other(tmp_path, monkeypatch):
    monkeypatch.setattr(child.libraries, "untouched", lambda: False)
    processes = []
    launcher = _Launcher(
        tmp_path, **{name: lambda: processes.append(os.getpid()) for name in UPSTREAM}
    )
    _, failures = _run(launcher)
    assert failures == []
    assert processes == [os.getpid()] * 4
    assert launcher.did == [
        *("first", "kept first", "check", "kept check"),
        *("evaluation", "kept evaluation", "push", "kept push"),
    ]
