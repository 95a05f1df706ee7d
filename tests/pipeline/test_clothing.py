"""Images that are drawn where no data are given."""

import pytest

from components.base.errors import DataError
from pipeline import clothing, config
from pipeline.commands.session import data_source


def _rows(folder, split):
    return [
        row for file in (folder / split).glob("*.csv") for row in file.read_text().splitlines()[1:]
    ]


def test_the_preset_smoke_draws_its_images_once(tmp_path):
    settings = config.load("smoke", ["data.generated=60", "image={height: 8, width: 6}"])
    _, folder = data_source(settings, None, tmp_path)
    assert (len(_rows(folder, "train")), len(_rows(folder, "test"))) == (50, 10)
    assert {len(row.split(",")) for row in _rows(folder, "train")} == {1 + 8 * 6}
    assert {row.split(",")[0] for row in _rows(folder, "test")} == set(map(str, range(10)))
    times = {file: file.stat().st_mtime_ns for file in folder.rglob("*")}
    assert data_source(settings, None, tmp_path)[1] == folder
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*")} == times
    assert [entry.name for entry in folder.parent.iterdir()] == [folder.name]


def test_another_number_is_another_folder_of_the_same_first_draw(tmp_path):
    one, again, other = (
        clothing.clothing(tmp_path / place, count, (6, 6, 1))
        for place, count in (("a", 60), ("b", 60), ("a", 72))
    )
    assert _rows(one, "train") == _rows(again, "train")
    assert one.parent == other.parent
    assert one != other


def test_given_data_go_before_drawn_ones(tmp_path):
    given = clothing.write_csvs(tmp_path / "given", train=10, test=5)
    assert data_source(config.load("smoke"), given, tmp_path)[1] == given
    assert not (tmp_path / "generated").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "generated").write_text("")
    with pytest.raises(DataError, match="generated/60x6x6x1 cannot be written"):
        clothing.clothing(tmp_path, 60, (6, 6, 1))
