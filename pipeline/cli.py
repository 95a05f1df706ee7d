"""The `denoise` command: which commands there are, and how one of them ends.

Heavy imports happen inside the commands, so that `denoise --help` answers at once.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated, NoReturn

import typer

from components.base import libraries
from components.base.errors import explained
from pipeline.commands import (
    beam_worker,
    benchmark,
    compile,
    data,
    evaluate,
    keep,
    models,
    noises,
    predict,
    pretrained,
    report,
    run,
    serve,
    status,
    submit,
    train_worker,
    version,
)
from pipeline.stopping import Stopping

_INTERRUPTED = 128 + signal.SIGINT
"""What typer returns when it caught KeyboardInterrupt."""

app = typer.Typer(
    name="denoise",
    help="From image CSVs to a served denoiser: validate, transform, train, evaluate, push.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


@app.callback()
def _before_any_command(
    show_version: Annotated[
        bool,
        typer.Option(
            "--version",
            callback=version.show_version,
            is_eager=True,
            help="Show versions of this project and of what it stands on.",
        ),
    ] = False,
) -> None:
    pass


app.command()(data.data)
app.command()(run.run)
app.command("train-worker")(train_worker.train_worker)
app.command(
    "beam-worker", context_settings={"allow_extra_args": True, "ignore_unknown_options": True}
)(beam_worker.beam_worker)
app.command()(status.status)
app.command()(evaluate.evaluate)
app.command()(benchmark.benchmark)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    serve.serve
)
app.command()(predict.predict)
app.command()(pretrained.pretrained)
app.command()(keep.keep)
app.command()(models.models)
app.command()(noises.noises)
app.command()(compile.compile)
app.command()(submit.submit)
app.command()(report.report)


def _complain(message: str) -> None:
    import rich.console

    console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("[bold red]denoise:[/] ", end="")
    console.print(message, markup=False)


def _open_streams() -> None:
    """Opens to nothing what the caller closed (`denoise run >&-`): the next file to be opened would
    have its number, and get what libraries print."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            null = os.open(os.devnull, os.O_RDWR)
            os.dup2(null, number)
            if null != number:
                os.close(null)
            os.set_inheritable(number, True)
        if getattr(sys, name) is None:
            stream = open(number, "w" if number else "r", closefd=False)  # noqa: SIM115
            setattr(sys, name, stream)


def main() -> NoReturn:
    """Runs the command and exits with its status.

    A DenoiseError is told by its message, a stopping signal by how to go on. Anything else that
    is raised is a fault of ours; its traceback is in the log, or where there is none, on the
    terminal.
    """
    _open_streams()
    libraries.spare_processor()
    libraries.calm()
    stopping = Stopping()
    arguments = sys.argv[1:]
    if arguments and arguments[0].startswith("--id="):
        # A Beam runner knows a worker by one path, and calls it with flags alone.
        arguments.insert(0, "beam-worker")
    try:
        status = app(arguments, standalone_mode=False) or 0
    except KeyboardInterrupt:
        status = _INTERRUPTED
    except SystemExit as end:  # typer's, where nobody reads the output any more
        status = end.code
    except Exception as error:
        status = _INTERRUPTED if stopping.by is not None else _explained(error)
    if stopping.by is not None or status == _INTERRUPTED:  # which typer makes of it, too
        stopping.by = stopping.by or signal.SIGINT
        stopping.end()
    sys.exit(status)


def _explained(error: Exception) -> int:
    """Says what was wrong; the exit status."""
    log = getattr(error, "log", None)
    ending = f"\nThe whole log: {log}" if log else ""
    if known := explained(error):
        _complain(f"{known}{ending}")
        return known.exit_status
    package = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if package not in ("", "components", "serving", "pipeline"):
        command = next((word for word in sys.argv[1:] if not word.startswith("-")), "")
        _complain(version.missing_package(package, command))
        return 1
    if isinstance(error, typer.Abort):
        return _INTERRUPTED
    # Click's usage errors carry how they want to be shown.
    if hasattr(error, "show") and hasattr(error, "exit_code"):
        error.show()
        return int(error.exit_code)
    if log:
        _complain(f"{type(error).__name__}: {error}{ending}")
        return 1
    raise error


if __name__ == "__main__":
    main()
