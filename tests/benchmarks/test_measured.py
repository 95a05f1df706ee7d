"""Measuring a call in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import time

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
