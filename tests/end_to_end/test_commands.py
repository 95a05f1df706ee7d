"""Every command in a workspace that was run: exactly what it says on standard error, and how a
signal ends it."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

from tests import warm
from tests.alike import alike
from tests.end_to_end.conftest import Denoise, environment, options

PROGRESS = r"(    \S.*\n)*"
"""Said every 30 seconds, on a slow machine."""
LOG_LINE = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} I serving\.\S+: .*\n"


def _steps(*names: str) -> str:
    return "".join(rf"{PROGRESS} [✓=] +\d+/\d+ {name} .*\n" for name in names)


def _arguments(command: str, denoise: Denoise, folder: pathlib.Path) -> list[str]:
    """A call of the command that does its whole work."""
    data = ["--data", str(denoise.data)]
    (csv,) = (denoise.data / "test").glob("*.csv")
    compiled = ["--image", "denoise:1", "--pipeline-root", "s3://models/denoise"]
    compiled += ["--output", str(folder / "pipeline.yaml"), *options()]
    arguments = {
        "data": data,
        "run": [*data, *options()],
        "evaluate": data,
        "benchmark": [*data, "--limit", "20", "--set", "report.classifier=false"],
        "predict": [str(csv), "-o", str(folder / "predicted")],
        "report": ["--remake"],
        "serve": ["--port=0", "--rest_api_port=0"],
        "compile": [*compiled, "--dry-run-folder", str(folder)],
        "dry run": [*compiled, "--dry-run-folder", str(folder), *data, "--dry-run"],
    }
    return arguments.get(command, [])


def _start(denoise: Denoise, command: str, arguments: list[str], **others: str) -> subprocess.Popen:
    name = "compile" if command == "dry run" else command
    call = denoise.command(name, *arguments)
    if name in ("compile", "models", "noises"):
        call = call[: call.index("--workspace")]
    return subprocess.Popen(
        # A shell's `&` has SIGINT ignored, nohup SIGHUP; a preexec_fn would fork beside gRPC.
        ["env", "--default-signal=INT,HUP", *call],
        env={**environment(), **others},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("models", ""),
        pytest.param("noises", "", marks=pytest.mark.ci),
        ("status", ""),
        ("data", _steps("data")),
        ("run", ""),
        pytest.param("evaluate", _steps("evaluate"), marks=pytest.mark.ci),
        ("predict", _steps("predict")),
        pytest.param("report", _steps("report"), marks=pytest.mark.ci),
        pytest.param("compile", "", marks=pytest.mark.ci),
        pytest.param(
            "benchmark",
            _steps(
                *("read images", "noisy input, classifier", "models", "classical filters"),
                *("ridge", "robustness", "photographs", "page"),
            ),
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_command_says_nothing_that_one_cannot_act_on(finished, tmp_path, command, expected):
    process = _start(finished, command, _arguments(command, finished, tmp_path))
    _, stderr = process.communicate(timeout=900)
    assert re.fullmatch(expected, stderr), stderr
    assert process.returncode == 0


@pytest.mark.ci
def test_a_report_draws_beside_the_models_it_runs(finished):
    command = ["report", "--remake", "--workspace", finished.workspace]
    done = warm.call("tests.end_to_end.forks", command, environment())
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "plots: True"


def _mapped(process: subprocess.Popen, library: str) -> bool:
    try:
        return library in pathlib.Path(f"/proc/{process.pid}/maps").read_text()
    except OSError:
        return False


def _wait(process: subprocess.Popen, begun) -> None:
    deadline = time.monotonic() + 900
    while not begun():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.05)


SIGINT_ALWAYS = [
    pytest.param(number, marks=[] if number == signal.SIGINT else pytest.mark.slow)
    for number in (signal.SIGINT, signal.SIGTERM)
]


@pytest.mark.parametrize("number", SIGINT_ALWAYS)
@pytest.mark.parametrize(
    "command",
    alike(["run", "predict", "dry run", "evaluate", "benchmark", "report", "train-worker"], here=3),
)
def test_a_signal_ends_a_long_command(finished, tmp_path, command, number):
    """In the middle of its work: TensorFlow is loaded, and the imports after it are under way."""
    cluster = {"worker": ["localhost:1", "localhost:2"]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": 1}}
    others = {"TF_CONFIG": json.dumps(config)} if command == "train-worker" else {}
    arguments = _arguments(command, finished, tmp_path)
    if command == "run":
        finished = Denoise(tmp_path / "workspace", finished.data)
    process = _start(finished, command, arguments, **others)
    try:
        if command == "dry run":
            _wait(process, lambda: list(tmp_path.rglob("log.txt")))
        else:
            _wait(process, lambda: _mapped(process, "libtensorflow_framework"))
        time.sleep(0.5)  # `predict` takes two seconds
        process.send_signal(number)
        _, stderr = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 128 + number
    name = "Ctrl-C" if number == signal.SIGINT else number.name
    assert stderr.endswith(f"denoise: stopped by {name}; call the same command again to go on.\n")
    assert "Traceback" not in stderr


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_a_signal_ends_the_server(finished, tmp_path, number, status):
    process = _start(finished, "serve", _arguments("serve", finished, tmp_path))
    heard = ""
    try:
        while " REST " not in heard:
            line = process.stderr.readline()
            assert line, heard
            heard += line
        process.send_signal(number)
        _, rest = process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == status
    stopped = "denoise: stopped by Ctrl-C; call the same command again to go on.\n"
    assert re.fullmatch(
        f"({LOG_LINE})+{stopped if number == signal.SIGINT else ''}", heard + rest
    ), heard + rest


def test_children_end_with_a_command_that_is_stopped(finished, tmp_path):
    """The benchmark's workers: a signal to the command alone, as `kill` and Docker send it."""
    process = _start(finished, "benchmark", _arguments("benchmark", finished, tmp_path))
    children: set[int] = set()
    try:

        def begun() -> bool:
            tasks = pathlib.Path(f"/proc/{process.pid}/task").glob("*/children")
            for file in tasks:
                children.update(map(int, file.read_text().split()))
            return len(children) > 1

        _wait(process, begun)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=300)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 143
    deadline = time.monotonic() + 20
    while any(os.path.exists(f"/proc/{child}") for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.1)
