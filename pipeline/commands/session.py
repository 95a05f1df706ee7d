"""What a command does around its work: a log, the steps shown, an answer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
import traceback
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

from components.base.errors import RunError, UsageError, WorkspaceError
from components.base.files import shown

if TYPE_CHECKING:
    import rich.console

    from components.base.settings import Settings
    from pipeline.display import Steps


@contextlib.contextmanager
def session(
    logs: pathlib.Path, command: str, verbose: bool = False, log_needed: bool = True
) -> Iterator[tuple[IO[str], IO[str], Steps]]:
    """Sends what libraries print to a log, and shows the command's steps on standard error.

    Args:
      logs: Folder of the log, which is `<command>.log`.
      command: Name of the command.
      verbose: Libraries print to the terminal; there is no log.
      log_needed: Whether a log that cannot be made ends the command; else there is none.

    Yields:
      Standard output, standard error, and the steps.

    Raises:
      WorkspaceError: the log cannot be made.
      Exception: what is raised inside, with the log in its attribute `log`, where there is one
        that says more: not of wrong usage that no step found.
    """
    from pipeline import display

    log = logs / f"{command}.log"
    if not verbose:
        try:
            logs.mkdir(parents=True, exist_ok=True)
            log.open("ab").close()
        except OSError as error:
            if log_needed:
                raise WorkspaceError(
                    f"{shown(log)}: cannot be made: {error.strerror}. Name a folder that can be "
                    "written with --workspace."
                ) from error
            log = pathlib.Path(os.devnull)
    with display.quiet(log, verbose) as (out, err), display.Steps(err) as steps:
        try:
            yield out, err, steps
        except Exception as raised:
            told = raised
            if isinstance(raised, EOFError):
                # Click takes it for Ctrl-D, and that for Ctrl-C.
                told = RunError(f"something ended before it should: {raised}")
                told.__cause__ = raised
            if not isinstance(told, UsageError) or told.step is not None:
                # On a full disk the log takes no more.
                with contextlib.suppress(OSError):
                    traceback.print_exception(told)
                if not verbose:
                    told.log = log  # type: ignore[attr-defined]
            if told is not raised:
                raise told from raised
            raise


def without_log() -> contextlib.AbstractContextManager[Any]:
    """Silences libraries in a command that has no workspace, and so no place for a log."""
    from pipeline import display

    return display.quiet(pathlib.Path(os.devnull), verbose=False)


def answer(
    value: Any,
    as_json: bool,
    out: IO[str] | None = None,
    show: Callable[[rich.console.Console], None] | None = None,
) -> None:
    """Prints a command's answer: JSON for machines, or what people read.

    Args:
      value: Plain values, a dataclass, a pydantic model, or a list of those.
      as_json: Whether to print JSON.
      out: Where to; standard output if None.
      show: Prints it for people; if None, each of its entries gets a line.
    """
    from pipeline import display

    out = out or sys.stdout
    if as_json:
        print(json.dumps(_plain(value), indent=2), file=out)
    elif show is not None:
        show(display.console(out))
    else:
        entries = {name: entry for name, entry in _plain(value).items() if entry is not None}
        width = max((len(name) for name in entries), default=0) + 2
        for name, entry in entries.items():
            print(f"{name:<{width}}{entry}", file=out)


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain(dataclasses.asdict(value))
    if isinstance(value, pathlib.Path):
        return str(value)
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def listing(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    """Prints a registry: JSON with all of each row, or a table of some columns.

    With `origin`, where one is of a plug-in.
    """

    def show(console: rich.console.Console) -> None:
        import rich.box
        import rich.table

        table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
        # Ours say nothing where there are no others.
        origin = ("origin",) if any(row["origin"] != "denoise" for row in rows) else ()
        for column in (*columns, *origin):
            number = isinstance(rows[0][column], int)
            table.add_column(
                column,
                justify="right" if number else "left",
                no_wrap=column in ("name", "parameters", "preset"),
            )
        for row in rows:
            values = [row[column] for column in (*columns, *origin)]
            table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in values))
        console.print(table)

    answer(rows, as_json, show=show)


def read_by(
    preset: str, settings: Settings, data: pathlib.Path | None = None
) -> Iterator[pathlib.Path]:
    """The files and folders that a command reads of what the user named.

    Args:
      preset: As given: a name, or the path of a YAML file.
      settings: What was loaded.
      data: The data folder, if it is a local one.
    """
    yield pathlib.Path(preset)
    if settings.data.schema_file is not None:
        yield pathlib.Path(settings.data.schema_file)
    if data is not None:
        yield data
        yield from data.rglob("*")


def data_source(
    settings: Settings, given: pathlib.Path | None, workspace: pathlib.Path
) -> tuple[Settings, pathlib.Path]:
    """The data folder of `--data`, or what the settings take without it: Fashion-MNIST or
    generated images in the workspace, brought there if need be.

    Returns:
      The settings with the folder's format and classes, and the folder.

    Raises:
      DataError: it is not a data folder, or Fashion-MNIST cannot be had.
      UsageError: the settings do not go with what lies in it.
    """
    from components.ingestion import formats

    if given is None and settings.data.generated is not None:
        from pipeline.clothing import clothing

        given = clothing(workspace, settings.data.generated, settings.image.shape)
    elif given is None:
        from pipeline.fashion_mnist import fashion_mnist

        given = fashion_mnist(workspace)
    return formats.resolved(settings, given), given
