"""Calls in a process of its own: answers, progress, errors, and every way to die."""

from __future__ import annotations

import faulthandler
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

from components.base import child, progress
from components.base.errors import DataError, RunError

ROOT = pathlib.Path(__file__).parents[3]


def _add(one, other):
    return one + other, os.getpid()


def _variable(name):
    return os.environ.get(name)


def _tell():
    progress.tell("count", 3, 7, "three of seven")


def _refuse():
    raise DataError("row 3 is wrong")


class _OddError(Exception):
    def __init__(self, one, other):
        super().__init__(f"{one} {other}")


def _refuse_oddly():
    raise _OddError("cannot be", "pickled")


def _die(number):
    faulthandler.disable()  # pytest's; its lines would look like a failure.
    os.kill(os.getpid(), number)


def _leave():
    os._exit(3)


def _refuse_where_the_log_is_full():
    sys.stderr = open("/dev/full", "w", buffering=1)  # noqa: SIM115
    _refuse()


def _sleep():
    time.sleep(60)


@pytest.fixture(params=[True, False], ids=["fork", "spawn"])
def fork(request):
    return request.param


def test_the_answer_of_another_process_arrives(fork):
    total, process = child.call(_add, 2, 3, fork=fork)
    assert total == 5
    assert process != os.getpid()


def test_progress_and_errors_arrive(fork, caplog):
    with caplog.at_level("INFO", logger=progress.LOGGER.name):
        child.call(_tell, fork=fork)
    (record,) = [record for record in caplog.records if record.name == progress.LOGGER.name]
    assert (record.step, record.done, record.total) == ("count", 3, 7)
    assert record.getMessage() == "three of seven"
    with pytest.raises(DataError, match="row 3"):
        child.call(_refuse, fork=fork)
    with pytest.raises(RunError, match="_OddError: cannot be pickled"):
        child.call(_refuse_oddly, fork=fork)


def test_errors_arrive_where_the_log_is_full(fork):
    with pytest.raises(DataError, match="row 3 is wrong"):
        child.call(_refuse_where_the_log_is_full, fork=fork)


def test_variables_are_set_there_alone(fork, monkeypatch):
    monkeypatch.delenv("CHILD_TEST", raising=False)
    assert child.call(_variable, "CHILD_TEST", fork=fork, environment={"CHILD_TEST": "1"}) == "1"
    assert "CHILD_TEST" not in os.environ


@pytest.mark.parametrize(
    ("number", "reason", "advice"),
    [
        (signal.SIGILL, "ended by SIGILL", "training.precision=float32"),
        (signal.SIGSEGV, "ended by SIGSEGV", "fault in native code"),
        (signal.SIGKILL, "ended by SIGKILL", "memory"),
        (signal.SIGTERM, "ended by SIGTERM", "Run again"),
    ],
)
def test_a_signal_that_ends_it_is_named(number, reason, advice):
    with pytest.raises(child.DiedError, match=reason) as caught:
        child.call(_die, number, fork=True)
    assert advice in str(caught.value)
    assert caught.value.reason.startswith(reason)


def test_an_end_without_an_answer_is_named(fork):
    with pytest.raises(child.DiedError, match="exit status 3"):
        child.call(_leave, fork=fork)


def _wait_for(file):
    while not file.exists():
        time.sleep(0.01)
    return os.getpid()


@pytest.fixture
def forks(monkeypatch):
    """As where TensorFlow has computed nothing."""
    monkeypatch.setattr(child.libraries, "untouched", lambda: True)


@pytest.mark.usefixtures("forks")
def test_this_process_goes_on_beside_another(tmp_path):
    file = tmp_path / "go"
    with child.Beside(_wait_for, file) as called:
        file.touch()
        process = called.answer()
    assert process != os.getpid()
    assert not _runs(process)


@pytest.mark.usefixtures("forks")
def test_one_that_is_not_waited_for_is_ended():
    started = time.monotonic()
    with child.Beside(_sleep):
        pass
    assert time.monotonic() - started < 30
    with pytest.raises(DataError, match="row 3"), child.Beside(_refuse) as called:
        called.answer()


def _say_and_wait_for(word, file):
    progress.tell(word, 1, 1)
    return _wait_for(file)


@pytest.mark.usefixtures("forks")
def test_the_first_of_several_is_the_one_that_ends_first(tmp_path):
    told = []

    def tell(*said):
        told.append(said)

    files = [tmp_path / name for name in ("one", "other")]
    with (
        child.Beside(_say_and_wait_for, "one", files[0], tell=tell) as one,
        child.Beside(_wait_for, files[1]) as other,
        child.Beside(_die, signal.SIGSEGV) as dead,
    ):
        assert child.first([one, other, dead]) is dead
        with pytest.raises(child.DiedError, match="SIGSEGV"):
            dead.answer()
        files[1].touch()
        assert child.first([one, other]) is other
        assert child.first([one, other]) is other
        other.answer()
        files[0].touch()
        assert child.first([one]) is one
        assert one.answer() != os.getpid()
    assert told == [("one", 1, 1, "one: 1/1")]


class _NotHereError(Exception):
    """Can be unpickled in the process that raised it alone."""

    def __reduce__(self):
        return _not_here, (os.getpid(),)


def _not_here(process):
    if os.getpid() != process:
        raise TypeError("cannot be made here")
    return _NotHereError()


def _refuse_there_alone():
    raise _NotHereError


@pytest.mark.usefixtures("forks")
def test_what_cannot_be_read_or_told_fails_that_one_alone(tmp_path):
    def closed(*said):
        raise OSError("no one listens")

    files = [tmp_path / name for name in ("one", "other")]
    with (
        child.Beside(_refuse_there_alone) as unread,
        child.Beside(_say_and_wait_for, "one", files[0], tell=closed) as untold,
        child.Beside(_wait_for, files[1]) as other,
    ):
        called = {unread: "cannot be made here", untold: "no one listens"}
        while called:
            failed = child.first([*called, other])
            with pytest.raises((TypeError, OSError), match=called.pop(failed)):
                failed.answer()
        files[1].touch()
        assert other.answer() != os.getpid()


def test_where_it_may_not_fork_this_process_does_the_work(monkeypatch):
    monkeypatch.setattr(child.libraries, "untouched", lambda: False)
    with child.Beside(_add, 2, 3) as one, child.Beside(_refuse) as other:
        assert child.first([one, other]) is one
        assert one.answer() == (5, os.getpid())
        with pytest.raises(DataError, match="row 3"):
            child.first([other]).answer()


def test_a_limit_ends_it():
    started = time.monotonic()
    with pytest.raises(TimeoutError, match="longer than 1 s"):
        child.call(_sleep, fork=True, seconds=1)
    assert time.monotonic() - started < 30


PARENT = """
import os, pathlib, signal, sys, time
from components.base import child
signal.signal(signal.SIGINT, signal.default_int_handler)  # A shell's & has it ignored.
def sleep():
    pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
    time.sleep(60)
child.call(sleep, fork=True)
"""


def _runs(process: int) -> bool:
    try:
        return "Z" not in pathlib.Path(f"/proc/{process}/stat").read_text().rpartition(")")[2][:3]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_it_ends_with_its_parent(tmp_path, number):
    noted = tmp_path / "process"
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, noted], cwd=ROOT, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 60
        while not (noted.exists() and noted.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        process = int(noted.read_text())
        assert _runs(process)
        parent.send_signal(number)
        parent.wait(timeout=30)
        while _runs(process):
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        parent.kill()
        parent.wait()
