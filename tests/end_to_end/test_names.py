"""Folders and files as people name them, from the command line to a pushed model."""

import re
import shutil

import pytest

from components.csv_ingestion.result import read_summary
from tests import clothing
from tests.end_to_end.conftest import TEST, TRAIN, Denoise


@pytest.mark.ci
def test_names_of_every_kind_and_a_workspace_that_moves(tmp_path):
    data = clothing.write_csvs(
        tmp_path / "data [v2] *? {1,2}" / "span-09", train=TRAIN, test=TEST, seed=7
    )
    clothing.write_csvs(data.parent / "span-8", train=30, test=9)
    (data / "train" / "clothing-1.csv").rename(data / "train" / "B.CSV")
    (data / "train" / "._B.CSV").write_bytes(b"\0\5\x16\7")
    workspace = tmp_path / "w s" / "q\"' p%41 #1 é ]"
    denoise = Denoise(workspace, data.parent)
    settings = ("report.classifier=false",)
    done = denoise.run(*settings)
    assert done.returncode == 0, done.stderr[-4000:]
    assert denoise.summary()["outcome"] == "pushed"
    found = denoise.summary()["data"]
    assert (found["rows"], found["span"]) == (TRAIN + TEST, 9)
    assert found["ignored"] == {"train/._B.CSV": "hidden"}
    assert "train/._B.CSV: hidden" in done.stderr

    moved = Denoise(tmp_path / "moved", data.parent)
    shutil.move(workspace, moved.workspace)
    said = moved.run_killed_after("StatisticsGen", *settings)
    assert "copied or moved from another place" in said
    assert re.search(r"= +1/\d+ CsvIngestion ", said)
    assert re.search(r"✓ +3/\d+ StatisticsGen ", said)
    [examples] = moved.workspace.glob("pipeline_root/CsvIngestion/examples/*")
    assert read_summary(str(examples)).rows == TRAIN + TEST
    assert not workspace.exists()

    (data / "train" / "B.CSV").rename(data / "train" / "C.CSV")
    said = moved.run_killed_after("CsvIngestion", *settings)
    assert re.search(r"✓ +1/\d+ CsvIngestion ", said)
