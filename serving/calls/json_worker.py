"""Reads large JSON bodies in a process of its own: `python -m serving.calls.json_worker BYTES`.

Reading JSON holds Python's lock from its first byte to its last, and makes of each `[]` what
takes thirty times as much: in the server's own process, one body of 30 MB would stop every
other request for a second, and take 700 MB of its memory.

On standard input and output go messages, each a length of eight bytes and so many bytes: pickles
of what to call and of what came of it, between these two processes alone. It ends when its
input does, and so never outlives the server.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import struct
import sys
from typing import Any, BinaryIO

from serving.calls import json_requests
from serving.protocol.codes import Code, StatusError

LENGTH = struct.Struct("<Q")
CALLS = {call.__name__: call for call in (json_requests.read_predict, json_requests.read_examples)}
_NICE = 5
"""Requests of one image come first."""


def answer(name: str, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
    """Whether a call of `CALLS` succeeded, and its result, or the code and message of its error."""
    try:
        return True, CALLS[name](*arguments)
    except StatusError as error:
        return False, (int(error.code), error.message)
    except MemoryError:
        return False, (int(Code.RESOURCE_EXHAUSTED), "The JSON takes too much memory to read.")


def _serve(requests: BinaryIO, answers: BinaryIO) -> None:
    while len(head := requests.read(LENGTH.size)) == LENGTH.size:
        name, arguments = pickle.loads(requests.read(*LENGTH.unpack(head)))
        text = pickle.dumps(answer(name, arguments), protocol=5)
        answers.write(LENGTH.pack(len(text)) + text)
        answers.flush()


def main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the server, which gets them too, ends this
    os.nice(_NICE)
    memory = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever is printed is no answer
    _serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    main()
