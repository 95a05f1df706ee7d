"""Ctrl-C, SIGTERM and a closed terminal, sent to a real process at awkward moments."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import time

import pytest

COMMAND = """
import hashlib, os, pathlib, signal, sys, threading, time
from pipeline import cli, stopping
from pipeline.commands.session import session

FOLDER = pathlib.Path({folder!r})
stopping.GRACE = {grace}

def waits():
    (FOLDER / "begun").touch()
    time.sleep(60)

@cli.app.command()
def work():
{body}

sys.argv = ["denoise", "work"]
cli.main()
"""
WAITS = "waits()"
WITH_A_LOG = """
with session(FOLDER, "work") as (_, _, steps), steps.step("work"):
    os.write(2, b"TensorFlow greets")
    waits()
"""
SWALLOWS = """
try:
    waits()
except BaseException:
    pass
"""
RAISES_ANOTHER = """
try:
    waits()
except KeyboardInterrupt as error:
    raise RuntimeError("a worker was interrupted") from error
"""
COMPUTES_IN_C = """
(FOLDER / "begun").touch()
hashlib.pbkdf2_hmac("sha256", b"", b"", 1_000_000_000)
"""
LEAVES_A_THREAD = """
threading.Thread(target=time.sleep, args=(60,)).start()
waits()
"""
CLEANS_UP_FOR_LONG = """
try:
    waits()
finally:
    time.sleep(60)
"""
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "SIGHUP"}


@pytest.fixture
def start(tmp_path):
    """Starts `denoise work` with a body, and waits until it works."""
    processes = []

    def start(
        body: str, grace: float = 30.0, signals: str = "--default-signal=INT,HUP", **options
    ) -> subprocess.Popen:
        code = COMMAND.format(folder=str(tmp_path), grace=grace, body=textwrap.indent(body, "    "))
        # A shell's `&` has SIGINT ignored, nohup SIGHUP. Not by a preexec_fn: with one Python
        # forks, and gRPC's threads may end the child before its exec.
        process = subprocess.Popen(
            ["env", signals, sys.executable, "-c", code],
            stderr=subprocess.PIPE,
            text=True,
            **options,
        )
        processes.append(process)
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun").exists():
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        return process

    yield start
    for process in processes:
        process.kill()
        process.wait()
        process.stderr.close()


def _stopped(process: subprocess.Popen, number: signal.Signals) -> str:
    """Asserts that a process ended as one that was stopped; what it printed before."""
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    message = f"denoise: stopped by {NAMES[number]}; call the same command again to go on.\n"
    assert stderr.endswith(message)
    return stderr.removesuffix(message)


@pytest.mark.parametrize("number", NAMES)
@pytest.mark.parametrize("body", [WAITS, SWALLOWS, RAISES_ANOTHER])
def test_a_signal_ends_a_command_with_its_number_and_a_message(start, number, body):
    process = start(body)
    process.send_signal(number)
    assert _stopped(process, number) == ""


@pytest.mark.parametrize("number", NAMES)
def test_the_message_is_seen_and_the_step_failed_while_output_goes_to_a_log(
    start, number, tmp_path
):
    process = start(WITH_A_LOG)
    process.send_signal(number)
    assert "✗  1/1 work" in _stopped(process, number)
    assert "TensorFlow greets" in (tmp_path / "work.log").read_text()


@pytest.mark.parametrize("body", [COMPUTES_IN_C, LEAVES_A_THREAD, CLEANS_UP_FOR_LONG])
def test_who_does_not_end_by_itself_is_ended(start, body):
    process = start(body, grace=1.0)
    process.send_signal(signal.SIGTERM)
    assert _stopped(process, signal.SIGTERM) == ""


@pytest.mark.parametrize("body", [WAITS, WITH_A_LOG, CLEANS_UP_FOR_LONG])
def test_it_ends_where_nobody_reads_its_message(start, body):
    """`denoise run | tee log`, of which both are stopped."""
    process = start(body, grace=1.0)
    process.stderr.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 128 + signal.SIGTERM


def test_a_second_signal_ends_it_at_once(start):
    process = start(CLEANS_UP_FOR_LONG)
    process.send_signal(signal.SIGINT)
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == -signal.SIGTERM


def test_a_signal_to_a_forked_child_is_not_its_parents(start):
    process = start(
        """
child = os.fork()
if not child:
    waits()
while not (FOLDER / "begun").exists():
    time.sleep(.02)
os.kill(child, signal.SIGTERM)
assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM
waits()
""",
        grace=0.5,
    )
    time.sleep(3)  # several times the seconds it would be given
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _stopped(process, signal.SIGINT)


def test_what_is_ignored_stays_ignored(start):
    """`nohup denoise run` outlives its terminal."""
    process = start(WAITS, signals="--ignore-signal=HUP")
    process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert process.poll() is None
