"""What is written, and what a person or a machine is told."""

from __future__ import annotations

import contextlib
import logging
import pathlib
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from components.base.errors import ModelError, UsageError
from components.image.ensemble import ORIENTATIONS, oriented, upright
from components.image.picture import Picture, read_picture, write_picture
from serving.predict import run as predicting
from serving.predict.denoisers import NotDenoisedError, Source
from serving.predict.files import RECORD, format_rows
from serving.predict.run import predict
from tests import any_size
from tests.alike import alike
from tests.serving.predict.written import pixels_of, write_image, write_rows
from tests.serving.saved_models import HEIGHT, PIXELS, WIDTH

CASES = pathlib.Path(__file__).parents[2] / "cases"


@pytest.fixture(params=["--model", "--server"])
def denoiser(request, models, target):
    server = f"grpc://{target.grpc}" if request.param == "--server" else None
    model = models / "denoiser" if request.param == "--model" else None
    with contextlib.closing(Source(server, model).open()) as one:
        yield one


@pytest.fixture
def local(models):
    with contextlib.closing(Source(model=models / "denoiser").open()) as one:
        yield one


def test_images_and_folders(denoiser, tmp_path, caplog):
    write_image(tmp_path / "in" / "a.png", 100)
    write_image(tmp_path / "in" / "b.jpg", 200)
    (tmp_path / "in" / "notes.txt").write_text("left alone")
    write_image(tmp_path / "other" / "a.png", 50)
    with caplog.at_level(logging.INFO, "denoise.progress"):
        done = predict([tmp_path / "in", tmp_path / "other/a.png"], tmp_path / "out", denoiser)
    assert pixels_of(tmp_path / "out" / "a.png") == {50}
    assert max(pixels_of(tmp_path / "out" / "b.png")) in range(98, 103)
    assert pixels_of(tmp_path / "out" / "a-2.png") == {25}
    assert (done.images, done.noisy_psnr, done.files) == (3, None, 4)
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"a.png", "b.png", "a-2.png", "sheet.png", RECORD}
    assert [pathlib.Path(item.path).name for item in done.ignored] == ["notes.txt"]
    assert [(r.done, r.total) for r in caplog.records][-1] == (3, 3)
    sheet = Image.open(done.sheet)
    assert {(100, 100, 100), (50, 50, 50)} <= set(sheet.getdata())


@pytest.mark.parametrize("name", ["rows.csv", "rows.csv.gz"])
@pytest.mark.parametrize("labelled", [True, False])
def test_a_csv_keeps_its_form(denoiser, tmp_path, monkeypatch, name, labelled):
    monkeypatch.setattr(predicting, "_CSV_IMAGES", 3)
    columns = [f"pixel{i}" for i in range(PIXELS)]
    header = ",".join(["label", *columns] if labelled else columns) + "\n"
    pixels = write_rows(tmp_path / name, 600, header, labelled)
    done = predict([tmp_path / name], tmp_path / "out", denoiser)
    assert done.images == 600
    lines = (tmp_path / "out" / "rows.csv").read_text().splitlines()
    assert lines[0] + "\n" == header
    found = np.array([line.split(",") for line in lines[1:]], int)
    if labelled:
        np.testing.assert_array_equal(found[:, 0], np.arange(600) % 10)
        found = found[:, 1:]
    np.testing.assert_array_equal(found, np.round(pixels / 2))
    assert len(list((tmp_path / "out" / "rows").iterdir())) == 3


def test_added_noise_is_measured_and_the_same_each_time(local, tmp_path):
    write_rows(tmp_path / "rows.csv", 20)
    write_image(tmp_path / "a.png", 100)
    inputs = [tmp_path / "rows.csv", tmp_path / "a.png"]
    first = predict(inputs, tmp_path / "one", local, "salt_pepper:0.3")
    predict(inputs, tmp_path / "two", local, "salt_pepper:0.3")
    assert first.noise.startswith("salt_pepper(")
    assert 0 < first.noisy_psnr < 30
    assert 0 < first.denoised_psnr < 30
    noisy = (tmp_path / "one" / "noisy" / "rows.csv").read_text()
    assert noisy == (tmp_path / "two" / "noisy" / "rows.csv").read_text()
    assert noisy != (tmp_path / "rows.csv").read_text()
    assert len(pixels_of(tmp_path / "one" / "noisy" / "a.png")) > 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty"),
        ("1,2,3\n", "1: wrong_columns"),
        ("\n".join([",".join("1" * (PIXELS + 1)), ",".join(["1"] * PIXELS + ["999"])]), "2: .*999"),
    ],
)
def test_a_wrong_csv_is_named_with_its_line(local, tmp_path, content, message):
    (tmp_path / "rows.csv").write_text(content)
    [failed] = predict([tmp_path / "rows.csv"], tmp_path / "out", local).failed
    assert failed.path == str(tmp_path / "rows.csv")
    assert re.match(message, failed.reason) or (not content and message in failed.reason)


def test_one_bad_file_does_not_stop_the_others(local, tmp_path):
    folder = tmp_path / "in"
    for number in range(5):
        write_image(folder / f"{number}.png", 2 * number)
    (folder / "1.png").write_text("not an image")
    (folder / "2.png").write_bytes((folder / "4.png").read_bytes()[:45])
    shutil.copy(CASES / "dot_underscore_grey8.png", folder / "._3.png")
    (folder / "bad.csv").write_text("1,2\n")
    write_rows(folder / "good.csv", 3)
    done = predict([folder], tmp_path / "out", local)
    reasons = {pathlib.Path(item.path).name: item.reason for item in done.failed}
    assert list(reasons) == ["1.png", "2.png", "bad.csv"]
    assert reasons["1.png"].startswith("not an image: expected PNG")
    assert reasons["2.png"].startswith("not an image that can be read: ")
    assert "2 columns" in reasons["bad.csv"]
    assert [pixels_of(tmp_path / "out" / f"{number}.png") for number in (0, 3, 4)] == [
        {0},
        {3},
        {4},
    ]
    assert done.images == 3 + 3
    assert (tmp_path / "out" / "good.csv").is_file()
    assert not (tmp_path / "out" / "bad.csv").exists()


@pytest.mark.parametrize("noise", [None, "none"])
def test_only_bad_files(local, tmp_path, noise):
    (tmp_path / "a.png").write_text("not an image")
    done = predict([tmp_path / "a.png"], tmp_path / "out", local, noise)
    assert (done.images, done.files, done.sheet, len(done.failed)) == (0, 0, None, 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
def test_a_picture_keeps_its_size_depth_and_transparency(denoiser, tmp_path, dtype, mode):
    """The model takes 6x4 pixels of grey; each value is halved."""
    random = np.random.default_rng(0)
    values = random.integers(0, np.iinfo(dtype).max, (19, 23, len(mode)), dtype)
    alpha = values[..., -1:] if mode.endswith("A") else None
    before = Picture(values[..., : len(mode.rstrip("A"))], alpha)
    with (tmp_path / "photo.png").open("wb") as file:
        write_picture(before, file)
    done = predict([tmp_path / "photo.png"], tmp_path / "out", denoiser)
    after = read_picture(tmp_path / "out" / "photo.png")
    assert after.pixels.dtype == dtype
    assert after.pixels.shape == before.pixels.shape
    assert np.abs(after.pixels - before.pixels / 2).max() <= 0.51
    if alpha is not None:
        np.testing.assert_array_equal(after.alpha, alpha)
    by_channel = [note for note in done.notes if "each channel was denoised by itself" in note]
    assert len(by_channel) == mode.startswith("RGB")


def test_floats_stay_floats(local, tmp_path):
    values = np.random.default_rng(0).random((9, 11), np.float32)
    Image.fromarray(values).save(tmp_path / "a.tif")
    Image.fromarray((255 * values).astype(np.uint8)).save(tmp_path / "b.tif")
    done = predict([tmp_path / "a.tif", tmp_path / "b.tif"], tmp_path / "out", local)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "a.tif",
        "b.png",
        "sheet.png",
        RECORD,
    }
    assert done.files == 3
    found = np.asarray(Image.open(tmp_path / "out" / "a.tif"))
    np.testing.assert_allclose(found, values / 2, atol=1e-6)
    predict([tmp_path / "a.tif"], tmp_path / "out", local)


def test_a_large_picture_tells_its_progress(local, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(predicting, "_BATCH_PIXELS", 500)
    Image.new("L", (60, 2000), 100).save(tmp_path / "large.png")
    write_image(tmp_path / "small.png", 50)
    monkeypatch.setattr("serving.client.tiling._TOGETHER", 24 * 100)
    with caplog.at_level(logging.INFO, "denoise.progress"):
        done = predict([tmp_path / "large.png", tmp_path / "small.png"], tmp_path / "out", local)
    told = [record.getMessage() for record in caplog.records]
    shares = [message for message in told if message.startswith("large.png: ")]
    assert len(shares) > 5
    assert told.index(shares[-1]) < told.index("predict: 1/2")
    assert max(np.array(Image.open(done.sheet)).shape) < 1000
    assert pixels_of(tmp_path / "out" / "large.png") == {50}


@pytest.mark.parametrize("channels", [1, 3])
def test_a_model_of_any_size(tmp_path, channels):
    """A photograph whole; a CSV as its rows are."""
    model = any_size.export(tmp_path / "model" / "1", (4, 6, channels))
    photo = np.random.default_rng(1).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "photo.png")
    Image.fromarray(photo[..., 0]).save(tmp_path / "grey.png")
    pixels = np.tile(photo[:4, :6, :channels].ravel(), (3, 1))
    (tmp_path / "rows.csv").write_bytes(format_rows(None, pixels))
    with contextlib.closing(Source(model=tmp_path / "model").open()) as denoiser:
        assert denoiser.shape == (None, None, channels)
        inputs = [tmp_path / name for name in ("photo.png", "grey.png", "rows.csv")]
        done = predict(inputs, tmp_path / "out", denoiser)
    assert done.failed == ()
    assert len(done.notes) == 1

    def expected(images):
        values = model(images.astype(np.float32) / 255, training=False)
        return 255 * np.clip(values, 0, 1)

    whole = np.moveaxis(photo, -1, 0)[..., None] if channels == 1 else photo[None]
    found = np.array(Image.open(tmp_path / "out" / "photo.png"))
    found = np.moveaxis(found, -1, 0)[..., None] if channels == 1 else found[None]
    assert np.abs(found - expected(whole)).max() <= 0.51
    grey = np.repeat(photo[None, ..., :1], channels, axis=-1)
    found = np.array(Image.open(tmp_path / "out" / "grey.png"))
    assert np.abs(found - expected(grey)[0].mean(axis=-1)).max() <= 0.51
    rows = np.loadtxt(tmp_path / "out" / "rows.csv", delimiter=",")
    images = pixels.reshape(3, 4, 6, channels)
    assert np.abs(rows - expected(images).reshape(3, -1)).max() <= 0.51


def test_an_ensemble_is_the_mean_of_eight_answers_and_keeps_the_depth(tmp_path):
    path = tmp_path / "model"
    any_size.export(path / "1", (4, 6, 1))
    random = np.random.default_rng(2)
    images = random.integers(0, 1 << 16, (1, 24, 40, 1)).astype(np.uint16)
    told: list[float] = []
    with contextlib.closing(Source(model=path).open()) as one:
        floats = images / np.float32(65535)
        answers = [
            upright(one.denoise(oriented(floats, *orientation)), *orientation)
            for orientation in ORIENTATIONS
        ]
        plain = one.denoise(images)
    with contextlib.closing(Source(model=path, ensemble=True).open()) as several:
        found = several.denoise(images, told.append)
        assert several.shape == one.shape
        rows = np.full((3, *several.row_shape), 100, np.uint8)
        assert several.denoise(rows).dtype == np.uint8
    assert found.dtype == np.uint16
    np.testing.assert_allclose(found, np.mean(answers, axis=0) * 65535, atol=1)
    assert (found != plain).any()
    assert told == sorted(told)
    assert told[-1] == 1


def test_what_is_not_taken_as_it_is_gets_a_note(local, tmp_path):
    frames = [Image.new("L", (WIDTH, HEIGHT), value) for value in (100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    done = predict([tmp_path / "a.gif"], tmp_path / "out", local)
    assert done.notes == (f"{tmp_path / 'a.gif'}: the first of 2 frames",)
    assert pixels_of(tmp_path / "out" / "a.png") == {50}


def test_a_file_that_cannot_be_written_is_named(local, tmp_path, monkeypatch):
    write_image(tmp_path / "a.png", 1)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(NotDenoisedError, match=r"out/a.png: cannot be written: No space left"):
        predict([tmp_path / "a.png"], tmp_path / "out", local)


def test_wrong_inputs(local, tmp_path):
    (tmp_path / "a.txt").touch()
    for path, message in (
        (tmp_path / "absent.png", "no such file"),
        (tmp_path / "a.txt", r"expected \.bmp, "),
        (tmp_path, r"no \.bmp, "),
    ):
        with pytest.raises(UsageError, match=message):
            predict([path], tmp_path / "out", local)
    write_image(tmp_path / "a.png", 1)
    with pytest.raises(UsageError, match="Known"):
        predict([tmp_path / "a.png"], tmp_path / "out", local, "fog:0.1")


def test_wrong_denoisers(tmp_path):
    for server, model, error, message in (
        (None, None, UsageError, "either --server"),
        # In all calls, with --beam too.
        ("grpc://x", tmp_path, UsageError, "either --server"),
        (None, tmp_path, ModelError, "there is no SavedModel"),
        ("ftp://x", None, UsageError, "--server .*expected grpc://"),
        ("http://localhost:1", None, NotDenoisedError, "model denoiser"),
    ):
        with pytest.raises(error, match=message), contextlib.closing(Source(server, model).open()):
            pass


@pytest.mark.parametrize("name", ["bom", "leading_blank", "pandas_header", "quoted_header"])
def test_rows_without_labels_are_read_by_the_same_rules(tmp_path, name):
    class Unchanged:
        shape = row_shape = (28, 28, 1)

        def denoise(self, images, told):
            return images

        def close(self):
            pass

    source = CASES / f"nolabel_{name}.csv"
    done = predict([source], tmp_path / "out", Unchanged())
    assert done.failed == ()
    written = (tmp_path / "out" / source.name).read_bytes()
    assert written == source.read_bytes().removeprefix(b"\xef\xbb\xbf").lstrip(b"\n")
    header = name.endswith("header")
    assert done.images == len(written.splitlines()) - header > 0


@pytest.mark.parametrize(
    "name", alike(["[v2]", "é", "*", "a?b", "{a}", "a b", "it's", '"', "%41", "#"], here=2)
)
def test_models_of_any_name(models, tmp_path, name):
    shutil.copytree(models / "denoiser" / "2", tmp_path / name / "2")
    write_image(tmp_path / "a.png", 100)
    for model in (tmp_path / name, tmp_path / name / "2"):
        with contextlib.closing(Source(model=model).open()) as one:
            predict([tmp_path / "a.png"], tmp_path / "out", one)
        assert pixels_of(tmp_path / "out" / "a.png") == {50}


@pytest.mark.parametrize("name", ["a\nb", "\udcff"])
def test_models_of_names_that_cannot_be_shown(models, tmp_path, name):
    shutil.copytree(models / "denoiser" / "2", tmp_path / name)
    write_image(tmp_path / "a.png", 100)
    with contextlib.closing(Source(model=tmp_path / name).open()) as one:
        assert predict([tmp_path / "a.png"], tmp_path / "out", one).images == 1
