"""The folders of versions: every reader takes the same ones, and TF Serving's."""

from __future__ import annotations

import pathlib

import pytest

from components.base.errors import WorkspaceError
from components.push import versions
from components.push.pusher import push
from components.push.versions import Version


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("1", 1),
        ("00000123", 123),
        ("+7", 7),
        ("-7", -7),
        (" 7\t", 7),
        ("9223372036854775807", 2**63 - 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775808", None),
        ("20261125212712123456", None),
        ("9" * 250, None),
        ("0" * 250, 0),
        ("9" * 5000, None),
        ("", None),
        ("7.", None),
        ("7e0", None),
        ("0x7", None),
        ("1_000", None),
        ("+ 7", None),
        ("٧", None),
        ("²", None),
        ("7\u00a0", None),
        ("7\x00", None),
        (".7.partial", None),
        ("tmp-7", None),
    ],
)
def test_a_name_is_a_version_where_it_is_for_tf_serving(name, number):
    """What absl::SimpleAtoi<int64> says of it."""
    assert versions.number_of(name) == number


def test_of_two_names_of_one_number_the_last_in_order_counts():
    assert versions.named(["2", "1", "01", "001", "notes"]) == [Version(1, "1"), Version(2, "2")]
    assert versions.named(["01", "+1"]) == [Version(1, "01")]


@pytest.fixture
def model(tmp_path) -> pathlib.Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "saved_model.pb").write_bytes(b"graph")
    return folder


def _version(serving: pathlib.Path, name: str, graph: bytes = b"other") -> None:
    (serving / name).mkdir(parents=True)
    (serving / name / "saved_model.pb").write_bytes(graph)


def test_an_odd_folder_is_no_version_for_the_steps_either(model, tmp_path):
    serving = tmp_path / "denoiser"
    _version(serving, "20261125212712123456")
    assert versions.versions(serving) == []
    assert versions.latest(str(serving), None) == versions.NONE
    name = push(str(model), str(serving))
    assert len(name) == 10
    assert versions.latest(str(serving), None) == name


def test_a_name_with_leading_zeros_stays_beside_its_number(model, tmp_path):
    serving = tmp_path / "denoiser"
    _version(serving, "00000123")
    assert versions.versions(serving) == [Version(123, "00000123")]
    assert versions.latest(str(serving), str(model)) == "00000123"
    assert versions.start_version(str(serving), "data") == "00000123"
    name = push(str(model), str(serving), keep=2)
    assert [found.name for found in versions.versions(serving)] == ["00000123", name]
    newer = push(str(model), str(serving), keep=1)
    assert [child.name for child in serving.iterdir()] == [newer]


def test_files_and_incomplete_folders_are_no_complete_versions(tmp_path):
    serving = tmp_path / "denoiser"
    _version(serving, "3")
    (serving / "4").mkdir()
    (serving / "5").touch()
    assert versions.folders(serving) == [Version(3, "3"), Version(4, "4")]
    assert versions.versions(serving) == [Version(3, "3")]
    assert versions.versions(tmp_path / "absent") == []


def test_nothing_can_be_pushed_after_the_largest_number(model, tmp_path):
    serving = tmp_path / "denoiser"
    _version(serving, str(versions.LARGEST))
    with pytest.raises(WorkspaceError, match="9223372036854775807: its number is the largest"):
        push(str(model), str(serving))
    assert [child.name for child in serving.iterdir()] == [str(versions.LARGEST)]
