"""Measures how time and memory grow with the data.

    python -m benchmarks.scale --rows 70000 700000 2100000 [--shard-rows 100000] [--output FOLDER]
        [--beam-args=--direct_running_mode=multi_processing --beam-args=--direct_num_workers=2]

For each number of rows it writes CSVs (varied rows of the test split of --data, or of
Fashion-MNIST), then runs ingestion, statistics, validation and Transform, each in a fresh
process, and removes what they wrote. Writes scale.json and prints a table.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
import tempfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import rich.box
import rich.console
import rich.table

from benchmarks import measured
from benchmarks.scale.subject import STEPS
from components.base.errors import DenoiseError
from components.base.files import write_json

RESULT_FILE = "scale.json"
_SUBJECT = "benchmarks.scale.subject"


def measure(
    source: pathlib.Path,
    folder: pathlib.Path,
    sizes: Sequence[int],
    shard_rows: int,
    beam_args: Sequence[str] = (),
) -> dict[str, Any]:
    """Seconds and peak bytes of each step for each number of rows.

    Args:
      source: A data folder to draw rows from.
      folder: For the CSVs and artifacts; what is written there is removed again.
      sizes: Numbers of rows.
      shard_rows: Rows in one CSV; 0: all of a split in one.
      beam_args: Beam's flags.
    """
    flags = ["--runner=FnApiRunner", *beam_args]
    runs = []
    for rows in sizes:
        data, place = folder / "data", folder / "artifacts"
        place.mkdir()
        made = measured.call(
            f"{_SUBJECT}.generate",
            source=str(source),
            folder=str(data),
            rows=rows,
            shard_rows=shard_rows,
        )
        run: dict[str, Any] = {"rows": rows, "csv_bytes": made.result["bytes"], "steps": {}}
        for name in STEPS:
            found = measured.call(
                f"{_SUBJECT}.step", name=name, data=str(data), folder=str(place), beam_args=flags
            )
            run["steps"][name] = {
                "seconds": found.seconds,
                "cpu_seconds": found.cpu_seconds,
                "peak_bytes": found.peak_bytes,
            }
            print(f"{rows:,} rows, {name}: {found.seconds:.1f} s", file=sys.stderr, flush=True)
            if name == "CsvIngestion":
                shutil.rmtree(data)
        shutil.rmtree(place)
        runs.append(run)
    return {
        "shard_rows": shard_rows,
        "beam_args": list(beam_args),
        "runs": runs,
        "growth": growth(runs),
    }


def growth(runs: Sequence[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Growth by step. `exponent` is that of time against rows, by least squares of the logarithms;
    `memory` is the greatest peak as a multiple of that of the fewest rows."""
    if len(runs) < 2:
        return {}
    rows = np.log([run["rows"] for run in runs])
    return {
        name: {
            "exponent": float(
                np.polyfit(rows, np.log([run["steps"][name]["seconds"] for run in runs]), 1)[0]
            ),
            "memory": max(run["steps"][name]["peak_bytes"] for run in runs)
            / runs[0]["steps"][name]["peak_bytes"],
        }
        for name in runs[0]["steps"]
    }


def table(figures: dict[str, Any]) -> rich.table.Table:
    """The figures for people."""
    made = rich.table.Table(box=rich.box.SIMPLE_HEAD)
    made.add_column("", no_wrap=True)
    for run in figures["runs"]:
        made.add_column(f"{run['rows']:,} rows", justify="right", no_wrap=True)
    for column in ("exponent", "memory"):
        made.add_column(column, justify="right", no_wrap=True)
    for name in figures["runs"][0]["steps"]:
        cells = [
            f"{run['steps'][name]['seconds']:.1f} s, "
            f"{run['steps'][name]['peak_bytes'] / 1e6:,.0f} MB"
            for run in figures["runs"]
        ]
        grown = figures["growth"].get(name)
        made.add_row(
            name,
            *cells,
            *((f"{grown['exponent']:.2f}", f"x {grown['memory']:.2f}") if grown else ()),
        )
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--rows", type=int, nargs="+", default=[70_000, 700_000])
    parser.add_argument("--data", type=pathlib.Path, help="rows to draw from")
    parser.add_argument("--shard-rows", type=int, default=100_000)
    parser.add_argument("--beam-args", action="append", default=[])
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("workspace/benchmark"))
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    try:
        source = arguments.data
        if source is None:
            from pipeline.fashion_mnist import fashion_mnist

            source = fashion_mnist(output.parent)
        with tempfile.TemporaryDirectory(prefix=".scale-", dir=output) as folder:
            figures = measure(
                source.absolute(),
                pathlib.Path(folder),
                arguments.rows,
                arguments.shard_rows,
                arguments.beam_args,
            )
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    write_json(output / RESULT_FILE, figures)
    rich.console.Console(width=120).print(table(figures))
    print(json.dumps(figures["growth"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
