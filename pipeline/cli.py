"""The `denoise` command: which commands there are, and how one of them ends.

Heavy imports happen inside the commands, so that `denoise --help` answers at once.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from typing import NoReturn

import typer

from components.base.errors import DenoiseError
from pipeline.commands import (
    benchmark,
    compile,
    data,
    evaluate,
    models,
    noises,
    predict,
    report,
    run,
    serve,
    status,
    submit,
    train_worker,
)

app = typer.Typer(
    name="denoise",
    help="From image CSVs to a served denoiser: validate, transform, train, evaluate, push.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
app.command()(data.data)
app.command()(run.run)
app.command("train-worker")(train_worker.train_worker)
app.command()(status.status)
app.command()(evaluate.evaluate)
app.command()(benchmark.benchmark)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(
    serve.serve
)
app.command()(predict.predict)
app.command()(models.models)
app.command()(noises.noises)
app.command()(compile.compile)
app.command()(submit.submit)
app.command()(report.report)


def _calm_libraries() -> None:
    """Turns off, at the source, warnings that no user of this command can act on."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # Else this process takes all of a GPU's memory, and one that trains for it has none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    # TFX's proto and beam modules warn of their own internals.
    warnings.filterwarnings("ignore")
    logging.getLogger("absl").setLevel(logging.ERROR)


def main() -> NoReturn:
    """Runs the command; a DenoiseError ends it with its message and exit status."""
    _calm_libraries()
    try:
        app(standalone_mode=False)
    except DenoiseError as error:
        import rich.console

        console = rich.console.Console(stderr=True, highlight=False, soft_wrap=True)
        console.print("[bold red]denoise:[/] ", end="")
        console.print(str(error), markup=False)
        sys.exit(error.exit_status)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("denoise: stopped; call the same command again to go on.", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # Click's usage errors carry how they want to be shown.
        if hasattr(error, "show") and hasattr(error, "exit_code"):
            error.show()
            sys.exit(error.exit_code)
        raise
    sys.exit(0)


if __name__ == "__main__":
    main()
