"""Commands in processes that begin with everything imported.

A command takes some six seconds of CPU to import TFX, TensorFlow and Beam, and in a test often less
for its work. So one process of each test worker imports them, and the commands are forked from it.
What depends on how a process begins (what it says while it imports, a signal meanwhile) is tested
with `sys.executable`.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import traceback
import types
from collections.abc import Mapping, Sequence
from functools import partial
from typing import IO, Any, NoReturn


class Process:
    """`python -m MODULE ARGUMENT…` in a session of its own, with as much of Popen as tests use.

    Args:
      module: Its `main` is called.
      arguments: The command line.
      environment: All of the environment.
      forked_tasks: A dry run forks its tasks too, from this process.
      folder: Where it stands; None: where this process does.

    Attributes:
      pid: Of the process.
      stdout, stderr: Files with what it has said so far.
    """

    def __init__(
        self,
        module: str,
        arguments: Sequence[object],
        environment: Mapping[str, str],
        forked_tasks: bool = False,
        folder: pathlib.Path | None = None,
    ):
        self._said = tempfile.TemporaryDirectory(prefix="said-")
        self.args = [module, *map(str, arguments)]
        self.stdout, self.stderr = (pathlib.Path(self._said.name, name) for name in ("out", "err"))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["tests.imported"])
        self._process = context.Process(
            target=_called,
            args=(
                self.args,
                (self.stdout, self.stderr),
                dict(environment),
                str(folder or pathlib.Path.cwd()),
                forked_tasks,
            ),
        )
        self._process.start()
        self.pid = self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return self._process.exitcode

    def said(self) -> tuple[str, str]:
        """What it has written to standard output and standard error so far."""
        files = (self.stdout, self.stderr)
        out, err = (file.read_text(encoding="utf-8") if file.exists() else "" for file in files)
        return out, err

    def kill(self) -> None:
        """Kills it and all its processes, without a chance to clean up."""
        with contextlib.suppress(ProcessLookupError):
            try:
                os.killpg(self.pid, signal.SIGKILL)
            except ProcessLookupError:  # its session is not there yet
                os.kill(self.pid, signal.SIGKILL)
        self.wait()


def call(
    module: str,
    arguments: Sequence[object],
    environment: Mapping[str, str],
    forked_tasks: bool = False,
    timeout: float = 400,
    folder: pathlib.Path | None = None,
) -> subprocess.CompletedProcess:
    """As `subprocess.run` with captured text; see `Process`."""
    process = Process(module, arguments, environment, forked_tasks, folder)
    try:
        status = process.wait(timeout)
    finally:
        process.kill()
    return subprocess.CompletedProcess(process.args, status, *process.said())


def run(
    command: Sequence[str], *, capture_output: bool, text: bool, env: Mapping[str, str]
) -> subprocess.CompletedProcess:
    """In place of `subprocess.run`, for a command that is a module of ours."""
    python, flag, module, *arguments = command
    assert (python, flag, capture_output, text) == (sys.executable, "-m", True, True)
    return call(module, arguments, env)


def _called(
    command: list[str],
    said: tuple[pathlib.Path, pathlib.Path],
    environment: dict[str, str],
    folder: str,
    forked_tasks: bool,
) -> NoReturn:
    streams = [file.open("ab", buffering=0) for file in said]
    from components.base import child
    from components.serving_check import component as serving_check
    from components.training import trainer

    # This process has computed nothing, so all that it starts can be forked from it.
    vars(serving_check)["subprocess"] = types.SimpleNamespace(run=_forked)
    vars(trainer)["child"] = types.SimpleNamespace(call=partial(child.call, fork=True))
    if forked_tasks:
        from pipeline.runners.kubeflow import compile
        from pipeline.runners.kubeflow.dry_run import launcher

        # It builds models, and what TensorFlow has computed in may not fork.
        compile.check_names = partial(child.call, compile.check_names, fork=True)
        vars(launcher)["subprocess"] = types.SimpleNamespace(
            Popen=_task, DEVNULL=subprocess.DEVNULL, STDOUT=subprocess.STDOUT
        )
    _become(command, streams, environment, folder)


def _become(
    command: list[str], streams: Sequence[IO[bytes]], environment: dict[str, str], folder: str
) -> NoReturn:
    """Goes on as `python -m MODULE ARGUMENT…` in this process, and ends it."""
    os.setsid()
    for number, stream in enumerate(streams, start=1):
        os.dup2(stream.fileno(), number)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    os.chdir(folder)
    added = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    sys.path[:0] = [folder, *added]
    module, *_ = sys.argv = command
    try:
        importlib.import_module(module).main()
        status: Any = 0
    except SystemExit as end:
        status = end.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    # What the interpreter does at its end, and multiprocessing leaves out in a fork.
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


class _Fork:
    """`python -m MODULE ARGUMENT…`, forked from this process."""

    def __init__(
        self, command: list[str], streams: Sequence[IO[bytes]], env: Mapping[str, str], folder: str
    ):
        python, flag, *rest = command
        assert (python, flag) in {("python", "-m"), (sys.executable, "-m")}
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if not self.pid:
            _become(rest, streams, dict(env), folder)

    def wait(self) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _task(
    command: list[str], *, cwd: Any, env: dict[str, str], stdout: IO[bytes], **_: Any
) -> _Fork:
    """In place of Popen for a dry run: a task's command."""
    return _Fork(command, (stdout, stdout), env, str(cwd))


def _forked(
    command: list[str], *, capture_output: bool, text: bool, env: Mapping[str, str]
) -> subprocess.CompletedProcess:
    """As `run`, in a process that may fork itself."""
    assert capture_output
    assert text
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        status = _Fork(command, (out, err), env, os.getcwd()).wait()
        said = []
        for file in (out, err):
            file.seek(0)
            said.append(file.read().decode())
    return subprocess.CompletedProcess(command, status, *said)
