"""Child processes."""

from __future__ import annotations

import ctypes
import signal

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Has the system kill this process when the thread that started it is no more.

    A parent that is killed can end nothing itself, and a child that outlives it goes on using
    its memory and CPUs. Linux only (prctl(2)).
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
