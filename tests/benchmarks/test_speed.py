"""The speed benchmark: its figures, and that it runs."""

from __future__ import annotations

import pytest

from benchmarks.speed import __main__ as speed
from tests import clothing

FIGURES = {
    "rows": 70,
    "repeats": 1,
    "ours": {
        "seconds": 2.0,
        "cpu_seconds": 2.0,
        "rows_per_second": 35.0,
        "peak_bytes": 1,
        "steps": {"CsvIngestion": 1.0},
    },
    "stock": {
        "seconds": 60.0,
        "cpu_seconds": 60.0,
        "rows_per_second": 1.0,
        "peak_bytes": 1,
        "steps": {"CsvExampleGen": 50.0},
    },
    "steps": {"Transform": 4.0, "Trainer": 1000.0, "Report": 2.0},
    "run": {"seconds": 1.0, "cpu_seconds": 1.0, "peak_bytes": 1},
    "cached_run": {"seconds": 10.0, "cpu_seconds": 9.0, "peak_bytes": 1},
    "limits": {
        "ingestion_seconds": 0.5,
        "evaluation_seconds": 3.0,
        "bare_evaluation_seconds": 2.0,
        "training_images_per_second": 99.0,
        "bare_training_images_per_second": 100.0,
    },
}


def test_ratios():
    reached = [ratio[1] for ratio in speed.ratios(FIGURES)]
    assert reached == pytest.approx([30.0, 0.1, 2.0, 1.5, 0.99, 10.0])
    without = {name: value for name, value in FIGURES.items() if name != "stock"}
    assert len(speed.ratios(without)) == 4
    shown = {"ratios": {"x": {"reached": 1.0, "aim": 2.0, "met": False}}}
    assert speed.table({**FIGURES, **shown}).row_count == 13


def test_the_first_rows_of_both_splits(tmp_path):
    data = clothing.write_csvs(tmp_path / "data", train=60, test=10)
    few = speed.first_rows(data, 14, tmp_path / "few")
    assert speed._rows(data) == 70
    assert speed._rows(few) == 14
    whole = (data / "train" / "clothing-1.csv").read_text()
    assert whole.startswith((few / "train" / "first.csv").read_text())


@pytest.mark.ci
def test_it_runs(tmp_path):
    data = clothing.write_csvs(tmp_path / "data", train=1200, test=200)
    (tmp_path / "out").mkdir()
    figures = speed.measure(
        data,
        tmp_path / "out",
        repeats=1,
        training_epochs=2,
        overrides=("report.classifier_epochs=1",),
    )
    assert figures["rows"] == 1400
    assert set(figures["stock"]["steps"]) >= {"CsvExampleGen", "StatisticsGen"}
    assert figures["ours"]["peak_bytes"] > 1e8
    assert all(value > 0 for value in figures["limits"].values())
    assert {name for name, *_ in speed.ratios(figures)} == set(figures["ratios"])
    assert speed.table(figures).row_count > 15
