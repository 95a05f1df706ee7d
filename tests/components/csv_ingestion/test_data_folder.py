"""Reading a split of a data folder."""

from __future__ import annotations

import gzip
import os
import pathlib
import shutil
import socket

import numpy as np
import pytest

from components.base.errors import DataError
from components.csv_ingestion import data_folder
from tests import clothing


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
    with pytest.raises(DataError, match=r"a\.csv:3: out_of_range: pixel 4 is 256"):
        list(data_folder.rows(tmp_path, "test", pixels=4, classes=10))


@pytest.fixture
def folder(tmp_path):
    return clothing.write_csvs(tmp_path / "data", train=4, test=2)


def pipe(path: pathlib.Path) -> None:
    os.mkfifo(path)


def endpoint(path: pathlib.Path) -> None:
    # A socket's path may not be long.
    here = os.getcwd()
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)
    os.chdir(here)


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (pipe, "it is a named pipe, expected a file"),
        (endpoint, "it is a socket, expected a file"),
        (pathlib.Path.mkdir, "it is a folder, expected a file"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device, expected a file"),
        (lambda path: path.symlink_to("nowhere"), "a link to nowhere: No such file"),
        (lambda path: path.symlink_to(path.name), "a link to x.csv: Too many levels"),
    ],
)
def test_what_is_no_file_is_named_before_it_is_opened(folder, make, what):
    path = folder / "train" / "x.csv"
    make(path)
    for look in (
        data_folder.check_folder,
        lambda place: list(data_folder.rows(place, "train", 784, 10)),
        lambda place: data_folder.version({"input_base": str(place)}, {}),
    ):
        with pytest.raises(DataError) as caught:
            look(folder)
        assert str(caught.value).startswith(f"{path} cannot be read: {what}")


def test_a_link_to_a_file_is_a_file(folder):
    (folder / "train" / "clothing-1.csv").rename(folder / "elsewhere")
    (folder / "train" / "a.csv").symlink_to("../elsewhere")
    data_folder.check_folder(folder)
    assert sum(len(labels) for labels, _, _ in data_folder.rows(folder, "train", 784, 10)) == 4


def test_the_version_is_that_of_what_is_read(folder):
    """Also where TFX's sum of files, bytes and seconds stays as it was."""
    train = folder / "train"
    found = set()

    def changed():
        found.add(data_folder.version({"input_base": str(folder)}, {}))
        return len(found)

    assert changed() == 1
    (train / "clothing-1.csv").rename(train / "a.csv")
    assert changed() == 2
    shutil.copy2(train / "a.csv", train / "b.csv")
    assert changed() == 3
    (train / "b.csv").rename(train / "b.csv.bak")
    assert changed() == 4
    (train / ".#a.csv").symlink_to("somebody@somewhere.1")  # Emacs's lock
    assert changed() == 5
    (folder / "unread.bin").touch()
    (train / "b.csv.bak").write_text("not read")
    assert changed() == 5
    (folder / "elsewhere").mkdir()
    train.rename(folder / "elsewhere" / "train")
    train.symlink_to("elsewhere/train")
    assert changed() == 5
    with (train / "a.csv").open("a") as file:
        file.write("\n")
    assert changed() == 6


def test_names_that_are_not_utf_8_are_shown(folder):
    name = os.fsdecode(b"caf\xe9.csv")
    (folder / "train" / name).write_text("1,2\n")
    with pytest.raises(DataError) as caught:
        data_folder.check_folder(folder)
    assert str(caught.value).startswith(f"{folder}/train/caf\\xe9.csv: its name is not UTF-8")
    (folder / "train" / name).unlink()
    folder.rename(folder.with_name(name))
    with pytest.raises(DataError, match=r"caf\\xe9\.csv: a path that is not UTF-8"):
        data_folder.check_folder(folder.with_name(name))


def test_names_are_taken_or_listed(folder):
    (folder / "train" / "clothing-1.csv").rename(folder / "train" / "B.CSV")
    (folder / "train" / "c.Csv.GZ").write_bytes(gzip.compress(b"1," * 784 + b"1\n"))
    for name in ("._B.CSV", ".DS_Store", "a.csv~", "notes.txt"):
        (folder / "train" / name).touch()
    found = data_folder.files(str(folder), "train")
    assert [pathlib.Path(path).name for path in found.csvs] == ["B.CSV", "c.Csv.GZ"]
    assert found.ignored == {
        "train/.DS_Store": "hidden",
        "train/._B.CSV": "hidden",
        "train/a.csv~": "not named .csv or .csv.gz",
        "train/notes.txt": "not named .csv or .csv.gz",
    }
    assert data_folder.ignored(folder) == found.ignored
    assert len(list(data_folder.rows(folder, "train", 784, 10))) == 2


def test_what_there_is_instead_is_listed(folder):
    (folder / "test" / "clothing-1.csv").rename(folder / "test" / "clothing.xlsx")
    with pytest.raises(DataError, match=r"test/clothing.xlsx: not named \.csv or \.csv\.gz"):
        data_folder.check_folder(folder)


@pytest.mark.parametrize(
    ("names", "newest"),
    [
        (["span-1", "span-2"], "span-2"),
        (["span-01", "span-2"], "span-2"),
        (["span-09", "span-010"], "span-010"),
        (["span-1", "span-x", "other"], "span-1"),
        (["span-1", "train"], ""),
        ([], ""),
    ],
)
def test_the_newest_span_keeps_its_name(names, newest):
    assert data_folder.newest_span(names) == newest


def test_two_spans_of_one_number_are_not_told_apart():
    with pytest.raises(DataError, match="span-01 and span-1 have the same number"):
        data_folder.newest_span(["span-1", "span-0", "span-01"])


def test_a_span_whose_number_nothing_can_hold_is_refused():
    assert data_folder.newest_span([f"span-{2**63 - 1}", "span-1"]) == f"span-{2**63 - 1}"
    with pytest.raises(DataError, match=f"span-{2**63}: its number is larger than {2**63 - 1}"):
        data_folder.newest_span([f"span-{2**63}", "span-1"])


def test_a_split_that_cannot_be_listed_is_named(folder, monkeypatch):
    def forbidden(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "listdir", forbidden)
    with pytest.raises(DataError, match="train cannot be listed: Permission denied"):
        data_folder.files(str(folder), "train")


def test_zeros_in_front_of_a_spans_number(tmp_path):
    for name in ("span-08", "span-09"):
        clothing.write_csvs(tmp_path / name, train=4, test=2)
    assert data_folder.to_take(str(tmp_path)) == str(tmp_path / "span-09")
    assert data_folder.span_number(str(tmp_path / "span-09")) == 9
    assert data_folder.span_number(str(tmp_path)) is None
