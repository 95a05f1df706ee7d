"""Why a step failed, in words that say what to do."""

from __future__ import annotations

import shutil

import pytest

from components.base.errors import DataError, RunError
from pipeline.runners import failure


@pytest.fixture
def free(monkeypatch):
    """Sets how many bytes are left on every disk."""

    def leave(number: int) -> None:
        usage = shutil.disk_usage("/")._replace(free=number)
        monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)

    return leave


def test_an_error_of_ours_keeps_its_kind_and_names_the_step():
    told = failure.explained("Transform", DataError("a.csv, line 3: 7 columns"))
    assert isinstance(told, DataError)
    assert str(told) == "Transform: a.csv, line 3: 7 columns"
    assert failure.explained("Transform", told) is told


def test_an_unknown_error_on_a_full_disk_says_so(free):
    free(1 << 20)
    told = failure.explained("Trainer", RuntimeError("Transaction already open."), "/data/ws")
    assert isinstance(told, RunError)
    assert "Trainer: RuntimeError: Transaction already open." in str(told)
    assert "the disk is full (/data/ws)" in str(told)


def test_an_unknown_error_with_room_left_is_only_named(free):
    free(1 << 40)
    told = failure.explained("Trainer", IndexError("list index out of range"), "/data/ws")
    assert str(told) == "Trainer failed: IndexError: list index out of range"
