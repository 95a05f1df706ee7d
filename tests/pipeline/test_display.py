"""What a run shows: how long it will take, in a terminal and in a log file."""

from __future__ import annotations

import io
import re
import sys

import pytest

from components.base import progress
from pipeline import display


class _Clock:
    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    made = _Clock()
    monkeypatch.setattr(display, "time", made)
    return made


def _train(stream, clock, seconds_a_step, steps=1000, watched=5):
    with display.Steps(stream, total=1) as shown:
        step = shown.start("Trainer")
        clock.now += 60  # Reading, and the first steps.
        for done in range(1, watched + 1):
            progress.tell("train", done, steps, f"epoch 1/8, step {done}")
            clock.now += seconds_a_step
        progress.tell("train", watched + 1, steps, "epoch 1/8")
        step.finish("done")
    return stream.getvalue()


@pytest.mark.parametrize("kind", [io.StringIO, _Terminal])
def test_after_some_seconds_it_says_how_long_it_will_take(clock, kind):
    shown = _train(kind(), clock, seconds_a_step=2)
    assert shown.count("Trainer: about 33 min to go") == 1


@pytest.mark.parametrize("kind", [io.StringIO, _Terminal])
def test_a_name_is_shown_as_it_is(clock, kind):
    stream = kind()
    with display.Steps(stream, total=1) as shown:
        step = shown.start("predict")
        clock.now += 60
        for done in range(3):
            progress.tell("predict", done, 3, "scan[1] a[/b].png: 50%")
            clock.now += 60
        if stream.isatty():
            shown._progress.refresh()
        step.finish("done")
    assert "scan[1] a[/b].png: 50%" in stream.getvalue()


@pytest.mark.parametrize("kind", [io.StringIO, _Terminal])
def test_two_that_run_at_once_are_shown_each_by_its_number(clock, kind):
    stream = kind()
    with display.Steps(stream, total=13) as shown:
        check, evaluation = shown.start("ServingCheck"), shown.start("QualityEvaluator")
        for done in range(1, 9):
            clock.now += 20
            evaluation.hear("evaluate", done, 200, f"image {done}")
            check.hear("check", done, None, "as a server would")
        clock.now += 40
        if stream.isatty():
            shown._progress.refresh()
            assert "image 8" in stream.getvalue()
            assert "as a server would" in stream.getvalue()
        assert check.finish("done") == 200
        assert evaluation.finish("failed") == 200
    said = re.sub(r"\x1b\[[\d;?]*\w", "", stream.getvalue())
    assert " ✓  1/13 ServingCheck              200.0 s\n" in said
    assert " ✗  2/13 QualityEvaluator          200.0 s\n" in said
    assert "QualityEvaluator: about 1 h 6 min to go" in said


def test_what_a_forked_step_writes_waits_for_no_lock_of_the_display(clock):
    streams = sys.stdout, sys.stderr
    with display.Steps(_Terminal()) as shown:
        step = shown.start("Trainer")
        assert (sys.stdout, sys.stderr) == streams
        step.finish("done")
        step.finish("failed")


def test_what_is_over_in_a_minute_is_not_announced(clock):
    assert "to go" not in _train(io.StringIO(), clock, seconds_a_step=2, steps=25)


def test_a_log_file_gets_a_line_now_and_then_with_the_time_that_is_left(clock):
    lines = _train(io.StringIO(), clock, seconds_a_step=40, watched=4).splitlines()
    told = [line.strip() for line in lines if "epoch" in line]
    assert told[0] == "Trainer 0 %: epoch 1/8, step 1"
    assert told[1] == "Trainer 0 %: epoch 1/8, step 2, about 11 h 5 min to go"
    assert len(told) == 5


def test_reading_does_not_count_as_training(clock):
    stream = io.StringIO()
    with display.Steps(stream, total=1) as shown:
        step = shown.start("Trainer")
        for done in range(3):
            progress.tell("read images", 500 * done, None)
            clock.now += 10
        progress.tell("train", 1, 100)
        clock.now += 10
        progress.tell("train", 2, 100)
        step.finish("done")
    assert "about 16 min to go" in stream.getvalue()


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.4, "0 s"), (59, "59 s"), (59.6, "1 min"), (754, "13 min"), (11_100, "3 h 5 min")],
)
def test_a_duration_is_said_as_people_say_it(seconds, expected):
    assert display.duration(seconds) == expected
