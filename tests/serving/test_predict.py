from __future__ import annotations

import gzip
import logging

import numpy as np
import pytest
from PIL import Image

from components.base.errors import DataError, ModelError, UsageError
from serving.predict import run as predicting
from serving.predict.run import ServerError, format_rows, open_denoiser, predict, read_csv
from tests.serving.saved_models import HEIGHT, PIXELS, WIDTH


@pytest.fixture(params=["--model", "--server"])
def denoiser(request, models, target):
    server = f"grpc://{target.grpc}" if request.param == "--server" else None
    model = models / "denoiser" if request.param == "--model" else None
    with open_denoiser(server, model) as opened:
        yield opened


@pytest.fixture
def local(models):
    with open_denoiser(None, models / "denoiser") as opened:
        yield opened


def write_image(path, value: int):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((HEIGHT, WIDTH), value, np.uint8)).save(path)
    return path


def write_rows(path, number: int, header: str = "", labelled: bool = True):
    pixels = np.arange(number * PIXELS, dtype=np.int64).reshape(number, PIXELS) % 256
    labels = np.arange(number) % 10 if labelled else None
    content = header.encode() + format_rows(labels, pixels)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return pixels


def pixels_of(path) -> set[int]:
    return set(np.array(Image.open(path)).ravel().tolist())


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
    assert len(list((tmp_path / "out").iterdir())) == 4
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
        ("1,2,3\n", "rows.csv:1: wrong_columns"),
        ("\n".join([",".join("1" * (PIXELS + 1)), ",".join(["1"] * PIXELS + ["999"])]), ":2:.*999"),
    ],
)
def test_a_wrong_csv_is_named_with_its_line(local, tmp_path, content, message):
    (tmp_path / "rows.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        predict([tmp_path / "rows.csv"], tmp_path / "out", local)


def test_wrong_images(local, tmp_path):
    Image.new("L", (5, 5)).save(tmp_path / "small.png")
    with pytest.raises(DataError, match=r"small.png: the model takes images of 6x4 pixels.*5x5"):
        predict([tmp_path / "small.png"], tmp_path / "out", local)
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(DataError, match=r"text.png: not an image"):
        predict([tmp_path / "text.png"], tmp_path / "out", local)


def test_wrong_inputs(local, tmp_path):
    (tmp_path / "a.txt").touch()
    for path, message in (
        (tmp_path / "absent.png", "no such file"),
        (tmp_path / "a.txt", r"expected a \.png"),
        (tmp_path, r"no \.png"),
    ):
        with pytest.raises(UsageError, match=message):
            predict([path], tmp_path / "out", local)
    write_image(tmp_path / "a.png", 1)
    with pytest.raises(UsageError, match="Known"):
        predict([tmp_path / "a.png"], tmp_path / "out", local, "fog:0.1")


def test_wrong_denoisers(tmp_path):
    for server, model, error, message in (
        (None, None, UsageError, "either --server"),
        ("grpc://x", tmp_path, UsageError, "either --server"),
        (None, tmp_path, ModelError, "there is no SavedModel"),
        ("ftp://x", None, UsageError, "--server .*expected grpc://"),
        ("http://localhost:1", None, ServerError, "model denoiser"),
    ):
        with pytest.raises(error, match=message), open_denoiser(server, model):
            pass


def test_rows_are_read_back_as_they_are_written(tmp_path):
    pixels = write_rows(tmp_path / "rows.csv", 3)
    header, blocks = read_csv(tmp_path / "rows.csv", PIXELS)
    [rows] = blocks
    assert header == b""
    np.testing.assert_array_equal(rows.pixels, pixels)
    np.testing.assert_array_equal(rows.labels, [0, 1, 2])


def test_beam_writes_shards_in_order(models, target, tmp_path, monkeypatch):
    from serving.predict import beam as predict_beam

    monkeypatch.setattr(predict_beam, "_RANGE_BYTES", 20_000)
    header = ",".join(["label", *(f"pixel{i}" for i in range(PIXELS))]) + "\n"
    pixels = write_rows(tmp_path / "rows.csv", 700, header)
    for source in (
        predict_beam.Source(None, str(models / "denoiser")),
        predict_beam.Source(f"grpc://{target.grpc}", None),
    ):
        output = tmp_path / ("model" if source.model else "server")
        shards = predict_beam.predict_with_beam(
            str(tmp_path / "*.csv"), str(output), source, ["--runner=FnApiRunner"]
        )
        files = sorted(output.iterdir())
        assert len(files) == shards > 1
        lines = "".join(file.read_text() for file in files).splitlines()
        found = np.array([line.split(",") for line in lines], int)
        np.testing.assert_array_equal(found[:, 0], np.arange(700) % 10)
        np.testing.assert_array_equal(found[:, 1:], np.round(pixels / 2))
    with pytest.raises(UsageError, match="no such file"):
        predict_beam.predict_with_beam(str(tmp_path / "absent"), str(tmp_path), source)
