"""What lies in a data folder, and the settings that follow from it."""

from __future__ import annotations

import os
import pathlib

import numpy as np
import pytest

from components.base.errors import DataError, UsageError
from components.base.places import Places
from components.base.settings import FASHION_MNIST_CLASSES, Settings
from components.ingestion import formats
from tests import clothing, textures

TWINS = ["train/noisy/1.png", "train/clean/1.png", "test/noisy/x/2.png", "test/clean/x/2.png"]
SETTINGS = Settings.model_validate({"image": {"height": 8, "width": 8, "channels": 3}})


def with_data(**values) -> Settings:
    plain = SETTINGS.model_dump(exclude={"data"})
    return Settings.model_validate({**plain, "data": values})


def put(folder: pathlib.Path, *names: str) -> pathlib.Path:
    for number, name in enumerate(names):
        textures.write(folder / name, textures.texture(number, 9, 9))
    return folder


@pytest.mark.parametrize("kind", ["auto", "csv"])
def test_csvs_stay_as_they_are(tmp_path, kind):
    folder = clothing.write_csvs(tmp_path, train=4, test=2, shape=(8, 8, 3))
    resolved = formats.resolved(with_data(format=kind), folder)
    assert (resolved.data.format, resolved.data.classes) == ("csv", FASHION_MNIST_CLASSES)
    assert formats.remarks(resolved) == []
    places = Places(data=str(folder), schema="", serving="", pipeline_root="")
    assert formats.step(resolved, places).id == "CsvIngestion"


@pytest.mark.parametrize(
    ("names", "kind", "classes"),
    [
        (["train/1.png", "test/2.jpg"], "images", ()),
        (["train/a/b/1.png", "test/a/b/2.TIF"], "images", ()),
        (["train/a/1.png", "train/2.png", "test/a/3.png"], "images", ()),
        (["train/b/1.png", "train/a/2.png", "test/b/3.png"], "images", ("a", "b")),
        (["span-2/train/a/1.png", "span-2/test/b/2.png", "span-1/x.png"], "images", ("a", "b")),
        (TWINS, "pairs", ()),
    ],
)  # fmt: skip
def test_images_and_pairs_are_told_by_their_folders(tmp_path, names, kind, classes):
    folder = put(tmp_path, *names)
    resolved = formats.resolved(SETTINGS, folder)
    assert (resolved.data.format, resolved.data.classes) == (kind, classes)
    assert formats.resolved(resolved, folder) == resolved
    assert len(formats.remarks(resolved)) == (3 if kind == "pairs" else 2)
    places = Places(data=str(folder), schema="", serving="", pipeline_root="")
    assert formats.step(resolved, places).id == "ImageIngestion"


def test_classes_that_are_named_stay(tmp_path):
    folder = put(tmp_path, "train/b/1.png", "train/a/2.png", "test/b/3.png")
    resolved = formats.resolved(with_data(classes=["b", "c"]), folder)
    assert resolved.data.classes == ("b", "c")


def test_who_names_no_classes_wants_no_labels(tmp_path):
    folder = put(tmp_path, "train/DIV2K_train/1.png", "test/DIV2K_valid/3.png")
    assert formats.resolved(SETTINGS, folder).data.classes == ("DIV2K_train", "DIV2K_valid")
    resolved = formats.resolved(with_data(classes=[]), folder)
    assert resolved.data.classes == ()
    assert formats.resolved(resolved, folder) == resolved


def test_csvs_and_images_in_one_folder_are_refused_unless_one_is_chosen(tmp_path):
    folder = clothing.write_csvs(tmp_path, train=4, test=2, shape=(8, 8, 3))
    put(folder, "train/below/1.png", "test/2.png")
    with pytest.raises(DataError, match=r"CSVs \(train/clothing-1.csv\) and images \(train/below"):
        formats.resolved(SETTINGS, folder)
    assert formats.resolved(with_data(format="csv"), folder).data.format == "csv"
    assert formats.resolved(with_data(format="images"), folder).data.format == "images"


@pytest.mark.parametrize(
    ("names", "kind", "message"),
    [
        (["train/1.png"], "auto", r"no image below test/"),
        ([], "auto", r"is not a folder. A data folder holds"),
        (["other/1.png"], "auto", r"has no train/\*.csv"),
        (["train/noisy/1.png", "train/clean/1.png", "test/noisy/2.png"], "auto", "test/clean/"),
        (["train/1.png", "test/1.png"], "pairs", "no image below train/noisy/"),
    ],
)
def test_what_is_missing_is_named(tmp_path, names, kind, message):
    folder = put(tmp_path / "data", *names)
    with pytest.raises(DataError, match=message):
        formats.resolved(with_data(format=kind), folder)


def test_a_link_into_itself_and_one_to_nowhere_end(tmp_path):
    folder = put(tmp_path, "train/1.png", "test/2.png")
    (folder / "train" / "again").symlink_to(folder / "train", target_is_directory=True)
    (folder / "train" / "lost.png").symlink_to("nowhere")
    (folder / "train" / "loop.png").symlink_to("loop.png")
    os.mkfifo(folder / "train" / "pipe.png")
    (folder / "train" / "endless.png").symlink_to("/dev/zero")
    resolved = formats.resolved(SETTINGS, folder)
    blocks = list(formats.rows(folder, "train", resolved))
    assert [len(labels) for labels, *_ in blocks] == [4]


def test_a_folder_that_cannot_be_listed_is_named(tmp_path, monkeypatch):
    folder = put(tmp_path, "train/closed/1.png", "train/2.png", "test/3.png")
    listed = os.scandir

    def scandir(path):
        if str(path).endswith("closed"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "scandir", scandir)
    with pytest.raises(DataError, match=r"train/closed cannot be listed: Permission denied"):
        formats.resolved(SETTINGS, folder)


def test_rows_of_images_are_what_ingestion_makes_of_them(tmp_path):
    folder = put(tmp_path, *(f"train/{n}/1.png" for n in "ab"), *(f"test/{n}/1.png" for n in "ba"))
    resolved = formats.resolved(SETTINGS, folder)
    blocks = list(formats.rows(folder, "test", resolved))
    assert [labels.tolist() for labels, *_ in blocks] == [[0] * 4, [1] * 4]
    assert all(pixels.shape == (4, 192) for _, pixels, _, _ in blocks)
    assert all(noisy is None for *_, noisy in blocks)
    (folder / "test" / "a" / "1.png").write_text("no image")
    assert len(list(formats.rows(folder, "test", resolved))) == 1


@pytest.mark.parametrize("header", [False, True])
def test_csvs_without_labels_have_no_classes(tmp_path, header):
    folder = clothing.write_csvs(tmp_path, train=4, test=2, shape=(8, 8, 3), header=header)
    for path in folder.rglob("*.csv"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join(line.partition(",")[2] for line in lines) + "\n")
    resolved = formats.resolved(SETTINGS, folder)
    assert (resolved.data.format, resolved.data.classes) == ("csv", ())
    (remark,) = formats.remarks(resolved)
    assert remark == "data: no labels, so no figures by class and no classifier"
    (block,) = formats.rows(folder, "test", resolved)
    assert (block[0] == -1).all()
    assert block[1].shape == (2, 192)


@pytest.mark.parametrize("damage", ["cut", "inverted"])
def test_a_damaged_file_is_for_ingestion_to_name(tmp_path, damage):
    folder = clothing.write_csvs(tmp_path, train=40, test=2, shape=(8, 8, 3), gz=True)
    for path in (folder / "train").iterdir():
        content = bytearray(path.read_bytes())
        if damage == "cut":
            del content[len(content) // 2 :]
        else:
            content[100:300] = bytes(255 - value for value in content[100:300])
        path.write_bytes(content)
    assert formats.resolved(SETTINGS, folder).data.classes == FASHION_MNIST_CLASSES


def test_a_first_row_cut_short_is_no_file_without_labels(tmp_path):
    folder = clothing.write_csvs(tmp_path, train=4, test=2, shape=(8, 8, 3), header=False)
    for path in folder.rglob("*.csv"):
        path.write_text(path.read_text().partition(",")[2])
    assert formats.resolved(SETTINGS, folder).data.classes == FASHION_MNIST_CLASSES


def test_twins_have_the_same_name(tmp_path):
    folder = put(tmp_path, *TWINS)
    (folder / "train" / "noisy" / "1.png").rename(folder / "train" / "noisy" / "1.tif")
    put(folder, "train/noisy/only.png", "train/clean/alone.png")
    images = formats.image_folder.files(str(folder), "pairs").images
    found = {(image.split, image.noisy, image.name, image.alone) for image in images}
    assert found == {
        ("test", "x/2.png", "x/2.png", None),
        ("train", "1.tif", "1.png", None),
        ("train", "only.png", "only.png", "clean"),
        ("train", None, "alone.png", "noisy"),
    }


def test_pairs_are_cut_at_the_same_places(tmp_path):
    for split in ("train", "test"):
        clean = textures.texture(1, 20, 24)
        textures.write(tmp_path / split / "clean" / "1.png", clean)
        textures.write(tmp_path / split / "noisy" / "1.png", 255 - clean)
    resolved = formats.resolved(SETTINGS, tmp_path)
    ((labels, clean, _, noisy),) = formats.rows(tmp_path, "test", resolved)
    assert len(labels) == resolved.data.patches
    np.testing.assert_array_equal(noisy, 255 - clean)


SYNTHETIC = {"training": "gaussian", "evaluation": ["given"]}


def with_noise(**sections) -> Settings:
    noise = {"training": "given", "evaluation": ["given"]}
    return Settings.model_validate({"noise": noise, **sections})


def test_given_noise_needs_pairs_in_the_folder(tmp_path):
    settings = with_noise(image={"height": 8, "width": 8, "channels": 3})
    assert settings.training.noise == "fixed"
    folder = put(tmp_path, "train/1.png", "test/2.png")
    with pytest.raises(UsageError, match=r"noise.training=given needs pairs .*format is images"):
        formats.resolved(settings, folder)
    put(folder, *TWINS)
    (folder / "train" / "1.png").unlink()
    (folder / "test" / "2.png").unlink()
    assert formats.resolved(settings, folder).data.format == "pairs"


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"format": "csv"}}, r"noise.training=given needs pairs"),
        ({"noise": {"training": "given"}}, r"needs noise.evaluation=\[given\]"),
        ({"noise": {"evaluation": ["given", "gaussian"]}}, r"given noise is measured alone"),
        ({"training": {"noise": "fresh"}}, r"leave out training.noise=fresh"),
        ({"noise": SYNTHETIC, "training": {"noise": "fixed"}}, "set noise.training=given"),
        ({"tuner": {"search_space": {"training.noise": {"choices": ["fixed"]}}}}, "training.noise"),
    ],
)  # fmt: skip
def test_settings_that_do_not_go_with_given_noise_are_named(sections, message):
    with pytest.raises(ValueError, match=message):
        with_noise(**sections)


def test_pairs_may_be_trained_on_with_other_noise_and_measured_on_theirs(tmp_path):
    folder = put(tmp_path, *TWINS)
    resolved = formats.resolved(SETTINGS, folder)
    assert any("noisy images are not used" in line for line in formats.remarks(resolved))
    other = with_noise(noise={"training": "gaussian", "evaluation": ["given"]})
    assert other.training.noise == "fresh"


@pytest.mark.parametrize(("noise", "kind"), [("given", "pairs"), ("gaussian", "csv")])
def test_a_folder_that_cannot_be_looked_at_has_what_the_noise_needs(noise, kind):
    settings = with_noise(noise={"training": noise, "evaluation": [noise]})
    assert formats.unseen(settings).data.format == kind
    assert formats.unseen(with_data(format="images")).data.format == "images"
