"""Ingestion through Beam, from image files on disk to Examples, quarantine and summary."""

from __future__ import annotations

import io
import json
import os
import pathlib
import shutil
import zlib

import numpy as np
import PIL.Image
import pytest
import tensorflow as tf
from tfx.dsl.components.base import base_beam_executor
from tfx.types import standard_artifacts

from components.base.errors import DataError
from components.base.settings import DataSettings, ImageSettings
from components.csv_ingestion import result as summary
from components.image.reader import read_image
from components.image_ingestion import component, cut, folder
from tests import textures

IMAGE = ImageSettings(height=8, width=12, channels=3)
DATA = DataSettings(format="images", classes=(), patches=5, validation_fraction=0.3)
BEAM = ("--runner=FnApiRunner",)


class Ingested:
    """What one run of the executor left behind."""

    def __init__(self, artifact: standard_artifacts.Examples, image: ImageSettings, pairs: bool):
        self.artifact = artifact
        self.uri = pathlib.Path(artifact.uri)
        self.summary = summary.read_summary(artifact.uri)
        self.quarantine = {bad.file: bad for bad in summary.read_quarantine(artifact.uri)}
        images = ["image", "noisy"] if pairs else ["image"]
        spec = {name: tf.io.FixedLenFeature(image.shape, tf.int64) for name in images}
        spec |= {name: tf.io.FixedLenFeature([], tf.int64) for name in ("key", "label")}
        self.examples: dict[str, list[dict[str, np.ndarray]]] = {}
        for split in ("train", "validation", "test"):
            self.examples[split] = [
                {k: v.numpy() for k, v in tf.io.parse_single_example(record, spec).items()}
                for path in sorted((self.uri / f"Split-{split}").iterdir())
                for record in tf.data.TFRecordDataset(str(path), compression_type="GZIP")
            ]

    def keys(self, split: str) -> list[int]:
        return [int(example["key"]) for example in self.examples[split]]


def ingested(
    place: pathlib.Path,
    data: DataSettings = DATA,
    image: ImageSettings = IMAGE,
    beam: tuple[str, ...] = BEAM,
) -> Ingested:
    made = component.ImageIngestion(str(place), image, data, code="1")
    artifact = standard_artifacts.Examples()
    artifact.uri = str(place.parent / f"examples-{len(os.listdir(place.parent))}")
    os.makedirs(artifact.uri)
    context = base_beam_executor.BaseBeamExecutor.Context(beam_pipeline_args=list(beam))
    executor = made.executor_spec.executor_class(context)
    executor.Do({}, {"examples": [artifact]}, dict(made.exec_properties))
    return Ingested(artifact, image, data.format == "pairs")


@pytest.fixture
def place(tmp_path) -> pathlib.Path:
    return textures.write_folder(tmp_path / "data")


def is_in(patch: np.ndarray, whole: np.ndarray) -> bool:
    views = np.lib.stride_tricks.sliding_window_view(whole, patch.shape)
    return bool((views == patch).all(axis=(-3, -2, -1)).any())


def test_patches_are_parts_of_the_files_and_of_one_split_each(place):
    result = ingested(place)
    wholes = {
        split: {path.name: read_image(path, 3).pixels for path in (place / split).iterdir()}
        for split in ("train", "test")
    }
    sides: dict[str, set[str]] = {}
    for split, examples in result.examples.items():
        for example in examples:
            assert example["label"] == -1
            found = [
                name
                for name, whole in wholes["test" if split == "test" else "train"].items()
                if is_in(example["image"], whole)
            ]
            assert len(found) == 1
            sides.setdefault(split, set()).add(found[0])
    assert not sides["train"] & sides["validation"]
    assert sides["train"] | sides["validation"] == set(wholes["train"])
    assert sides["test"] == set(wholes["test"])
    keys = [key for split in result.examples for key in result.keys(split)]
    assert len(set(keys)) == len(keys) == 5 * 8


def test_artifact_and_summary(place):
    (place / "train" / "notes.txt").write_text("not an image")
    (place / "test" / "._00.png").touch()
    result = ingested(place)
    assert json.loads(result.artifact.split_names) == ["train", "validation", "test"]
    assert sorted(path.name for path in result.uri.iterdir()) == [
        "Split-test",
        "Split-train",
        "Split-validation",
        "counts.json",
        "ingestion",
    ]
    assert [path.name for path in (result.uri / "ingestion").iterdir()] == ["summary.json"]
    counts = {split: len(examples) for split, examples in result.examples.items()}
    found = result.summary
    assert (found.format, found.rows, found.cut, found.examples) == ("images", 8, 8, counts)
    assert [(f.file, f.rows, f.cut) for f in found.files] == [("test/", 2, 2), ("train/", 6, 6)]
    assert found.account() == (
        f"8 = 8 cut into 40 patches ({counts['train']} train, {counts['validation']} validation, "
        "10 test) + 0 set aside"
    )
    assert set(found.ignored) == {"train/notes.txt", "test/._00.png"}
    assert json.loads((result.uri / "counts.json").read_text()) == counts
    assert result.artifact.get_int_custom_property("rows") == 40
    assert result.artifact.get_string_custom_property("input_fingerprint")


def test_nothing_depends_on_how_the_work_is_divided(place, monkeypatch):
    one = ingested(place)
    monkeypatch.setattr(cut, "_GROUP_FILES", 2)
    monkeypatch.setattr(cut, "_BATCH_VALUES", 600)
    many = ingested(place, beam=(*BEAM, "--direct_num_workers=2"))
    assert len(list((many.uri / "Split-train").iterdir())) > 1
    for split, examples in one.examples.items():
        assert len(examples) == len(many.examples[split])
        for a, b in zip(examples, many.examples[split], strict=True):
            assert all(np.array_equal(a[name], b[name]) for name in a)
    assert many.summary == one.summary


def test_a_file_keeps_its_places_and_its_side_whatever_it_is_called(tmp_path, place):
    before = ingested(place)
    other = tmp_path / "other" / "data"
    shutil.copytree(place, other)
    for path in sorted((other / "train").iterdir()):
        (other / "train" / "below" / "deeper").mkdir(parents=True, exist_ok=True)
        path.rename(other / "train" / "below" / "deeper" / f"x{path.name}")
    textures.write(other / "train" / "another.png", textures.texture(99, 30, 30))
    after = ingested(other)
    for split in before.examples:
        assert set(before.keys(split)) <= set(after.keys(split))
    more = ingested(place, DATA.model_copy(update={"patches": 9}))
    assert set(before.keys("train")) < set(more.keys("train"))


def test_bad_files_are_set_aside_with_their_reason_and_the_others_go_on(place):
    train = place / "train"
    (train / "text.png").write_text("this is no image")
    (train / "empty.jpg").touch()
    whole = io.BytesIO()
    PIL.Image.fromarray(textures.texture(7, 40, 40)).save(whole, "JPEG")
    (train / "cut.jpg").write_bytes(whole.getvalue()[:-150])
    textures.write(train / "small.png", textures.texture(8, 8, 11))
    with open(train / "huge.tif", "wb") as file:
        file.truncate(3 << 30)
    # A header of 60,000 x 60,000 pixels: no pixel is ever decoded.
    png = io.BytesIO()
    PIL.Image.new("1", (60_000, 1)).save(png, "PNG")
    bomb = bytearray(png.getvalue())
    bomb[20:24] = (60_000).to_bytes(4, "big")
    bomb[29:33] = zlib.crc32(bytes(bomb[12:29])).to_bytes(4, "big")
    (train / "bomb.png").write_bytes(bomb)
    frames = [PIL.Image.fromarray(textures.texture(20 + n, 16, 16)) for n in range(3)]
    frames[0].save(train / "moves.gif", save_all=True, append_images=frames[1:])

    result = ingested(place)
    reasons = {name: (bad.reason, bad.detail) for name, bad in result.quarantine.items()}
    assert {name: reason for name, (reason, _) in reasons.items()} == {
        "train/text.png": "unreadable",
        "train/empty.jpg": "unreadable",
        "train/cut.jpg": "unreadable",
        "train/small.png": "too_small",
        "train/huge.tif": "too_large",
        "train/bomb.png": "unreadable",
    }
    details = {name: detail for name, (_, detail) in reasons.items()}
    assert "not an image: expected PNG" in details["train/text.png"]
    assert "truncated" in details["train/cut.jpg"]
    assert details["train/small.png"] == "11x8 pixels, smaller than a patch of 12x8."
    assert "3.0 GiB" in details["train/huge.tif"]
    assert "decompression bomb" in details["train/bomb.png"]
    assert result.summary.notes == {"the first of several frames": 1}
    assert result.summary.rows == 15
    assert (result.summary.cut, sum(result.summary.quarantined.values())) == (9, 6)
    shown = str(result.quarantine["train/small.png"])
    assert shown == "train/small.png: 11x8 pixels, smaller than a patch of 12x8."

    strict = DATA.model_copy(update={"max_bad_files": 0.3})
    with pytest.raises(DataError, match=r"6 of 15 files cannot be cut .*max_bad_files = 0\.3"):
        ingested(place, strict)


def test_the_folders_are_the_labels_of_whoever_names_them(tmp_path):
    place = tmp_path / "data"
    for split in ("train", "test"):
        for number, name in enumerate(("cat", "dog", "cat", "emu")):
            pixels = textures.texture(number + 10 * (split == "test"), 20, 20)
            textures.write(place / split / name / f"{number}.png", pixels)
    result = ingested(place, DATA.model_copy(update={"classes": ("dog", "cat")}))
    assert {int(e["label"]) for e in result.examples["test"]} == {0, 1}
    assert sum(int(e["label"]) for e in result.examples["test"]) == 10
    bad = result.quarantine["test/emu/3.png"]
    assert (bad.reason, len(result.quarantine)) == ("unknown_label", 2)
    assert "emu" in bad.detail


def test_grey_and_images_of_just_one_patch(tmp_path):
    place = textures.write_folder(tmp_path / "data", size=(8, 12))
    result = ingested(place, image=ImageSettings(height=8, width=12, channels=1))
    assert result.summary.cut == sum(result.summary.examples.values()) == 8
    whole = read_image(place / "test" / "00.png", 1).pixels
    np.testing.assert_array_equal(result.examples["test"][0]["image"], whole)


@pytest.mark.parametrize("fraction", [1e-9, 1 - 1e-9])
def test_of_few_files_one_is_for_validation_and_one_to_train_on(tmp_path, fraction):
    place = textures.write_folder(tmp_path / "data", train=2, test=1)
    result = ingested(place, DATA.model_copy(update={"validation_fraction": fraction}))
    assert result.summary.examples == {"train": 5, "validation": 5, "test": 5}


def test_a_single_image_cannot_be_validated_with(tmp_path):
    place = textures.write_folder(tmp_path / "data", train=1, test=1)
    with pytest.raises(DataError, match="At least two different images of train"):
        ingested(place)


def test_files_of_test_that_are_in_train_are_counted(place):
    shutil.copy(place / "train" / "03.png", place / "test" / "copy.png")
    assert ingested(place).summary.overlap == 5


def test_the_version_follows_the_files_below(place):
    made = component.ImageIngestion(str(place), IMAGE, DATA, code="1")
    parameters = made.exec_properties

    def version() -> str:
        return folder.version(parameters, {})

    first = version()
    assert version() == first
    (place / "train" / "a" / "b").mkdir(parents=True)
    shutil.copy(place / "train" / "03.png", place / "train" / "a" / "b" / "copy.png")
    assert version() != first
