"""What is known of an error that libraries have wrapped."""

from __future__ import annotations

import pytest

from components.base.errors import DataError, RunError, explained


def _wrapped(inner: Exception) -> Exception:
    try:
        try:
            raise inner
        except Exception as error:
            raise ValueError("a library's own words") from error
    except ValueError as outer:
        return outer


def test_our_own_error_is_found_inside_a_librarys():
    mine = DataError("a.csv, line 3: 137 columns, expected 785")
    assert explained(_wrapped(mine)) is mine


@pytest.mark.parametrize(
    "full",
    [
        OSError(28, "No space left on device", "/data/summary.json"),
        OSError(122, "Disk quota exceeded"),
        RuntimeError("Traceback ...: OSError: [Errno 28] No space left on device [while running]"),
        RuntimeError("INTERNAL: database or disk is full query: INSERT"),
    ],
)
def test_a_full_disk_is_named_whoever_found_it(full):
    known = explained(_wrapped(full))
    assert isinstance(known, RunError)
    assert "the disk is full" in str(known)
    assert str(getattr(full, "filename", None) or "") in str(known)


def test_what_is_not_known_is_left_as_it_is():
    assert explained(_wrapped(IndexError("list index out of range"))) is None
