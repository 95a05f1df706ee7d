"""The scale benchmark: its rows, and that it runs."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scale import __main__ as scale
from benchmarks.scale import rows, subject
from tests import clothing


@pytest.fixture(scope="module")
def source():
    images, labels = clothing.images(30, seed=1)
    return labels, images.reshape(30, -1)


def test_csv_is_the_rows(source):
    labels, pixels = source
    lines = rows.csv(labels, pixels).decode().splitlines()
    assert [[int(value) for value in line.split(",")] for line in lines] == np.column_stack(
        [labels, pixels]
    ).tolist()


def test_drawn_rows_differ_and_are_the_same_for_the_same_seed(source):
    labels, pixels = rows.varied(*source, 500, seed=1)
    assert len(np.unique(pixels, axis=0)) == 500
    assert pixels.dtype == np.uint8
    again = rows.varied(*source, 500, seed=1)
    np.testing.assert_array_equal(again[1], pixels)
    assert not np.array_equal(rows.varied(*source, 500, seed=2)[1], pixels)
    assert set(labels) <= set(source[0])


def test_shards_hold_all_rows(source, tmp_path):
    written = rows.write(source, tmp_path / "data", rows=70, shard_rows=25)
    files = sorted((tmp_path / "data").glob("*/*.csv"))
    assert [str(file.relative_to(tmp_path / "data")) for file in files] == [
        "test/00000.csv",
        "train/00000.csv",
        "train/00001.csv",
        "train/00002.csv",
    ]
    assert sum(file.stat().st_size for file in files) == written
    assert sum(len(file.read_bytes().splitlines()) - 1 for file in files) == 70


def test_growth_of_what_grows_as_the_rows_do():
    runs = [
        {"rows": n, "steps": {"Transform": {"seconds": n / 100, "peak_bytes": 1000 + n}}}
        for n in (100, 1000)
    ]
    grown = scale.growth(runs)["Transform"]
    assert grown["exponent"] == pytest.approx(1)
    assert grown["memory"] == pytest.approx(2000 / 1100)


@pytest.mark.ci
def test_it_runs(tmp_path):
    clothing.write_csvs(tmp_path / "source", train=20, test=40)
    (tmp_path / "out").mkdir()
    figures = scale.measure(tmp_path / "source", tmp_path / "out", [300, 600], shard_rows=100)
    assert [run["rows"] for run in figures["runs"]] == [300, 600]
    assert set(figures["growth"]) == set(subject.STEPS)
    assert not list((tmp_path / "out").iterdir())
    assert scale.table(figures).row_count == len(subject.STEPS)
