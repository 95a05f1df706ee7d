"""Measures the pipeline's speed against TFX's stock components and the machine's limits.

    python -m benchmarks.speed [--data DIR] [--rows N] [--repeats 3] [--output FOLDER]

On the same CSVs, each in a fresh process, interleaved and repeated: our ingestion and
statistics, TFX's CsvExampleGen and StatisticsGen; every step of a run, and of a second run
that the cache answers; and beside ingestion, training and evaluation the least that could do:
pyarrow.csv and gzip of the same bytes, a bare `fit`, a bare `predict` with the same metrics.
Writes speed.json and prints a table.
"""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import sys
import tempfile
from typing import Any

import rich.box
import rich.console
import rich.table

from benchmarks import measured
from components.base.errors import DenoiseError
from components.base.files import write_json

RESULT_FILE = "speed.json"
_SUBJECT = "benchmarks.speed.subject"
_NOT_TRAINING = (
    "CsvIngestion",
    "ImportSchemaGen",
    "StatisticsGen",
    "ExampleValidator",
    "AnomalyGate",
    "Transform",
    "PushedModel",
    "ServingCheck",
    "QualityEvaluator",
    "AtomicPusher",
    "Report",
)
"""Everything between the CSVs and the report but the trainings of the two models."""


def measure(
    data: pathlib.Path,
    folder: pathlib.Path,
    repeats: int,
    stock: bool = True,
    training_epochs: int = 3,
    overrides: tuple[str, ...] = (),
) -> dict[str, Any]:
    """All figures, as plain values: seconds, images/s and bytes by name.

    Args:
      data: A data folder with headers.
      folder: For what is written on the way.
      repeats: Of each measurement.
      stock: Whether to measure the stock components, which take minutes.
      training_epochs: Of each training that is compared; the first is not counted.
      overrides: Settings of the run whose steps are measured.
    """
    rows = _rows(data)
    calls: dict[str, list[measured.Measured]] = {"ours": [], "stock": []}
    for number, kind in itertools.product(range(repeats), ("ours", "stock")):
        if kind == "ours" or stock:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                found = measured.call(f"{_SUBJECT}.{kind}", data=str(data), folder=scratch)
            calls[kind].append(found)
            _say(f"{kind} {number + 1}/{repeats}: {found.seconds:.1f} s")
    figures: dict[str, Any] = {"rows": rows, "repeats": repeats}
    for kind, found_all in calls.items():
        if found_all:
            figures[kind] = _summarised(found_all, rows)

    workspace = folder / "workspace"
    run = [sys.executable, "-m", "pipeline.cli", "run", "--json", f"--workspace={workspace}"]
    run += [f"--data={data}", "--set=training.epochs=1", "--set=evaluation.thresholds={}"]
    run += ["--set=evaluation.min_gain=-100"]
    run += [f"--set={override}" for override in overrides]
    first = measured.run(run)
    summary = json.loads(first.result["output"])
    _say(f"a run of one epoch: {first.seconds:.1f} s")
    second = [measured.run(run) for _ in range(repeats)]
    steps = [step for found in second for step in json.loads(found.result["output"])["steps"]]
    again = sorted({step["name"] for step in steps if step["state"] != "cached"})
    if again:
        raise RuntimeError(f"the second run ran {again} again; its code changed meanwhile?")
    figures["steps"] = {step["name"]: step["seconds"] for step in summary["steps"]}
    figures["run"] = {
        "seconds": first.seconds,
        "cpu_seconds": first.cpu_seconds,
        "peak_bytes": first.peak_bytes,
    }
    figures["cached_run"] = {
        "seconds": measured.median(found.seconds for found in second),
        "cpu_seconds": measured.median(found.cpu_seconds for found in second),
        "peak_bytes": max(found.peak_bytes for found in second),
    }

    examples = _artifact(workspace, "CsvIngestion", "examples")
    transformed = _artifact(workspace, "Transform", "transformed_examples")
    model = _artifact(workspace, "Trainer", "model") + "/Format-Serving"
    pairs: dict[str, list[float]] = {"ingestion": [], "evaluation": [], "evaluate": []}
    for number in range(repeats):
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            found = measured.call(
                f"{_SUBJECT}.ingestion_limit", data=str(data), examples=examples, folder=scratch
            )
            pairs["ingestion"].append(found.seconds)
            evaluated = measured.call(
                f"{_SUBJECT}.evaluation", transformed=transformed, model=model, folder=scratch
            )
            pairs["evaluate"].append(evaluated.seconds)
        found = measured.call(f"{_SUBJECT}.evaluation_limit", transformed=transformed, model=model)
        pairs["evaluation"].append(found.seconds)
        for name, one in (("evaluate_cpu", evaluated), ("evaluation_cpu", found)):
            pairs.setdefault(name, []).append(one.cpu_seconds)
        _say(f"limits {number + 1}/{repeats}")
    trained = measured.call(
        f"{_SUBJECT}.training",
        transformed=transformed,
        folder=str(folder / "training"),
        epochs=training_epochs,
        repeats=repeats,
    )
    figures["limits"] = {
        "ingestion_seconds": measured.median(pairs["ingestion"]),
        "evaluation_seconds": measured.median(pairs["evaluate"]),
        "bare_evaluation_seconds": measured.median(pairs["evaluation"]),
        "evaluation_cpu_seconds": measured.median(pairs["evaluate_cpu"]),
        "bare_evaluation_cpu_seconds": measured.median(pairs["evaluation_cpu"]),
        "training_images_per_second": measured.median(trained.result["ours"]),
        "bare_training_images_per_second": measured.median(trained.result["bare"]),
    }
    figures["ratios"] = {
        name: {"reached": reached, "aim": aim, "met": reached >= aim if more else reached <= aim}
        for name, reached, aim, more in ratios(figures)
    }
    return figures


def ratios(figures: dict[str, Any]) -> list[tuple[str, float, float, bool]]:
    """(what, reached, aim, whether more is better) of each aim."""
    limits, ours = figures["limits"], figures["ours"]
    found = [
        (
            "ingestion, times its limit",
            ours["steps"]["CsvIngestion"] / limits["ingestion_seconds"],
            2.5,
            False,
        ),
        (
            "evaluation, times its limit",
            limits["evaluation_seconds"] / limits["bare_evaluation_seconds"],
            2.0,
            False,
        ),
        (
            "training, share of a bare fit's images/s",
            limits["training_images_per_second"] / limits["bare_training_images_per_second"],
            0.95,
            True,
        ),
        ("a run that the cache answers, seconds", figures["cached_run"]["seconds"], 15.0, False),
    ]
    if "stock" in figures:
        stock = figures["stock"]["seconds"]
        rest = sum(figures["steps"].get(name, 0.0) for name in _NOT_TRAINING)
        found = [
            (
                "stock CsvExampleGen + StatisticsGen, times ours",
                stock / ours["seconds"],
                20.0,
                True,
            ),
            ("all but training, share of that stock pair", rest / stock, 0.2, False),
            *found,
        ]
    return found


def _summarised(found: list[measured.Measured], rows: int) -> dict[str, Any]:
    seconds = measured.median(one.seconds for one in found)
    names = found[0].result["steps"]
    return {
        "seconds": seconds,
        "all_seconds": [one.seconds for one in found],
        "cpu_seconds": measured.median(one.cpu_seconds for one in found),
        "rows_per_second": rows / seconds,
        "peak_bytes": max(one.peak_bytes for one in found),
        "steps": {
            name: measured.median(one.result["steps"][name] for one in found) for name in names
        },
    }


def _artifact(workspace: pathlib.Path, component: str, output: str) -> str:
    (folder,) = (workspace / "pipeline_root" / component / output).iterdir()
    return str(folder)


def _rows(data: pathlib.Path) -> int:
    total = 0
    for path in sorted(data.glob("t*/*.csv")):
        with path.open("rb") as file:
            lines = sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 22), b""))
        total += lines - 1
    return total


def first_rows(data: pathlib.Path, rows: int, folder: pathlib.Path) -> pathlib.Path:
    """A data folder of the first `rows` rows, a seventh of them in test."""
    for split, count in (("train", rows - rows // 7), ("test", rows // 7)):
        (folder / split).mkdir(parents=True)
        with (
            sorted((data / split).glob("*.csv"))[0].open("rb") as source,
            (folder / split / "first.csv").open("wb") as target,
        ):
            target.writelines(itertools.islice(source, count + 1))
    return folder


def table(figures: dict[str, Any]) -> rich.table.Table:
    """The figures for people."""
    made = rich.table.Table(
        title=f"{figures['rows']:,} rows, medians of {figures['repeats']}",
        box=rich.box.SIMPLE_HEAD,
        title_justify="left",
    )
    made.add_column("", no_wrap=True)
    for column in ("seconds", "CPU s", "rows/s", "peak MB", "limit", "ratio", "aim"):
        made.add_column(column, justify="right", no_wrap=True)
    for kind, name in (
        ("ours", "our ingestion + statistics"),
        ("stock", "stock CsvExampleGen + StatisticsGen"),
    ):
        if kind in figures:
            found = figures[kind]
            made.add_row(
                name,
                f"{found['seconds']:.1f}",
                f"{found['cpu_seconds']:.1f}",
                f"{found['rows_per_second']:,.0f}",
                f"{found['peak_bytes'] / 1e6:,.0f}",
            )
            for step, seconds in found["steps"].items():
                made.add_row(f"  {step}", f"{seconds:.1f}", style="dim")
    made.add_section()
    for step, seconds in figures["steps"].items():
        made.add_row(step, f"{seconds:.1f}")
    for name, title in (("run", "a run of one epoch"), ("cached_run", "the same run, cached")):
        found = figures[name]
        made.add_row(
            title,
            f"{found['seconds']:.1f}",
            f"{found['cpu_seconds']:.1f}",
            "",
            f"{found['peak_bytes'] / 1e6:,.0f}",
        )
    made.add_section()
    limits = figures["limits"]
    made.add_row(
        "ingestion",
        f"{figures['ours']['steps']['CsvIngestion']:.2f}",
        *[""] * 3,
        f"{limits['ingestion_seconds']:.2f}",
    )
    made.add_row(
        "evaluation",
        f"{limits['evaluation_seconds']:.2f}",
        *[""] * 3,
        f"{limits['bare_evaluation_seconds']:.2f}",
    )
    made.add_row(
        "training, images/s",
        f"{limits['training_images_per_second']:.0f}",
        *[""] * 3,
        f"{limits['bare_training_images_per_second']:.0f}",
    )
    made.add_section()
    for name, ratio in figures["ratios"].items():
        style = None if ratio["met"] else "red"
        made.add_row(name, *[""] * 5, f"{ratio['reached']:.2f}", f"{ratio['aim']:g}", style=style)
    return made


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed",
        description=__doc__,
        formatter_class=argparse.RawTextHelpFormatter,
    )
    parser.add_argument("--data", type=pathlib.Path, help="a data folder; Fashion-MNIST without")
    parser.add_argument("--rows", type=int, help="only so many rows, for a quick look")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-stock", action="store_true", help="leave out the stock components")
    parser.add_argument("--output", type=pathlib.Path, default=pathlib.Path("workspace/benchmark"))
    arguments = parser.parse_args()
    output = arguments.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    try:
        data = arguments.data
        if data is None:
            from pipeline.fashion_mnist import fashion_mnist

            data = fashion_mnist(output.parent)
        with tempfile.TemporaryDirectory(prefix=".speed-", dir=output) as scratch:
            folder = pathlib.Path(scratch)
            data = data.absolute()
            if arguments.rows:
                data = first_rows(data, arguments.rows, folder / "data")
            figures = measure(data, folder, arguments.repeats, stock=not arguments.no_stock)
    except DenoiseError as error:
        print(error, file=sys.stderr)
        return error.exit_status
    write_json(output / RESULT_FILE, figures)
    rich.console.Console(width=120).print(table(figures))
    print(output / RESULT_FILE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
