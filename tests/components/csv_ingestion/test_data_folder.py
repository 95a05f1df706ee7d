"""Reading a split of a data folder."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from components.base.errors import DataError
from components.csv_ingestion import data_folder


def test_rows_are_those_of_the_files(tmp_path):
    folder = tmp_path / "test"
    folder.mkdir(parents=True)
    (folder / "a.csv").write_text("label,p1,p2,p3,p4\n3,0,1,2,3\n4,4,5,6,255\n")
    with gzip.open(folder / "b.csv.gz", "wt") as file:
        file.write("9,9,9,9,9\n")
    blocks = list(data_folder.rows(tmp_path, "test", pixels=4, classes=10))
    assert np.concatenate([labels for labels, _, _ in blocks]).tolist() == [3, 4, 9]
    pixels = np.concatenate([pixels for _, pixels, _ in blocks])
    assert pixels.tolist() == [[0, 1, 2, 3], [4, 5, 6, 255], [9, 9, 9, 9]]
    keys = np.concatenate([keys for _, _, keys in blocks])
    assert len(set(keys.tolist())) == 3


def test_a_bad_row_is_named_by_file_and_line(tmp_path):
    (tmp_path / "test").mkdir()
    file = tmp_path / "test" / "a.csv"
    file.write_text("label,p1,p2,p3,p4\n3,0,1,2,3\n4,4,5,6,256\n")
    with pytest.raises(DataError, match=r"a\.csv:3: bad row: pixel 4 is 256"):
        list(data_folder.rows(tmp_path, "test", pixels=4, classes=10))
