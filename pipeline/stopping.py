"""Ends a command on Ctrl-C, SIGTERM and a closed terminal.

The first signal, whichever it was, raises KeyboardInterrupt in the main thread, so that what is
open is closed, child processes are ended and the workspace is let go. It is also remembered: a
library that swallows the exception, or makes another of it, does not turn a stopped command
into one that is done. If the main thread does not end within GRACE seconds, because it
computes in C++ or waits for a thread that does, the process ends all the same: nothing a
command writes is visible before it is whole. A second signal ends it at once.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

GRACE = 10.0
"""Seconds between the signal and the end of the process."""
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stopping:
    """Hears the signals from now on; construct it in the main thread.

    A signal that is ignored, as `nohup` and a shell's `&` have it, stays so.

    Attributes:
      by: The signal that asked the command to stop, if one did.
    """

    def __init__(self) -> None:
        self.by: signal.Signals | None = None
        self._heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
        for number in self._heard:
            signal.signal(number, self._on_signal)
        # C++ code that runs keeps Python's handlers waiting, but not this pipe.
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        # The command sends standard error to a log while it works.
        self._stderr = os.dup(2)
        self._told = False
        threading.Thread(target=self._watch, args=(reading,), daemon=True).start()
        os.register_at_fork(after_in_child=self._forget)

    @property
    def status(self) -> int:
        """Exit status: 128 plus the signal's number.

        That is what a shell, make and Docker report of a process that died of the signal, so
        none of them need know whether this one did or ended by itself.
        """
        assert self.by is not None
        return 128 + self.by

    def end(self) -> NoReturn:
        """Ends the process with a message.

        At once: `sys.exit` would wait for threads of libraries, and Python ends by SIGINT, of
        whatever number the signal was, where the interrupt fell into an `exec`.
        """
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        self._tell()
        os._exit(self.status)

    def _tell(self) -> None:
        """Says, once, what happened and how to go on."""
        assert self.by is not None
        if not self._told:
            self._told = True
            name = "Ctrl-C" if self.by is signal.SIGINT else self.by.name
            text = f"denoise: stopped by {name}; call the same command again to go on.\n"
            with contextlib.suppress(OSError):  # the terminal is gone
                os.write(self._stderr, text.encode())

    def _on_signal(self, number: int, frame: FrameType | None) -> NoReturn:
        self.by = self.by or signal.Signals(number)
        for again in self._heard:
            signal.signal(again, signal.SIG_DFL)
        raise KeyboardInterrupt

    def _watch(self, pipe: int) -> None:
        number = 0
        while number not in self._heard:
            number = os.read(pipe, 1)[0]
        self.by = self.by or signal.Signals(number)
        threading.Event().wait(GRACE)
        self._tell()
        os._exit(self.status)

    def _forget(self) -> None:
        """Lets go of the signals in a forked child, which would write into its parent's pipe."""
        signal.set_wakeup_fd(-1)
        for number in self._heard:
            signal.signal(number, signal.SIG_DFL)
