"""Photographs in the benchmark: what is taken of them, and that all get the same noise."""

import concurrent.futures

import numpy as np
import pytest
from PIL import Image

from components import models
from components.base.errors import DataError
from components.filters.bm3d import Bm3d
from pipeline import photographs as brought
from pipeline.benchmark import filters, photographs, tables
from pipeline.benchmark import models as trained_models
from pipeline.benchmark import workers as work
from pipeline.benchmark.contents import ALL
from pipeline.benchmark.findings import Findings
from pipeline.workspace import Workspace

NOISE = photographs.noise_of(25)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Two photographs in colour and one in grey, and notes."""
    monkeypatch.setattr(photographs, "_TUNING_SIZE", 8)
    made = tmp_path / "test"
    made.mkdir()
    random = np.random.default_rng(3)
    for name in ("hill", "lake"):
        coarse = random.integers(0, 256, (6, 9, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((60, 40)).save(made / f"{name}.png")
    Image.fromarray(coarse[..., 0]).resize((60, 40)).save(made / "moon.png")
    (made / "notes.txt").write_text("no picture")
    return made


@pytest.fixture
def pool():
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        yield pool


def _read(folder, channels, noises=(NOISE,), **more):
    return photographs.read(photographs.files_in(folder), channels, noises, 7, 32, **more)


def test_the_middle_is_measured_and_what_is_beside_it_tunes(folder):
    grey, colour = _read(folder, 1), _read(folder, 3)
    assert list(grey.settings.data.classes) == ["hill", "lake", "moon"]
    assert list(colour.settings.data.classes) == ["hill", "lake"], "the other has no colour"
    pixels = np.asarray(Image.open(folder / "hill.png"))
    place = colour.test.labels.tolist().index(0)
    np.testing.assert_allclose(colour.test.clean()[place] * 255, pixels[4:36, 14:46], atol=1e-4)
    beside = [colour.train.clean()[at] * 255 for at in np.flatnonzero(colour.train.labels == 0)]
    for left in (6, 46):
        part = pixels[16:24, left : left + 8]
        assert any(np.array_equal(np.rint(one), part) for one in beside)
    assert len(_read(folder, 1, limit=2).test) == 2


def test_too_small_a_photograph_and_a_folder_without_any_are_named(folder, tmp_path):
    with pytest.raises(DataError, match=r"hill\.png has 60x40 pixels; 41x41"):
        photographs.read(photographs.files_in(folder), 1, [NOISE], 7, 41)
    with pytest.raises(DataError, match=r"denoise data --photographs"):
        photographs.files_in(tmp_path / "nowhere")


class _Keras:
    """Gives back what it gets, and notes it."""

    def __init__(self):
        self.seen = []

    def predict_on_batch(self, images):
        self.seen.append(images)
        return images


@pytest.fixture
def told(monkeypatch):
    """What BM3D is given, which here makes all grey."""
    seen = []

    def grey(self, noisy, *, sigma):
        seen.append((noisy.copy(), sigma))
        return np.full_like(noisy, 0.5)

    monkeypatch.setattr(Bm3d, "__call__", grey)
    monkeypatch.setattr(photographs.metadata, "version", lambda _: "4")
    return seen


def test_all_get_the_same_noise_and_bm3d_is_told_how_strong_it_is(folder, tmp_path, pool, told):
    subject, model = _read(folder, 1), _Keras()
    contenders = photographs.contenders("mine", {"file": "1"}, lambda: model)
    findings = Findings(tmp_path / "results")
    found = photographs.measured(subject, contenders, findings, pool, ["bm3d", "median"])
    assert [method.name for method in found.methods] == [
        "noisy",
        "mine",
        "mine_ensemble",
        "bm3d",
        "median",
    ]
    noisy = np.concatenate([noisy for noisy, _ in told])
    np.testing.assert_array_equal(np.concatenate(model.seen[1 : 1 + len(noisy)]), noisy)
    assert {sigma for _, sigma in told} == {0.098}
    rows = found.result("mine", NOISE).rows
    assert rows == found.result("noisy", NOISE).rows
    assert set(rows) == {ALL, "0", "1", "2"}
    noise = subject.noisy.noisy(NOISE) - subject.test.clean()
    assert 0.07 < noise.std() < 0.1, "0.098, less what is clipped away"
    assert found.result("median", NOISE).total.psnr > rows[ALL].psnr + 2
    assert found.result("median", NOISE).tuning.images == 6
    [gain] = found.gains("mine", "bm3d")
    assert gain.mean == pytest.approx(rows[ALL].psnr - found.result("bm3d", NOISE).total.psnr)
    table = tables.photograph_table(found)
    assert table.row_count == 6
    assert table.title == "Photographs in grey: the middle 32x32 of 3"

    told.clear()
    assert photographs.measured(subject, contenders, findings, pool, ["bm3d", "median"]) == found
    assert not told, "what is known is not measured again"


def test_models_that_come_with_the_package_and_the_workspaces_own(
    folder, tmp_path, pool, monkeypatch
):
    monkeypatch.setattr(photographs, "shipped_files", lambda: (photographs.files_in(folder), {}))
    monkeypatch.setattr(photographs, "SIZE", 32)
    monkeypatch.setattr(filters, "available", lambda: ["median"])
    asked = []

    def trained(workspace, image, noises, of_any_size=False):
        asked.append((image.channels, of_any_size))
        return []

    monkeypatch.setattr(trained_models, "trained_models", trained)
    found, left_out = photographs.compared(
        Workspace(tmp_path), Findings(tmp_path / "results"), pool, seed=7, limit=None
    )
    assert left_out == {}
    assert asked == [(1, True), (3, True)]
    grey = found[0]
    assert (grey.channels, grey.images, grey.noises[1]) == (1, 3, NOISE)
    names = {method.name for method in grey.methods}
    assert {"noisy", "photo_grey", "photo_grey_ensemble", "median"} <= names
    assert "fashion_mnist" not in names, "is of one size"
    assert grey.method("photo_grey").trained_on.startswith("mixture(")
    assert grey.result("photo_grey", NOISE).total.psnr > grey.result("noisy", NOISE).total.psnr


def test_the_packages_ship_what_is_measured_or_it_is_said():
    files, left_out = photographs.shipped_files()
    assert left_out == {}
    assert len(files) == 13
    assert all(file.is_file() for file in files.values())


def test_a_package_that_is_not_there_is_said(monkeypatch):
    monkeypatch.setattr(brought, "TESTED", {"nosuch": ("data", ("a.png",))})
    assert photographs.shipped_files() == (
        {},
        {"photographs of nosuch": "the Python package is not installed"},
    )


def test_which_models_take_any_size():
    assert models.MODELS["photo_unet"].any_size
    assert trained_models.any_size("photo_unet")
    assert not trained_models.any_size("unet")
    assert not trained_models.any_size("gone")


def test_large_images_go_to_the_workers_a_few_at_a_time(pool, monkeypatch):
    sizes = []

    def denoise(name, parameters, curve, noisy):
        sizes.append(len(noisy))
        return noisy, 0.0

    monkeypatch.setattr(work, "denoise", denoise)
    for shape, expected in (((120, 28, 28, 1), [100, 20]), ((2, 256, 256, 3), [1, 1])):
        sizes.clear()
        filters.denoised(pool, "median", {}, None, np.zeros(shape, np.float32), lambda _: None)
        assert sizes == expected
