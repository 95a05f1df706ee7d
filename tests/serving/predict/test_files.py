"""Which files are read, and which may be written."""

from __future__ import annotations

import os
import pathlib

import pytest

from components.base.errors import UsageError
from serving.predict.denoisers import NotDenoisedError
from serving.predict.files import RECORD, claimed, find_inputs, output_names
from serving.predict.run import predict
from tests.serving.predict.written import write_image, write_rows
from tests.serving.saved_models import CHANNELS, HEIGHT, PIXELS, WIDTH


class Halving:
    """A denoiser without a model."""

    shape = row_shape = (HEIGHT, WIDTH, CHANNELS)

    def denoise(self, images, told):
        return images // 2

    def close(self):
        pass


def contents(folder: pathlib.Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def inputs(tmp_path):
    folder = tmp_path / "in"
    write_image(folder / "a.png", 100)
    write_rows(folder / "rows.csv", 2700)
    return folder


def test_an_output_that_is_an_input_is_refused_by_any_path(tmp_path, inputs, monkeypatch):
    before = contents(inputs)
    (tmp_path / "link").symlink_to(inputs)
    monkeypatch.chdir(inputs)
    for given, output in (
        (inputs, inputs),
        (inputs, tmp_path / "link"),
        (tmp_path / "link", inputs),
        (pathlib.Path("rows.csv"), pathlib.Path(".")),
        (inputs / "rows.csv", tmp_path / "in" / ".." / "in"),
        (inputs / "a.png", tmp_path / "link"),
    ):
        for overwrite in (False, True):
            with pytest.raises(UsageError, match="is an input and would be overwritten"):
                predict([given], output, Halving(), overwrite=overwrite)
    assert contents(inputs) == before


@pytest.mark.parametrize("join", [os.link, os.symlink])
@pytest.mark.parametrize(
    ("name", "target", "noise"),
    [
        ("a.png", "a.png", None),
        ("rows.csv", "rows.csv", None),
        ("a.png", "sheet.png", None),
        ("a.png", "rows/row-00003.png", None),
        ("a.png", "noisy/a.png", "none"),
    ],
)
def test_an_output_that_is_linked_to_an_input_is_refused(
    tmp_path, inputs, join, name, target, noise
):
    linked = tmp_path / "out" / target
    linked.parent.mkdir(parents=True)
    join(inputs / name, linked)
    before = contents(tmp_path)
    with pytest.raises(UsageError, match=f"{target}, the same as .*{name}, is an input"):
        predict([inputs], tmp_path / "out", Halving(), noise, overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("name", ["a.png", "rows.csv", "sheet.png", "rows/row-00001.png"])
def test_what_somebody_else_made_is_not_overwritten(tmp_path, inputs, name):
    theirs = tmp_path / "out" / name
    theirs.parent.mkdir(parents=True)
    theirs.write_bytes(b"theirs")
    with pytest.raises(
        UsageError, match=f"{name} exists, and is not as this command made it.*--overwrite"
    ):
        predict([inputs], tmp_path / "out", Halving())
    assert contents(tmp_path / "out") == {name: b"theirs"}
    predict([inputs], tmp_path / "out", Halving(), overwrite=True)
    assert theirs.read_bytes() != b"theirs"


def test_what_this_command_made_is_made_again_unless_it_was_changed(tmp_path, inputs):
    output = tmp_path / "out"
    predict([inputs], output, Halving())
    first = contents(output)
    write_image(inputs / "b.png", 10)
    predict([inputs], output, Halving())
    assert first.items() - contents(output).items() == {
        (name, first[name]) for name in (RECORD, "sheet.png")
    }
    write_image(output / "a.png", 7)
    with pytest.raises(UsageError, match=r"a.png exists, and is not as this command made it"):
        predict([inputs], output, Halving())
    predict([inputs / "b.png"], output, Halving())
    with pytest.raises(UsageError, match=r"a.png exists, and is not as this command made it"):
        predict([inputs], output, Halving())
    (output / "a.png").unlink()
    predict([inputs], output, Halving())


def test_an_interrupted_call_can_be_repeated(tmp_path, inputs):
    class Dying(Halving):
        def denoise(self, images, told):
            raise KeyboardInterrupt

    write_image(inputs / "b.png", 10)
    with pytest.raises(KeyboardInterrupt):
        predict([inputs], tmp_path / "out", Dying())
    assert list(contents(tmp_path / "out")) == [RECORD]
    killed = claimed(tmp_path / "out", ["a.png"], [], False)
    killed.__enter__()
    write_image(tmp_path / "out" / "a.png", 1)
    predict([inputs], tmp_path / "out", Halving())
    assert len(contents(tmp_path / "out")) == 5 + 64


def test_what_a_failed_call_did_not_write_is_somebodys_if_it_is_there_later(tmp_path, inputs):
    class Gone(Halving):
        def denoise(self, images, told):
            raise NotDenoisedError("the server is gone")

    write_image(inputs / "b.png", 10)
    out = tmp_path / "out"
    with pytest.raises(NotDenoisedError):
        predict([inputs], out, Gone())
    write_image(out / "b.png", 1)
    theirs = (out / "b.png").read_bytes()
    with pytest.raises(UsageError, match=r"b\.png exists"):
        predict([inputs], out, Halving())
    assert (out / "b.png").read_bytes() == theirs
    (out / "b.png").unlink()
    predict([inputs], out, Halving())
    with pytest.raises(NotDenoisedError):
        predict([inputs], out, Gone())
    predict([inputs], out, Halving())  # What it wrote before is its own still.


def test_a_broken_csv_leaves_no_half_file(tmp_path):
    write_rows(tmp_path / "rows.csv", 3000)
    with (tmp_path / "rows.csv").open("a") as file:
        file.write("1,2\n")
    done = predict([tmp_path / "rows.csv"], tmp_path / "out", Halving())
    [failed] = done.failed
    assert failed.path == str(tmp_path / "rows.csv")
    assert failed.reason.startswith("3001: wrong_columns: 2 columns")
    assert (done.images, done.files, done.sheet) == (0, 0, None)
    assert list(contents(tmp_path / "out")) == [RECORD]


def test_names_without_regard_to_case_and_what_is_passed_over(tmp_path):
    write_image(tmp_path / "A.PNG", 1)
    write_image(tmp_path / "b.JpEg", 1)
    write_image(tmp_path / "c.TIFF", 1)
    (tmp_path / "R.CSV").write_text("x")
    (tmp_path / "s.Csv.GZ").write_text("x")
    for name in ("._A.png", ".DS_Store", "notes.txt", "Thumbs.db"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "sub").mkdir()
    found = find_inputs([tmp_path])
    assert [path.name for path in found.images] == ["A.PNG", "b.JpEg", "c.TIFF"]
    assert [path.name for path in found.csvs] == ["R.CSV", "s.Csv.GZ"]
    reasons = {pathlib.Path(item.path).name: item.reason for item in found.ignored}
    assert reasons == {
        "._A.png": "its name begins with a dot",
        ".DS_Store": "its name begins with a dot",
        "Thumbs.db": reasons["notes.txt"],
        "notes.txt": "its name does not end in .bmp, .gif, .jpeg, .jpg, .png, .tif, .tiff, .webp, "
        ".csv or .csv.gz",
        "sub": "a folder within the folder",
    }
    names = output_names([*found.files, tmp_path / "other" / "A.png"], ["b"])
    assert list(names.values()) == ["A", "b-2", "c", "R", "s", "A-2"]


@pytest.mark.parametrize(
    "name",
    ["[v2]", "*", "a?b", "{a,b}", "a b", "it's", '"q"', "100%41", "#1", "a\nb", "é", "\udcff"],
)
def test_any_name(tmp_path, name):
    folder = tmp_path / name
    write_image(folder / f"{name}.png", 100)
    pixels = write_rows(folder / f"{name}.csv", 2)
    assert pixels.shape == (2, PIXELS)
    (folder / f"{name}.txt").write_text("x")
    done = predict([folder], tmp_path / "out" / name, Halving())
    assert (done.images, done.failed) == (3, ())
    assert {path.name for path in (tmp_path / "out" / name).iterdir()} == {
        f"{name}.png",
        f"{name}-2.csv",
        f"{name}-2",
        "sheet.png",
        RECORD,
    }
    [ignored] = done.ignored
    assert ignored.path == str(folder / f"{name}.txt")
