"""Examples are read by their folder's very name, and counted against what was written."""

from __future__ import annotations

import pathlib

import pytest
import tensorflow as tf

from components.base import records
from components.base.errors import DataError, RunError

NAMES = [
    "plain",
    "a [v2]",
    "a*b",
    "a?b",
    "a{1,2}",
    "a b",
    "q\"'",
    "p%41",
    "h#",
    "n\nl",
    "é",
    "b\\s",
]


def write(folder: pathlib.Path, shards: int, each: int = 2) -> list[str]:
    folder.mkdir(parents=True)
    for shard in range(shards):
        with tf.io.TFRecordWriter(f"{folder}/data-{shard}.gz", "GZIP") as writer:
            for number in range(each):
                writer.write(b"%d" % (shard * each + number))
    return [f"{folder}/*"]


def test_whatever_the_folder_is_named_its_own_files_are_read(tmp_path):
    for number, name in enumerate(NAMES, start=1):
        write(tmp_path / name / "Split-train", number)
    for number, name in enumerate(NAMES, start=1):
        assert records.count([f"{tmp_path / name}/Split-train/*"]) == 2 * number


def test_another_number_than_was_written_is_refused(tmp_path):
    files = write(tmp_path / "Split-train", 3)
    assert records.count(files) == 6
    records.write_counts(str(tmp_path), {"train": 6, "test": 1})
    assert records.count(files) == 6
    (tmp_path / "Split-train" / "data-1.gz").unlink()
    with pytest.raises(RunError) as caught:
        records.count(files)
    assert f"{tmp_path}/Split-train: 4 Examples were read, but 6 were written" in str(caught.value)
    assert f"remove {tmp_path} and run again" in str(caught.value)
    with pytest.raises(RunError, match="1 Examples were read, but 0 were written"):
        records.check_read(f"{tmp_path}/Split-validation/", 1)


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(DataError, match="the split is empty"):
        records.count([f"{tmp_path}/Split-train/*"])
