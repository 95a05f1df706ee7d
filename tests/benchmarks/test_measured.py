"""Measuring a call in a process of its own."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import time

import psutil
import pytest

from benchmarks import measured


def allocate(megabytes: int, child: bool) -> dict:
    if child:
        code = f"import time; b = b'x' * ({megabytes} << 20); time.sleep(1)"
        subprocess.run([sys.executable, "-c", code], check=True)
    else:
        held = b"x" * (megabytes << 20)
        time.sleep(0.5)
        del held
    return {"megabytes": megabytes}


@pytest.mark.parametrize("child", [False, True])
def test_peak_memory_is_that_of_the_process_and_its_children(child):
    small = measured.call(f"{__name__}.allocate", megabytes=1, child=child)
    large = measured.call(f"{__name__}.allocate", megabytes=300, child=child)
    assert large.result == {"megabytes": 300}
    assert 280 << 20 < large.peak_bytes - small.peak_bytes < 320 << 20
    assert 0.4 < large.seconds < large.process_seconds


def only_a_part_counts() -> dict:
    time.sleep(0.3)
    return {"seconds": 0.1}


def test_a_function_may_say_which_of_its_seconds_count():
    assert measured.call(f"{__name__}.only_a_part_counts").seconds == 0.1


def fails() -> dict:
    raise ValueError("too bad")


def test_a_failed_call_shows_why():
    with pytest.raises(RuntimeError, match="too bad"):
        measured.call(f"{__name__}.fails")


def note_and_sleep(file: str) -> dict:
    pathlib.Path(file).write_text(str(os.getpid()))
    time.sleep(60)
    return {}


def test_a_call_ends_with_the_process_that_made_it(tmp_path):
    """A training of an hour that nobody waits for would keep a core from what is measured next."""
    file = tmp_path / "process"
    code = f"from benchmarks import measured; measured.call({f'{__name__}.note_and_sleep'!r}, "
    caller = subprocess.Popen([sys.executable, "-c", f"{code}file={str(file)!r})"])
    try:
        deadline = time.monotonic() + 60
        while not (file.exists() and file.read_text()):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        called = psutil.Process(int(file.read_text()))
        caller.kill()
        assert psutil.wait_procs([called], timeout=30)[1] == []
    finally:
        caller.kill()
        caller.wait()
