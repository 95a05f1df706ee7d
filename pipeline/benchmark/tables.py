"""The benchmark's tables, for a terminal."""

from __future__ import annotations

import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import rich.box
import rich.console
import rich.table

from pipeline.benchmark.contents import Benchmark, Photographs


def _number(value: float | None, form: str, missing: str = "") -> str:
    return missing if value is None else format(value, form)


def tables(found: Benchmark) -> Iterator[rich.table.Table]:
    """The models, a table for each noise, the published figures."""
    models = [method for method in found.methods if method.kind == "model"]
    if models:
        yield _table(
            "Models of the workspace",
            ("model", "preset", ">parameters", ">epochs", ">trained, s", "trained on"),
            (
                (
                    method.title,
                    method.preset or "",
                    _number(method.parameters, ","),
                    _number(method.epochs, ","),
                    _number(method.training_seconds, ".0f"),
                    method.trained_on or "",
                )
                for method in models
            ),
        )
    for noise in found.noises:
        yield _table(
            f"{noise}, {found.images:,} test images",
            ("", ">PSNR, dB", ">SSIM", ">MSE", ">recognised", ">images/s", ">cores", "with"),
            (
                (
                    found.method(result.method).title,
                    f"{result.total.psnr:.2f}",
                    f"{result.total.ssim:.4f}",
                    f"{result.total.mse:.5f}",
                    _number(result.total.accuracy, ".1%"),
                    _number(result.images_per_second, ",.0f"),
                    str(result.cores or ""),
                    found.what_for(result),
                )
                for result in found.ranked(noise)
            ),
        )
    for photographs in found.photographs:
        yield photograph_table(photographs)
    yield _table(
        "Published by the predecessors of themselves: own noise and data, not measured here",
        ("model", ">MSE", ">training MSE", "setting"),
        (
            (item.model, f"{item.mse:.5f}", f"{item.training_mse:.5f}", item.setting)
            for item in found.published
        ),
    )


def photograph_table(found: Photographs) -> rich.table.Table:
    """Every method on photographs, and how much the best model is better than its rival."""
    rival, models = found.rival(), found.models()
    noises = [f">{noise}, dB (SSIM)" for noise in found.noises]
    table = _table(
        f"{found.title.capitalize()}: the middle {found.size}x{found.size} of {found.images}",
        ("", *noises, ">photographs/s", ">cores", "with"),
        (
            (
                method.title,
                *(f"{row.total.psnr:.2f} ({row.total.ssim:.3f})" for row in rows),
                _number(rows[-1].images_per_second, ".2f"),
                str(rows[-1].cores or ""),
                found.what_for(rows[-1]),
            )
            for method in found.overall()
            for rows in [[found.result(method.name, noise) for noise in found.noises]]
        ),
    )
    if rival is not None and models:
        gains = found.gains(models[0].name, rival.name)
        table.add_section()
        table.add_row(
            f"{models[0].title} less {rival.title}",
            *(f"{gain.mean:+.2f}, in {gain.better} of {found.images}" for gain in gains),
        )
    return table


def _table(title: str, columns: Iterable[str], rows: Iterable[tuple[str, ...]]) -> rich.table.Table:
    """A table; a column whose name begins with > holds numbers."""
    table = rich.table.Table(title=title, box=rich.box.SIMPLE_HEAD, title_justify="left")
    names = list(columns)
    for position, name in enumerate(names):
        last = position == len(names) - 1
        justify: Any = "right" if name.startswith(">") else "left"
        table.add_column(name.removeprefix(">"), justify=justify, no_wrap=not last)
    for row in rows:
        table.add_row(*row)
    return table


def show(found: Benchmark, page: pathlib.Path, console: rich.console.Console) -> None:
    """Prints the tables."""
    for table in tables(found):
        console.print(table)
    if found.clean.accuracy is not None:
        console.print(f"recognised of the clean images: {found.clean.accuracy:.1%}")
    for name, reason in found.left_out.items():
        console.print(f"{name}: {reason}", soft_wrap=True)
    console.print(f"page        {page}", soft_wrap=True)
