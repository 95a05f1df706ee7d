"""What a command does around its work: a log, the steps shown, an answer."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import sys
from collections.abc import Callable, Iterator
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    import rich.console

    from pipeline.display import Steps


@contextlib.contextmanager
def session(
    logs: pathlib.Path, command: str, verbose: bool = False, steps: int = 1
) -> Iterator[tuple[IO[str], IO[str], Steps]]:
    """Sends what libraries print to a log, and shows the command's steps on standard error.

    Args:
      logs: Folder of the log, which is `<command>.log`.
      command: Name of the command.
      verbose: Libraries print to the terminal; there is no log.
      steps: Number of steps that will be shown.

    Yields:
      Standard output, standard error, and the steps.
    """
    from pipeline import display

    with (
        display.quiet(logs / f"{command}.log", verbose) as (out, err),
        display.Steps(err, total=steps) as shown,
    ):
        yield out, err, shown


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
    """Prints a registry: JSON with all of each row, or a table of some columns."""

    def show(console: rich.console.Console) -> None:
        import rich.box
        import rich.table

        table = rich.table.Table(box=rich.box.SIMPLE_HEAD)
        for column in columns:
            number = isinstance(rows[0][column], int)
            table.add_column(
                column,
                justify="right" if number else "left",
                no_wrap=column in ("name", "parameters", "preset"),
            )
        for row in rows:
            values = [row[column] for column in columns]
            table.add_row(*(f"{v:,}" if isinstance(v, int) else str(v) for v in values))
        console.print(table)

    answer(rows, as_json, show=show)


def data_folder(given: pathlib.Path | None, workspace: pathlib.Path) -> pathlib.Path:
    """The data folder of `--data`, or Fashion-MNIST in the workspace, brought there if need be.

    Raises:
      DataError: it is not a data folder, or Fashion-MNIST cannot be had.
    """
    from components.csv_ingestion.data_folder import check_folder

    if given is None:
        from pipeline.fashion_mnist import fashion_mnist

        given = fashion_mnist(workspace)
    check_folder(given)
    return given
