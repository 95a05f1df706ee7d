"""Photographs out of Debian packages: what is taken, scaled and left out, and what is written."""

from __future__ import annotations

import os
import pathlib
import subprocess

import numpy as np
import pytest
from PIL import Image

from components.base.errors import DataError
from pipeline import debian, photographs


def picture(height: int, width: int, contrast: int = 60) -> Image.Image:
    random = np.random.default_rng(height)
    coarse = random.integers(128 - contrast, 128 + contrast + 1, (height // 8, width // 8, 3))
    return Image.fromarray(np.kron(coarse, np.ones((8, 8, 1))).astype(np.uint8))


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Two packages, as they are when unpacked."""
    root = tmp_path / "packages"
    for name in ("meadows", "hills"):
        terms = root / name / "usr/share/doc" / name
        terms.mkdir(parents=True)
        (terms / "copyright").write_text(f"Licence of {name}")
        (root / name / "pictures").mkdir()
    monkeypatch.setattr(
        photographs,
        "_PACKAGES",
        (
            photographs._Package("meadows", ("pictures/*",)),
            photographs._Package("hills", ("images/2560x1600.*",)),
        ),
    )
    monkeypatch.setattr(debian, "unpack", lambda name, folder: root / name)
    monkeypatch.setattr(photographs, "_DRAWN", 2)
    monkeypatch.setattr(photographs, "_DRAWN_SIDE", 32)
    picture(640, 1200).save(root / "meadows/pictures/grass.jpg")
    sizes = root / "hills/Alp/contents/images"
    sizes.mkdir(parents=True)
    picture(1600, 2560).save(sizes / "2560x1600.png")
    picture(600, 800).save(sizes / "800x600.png")
    return root


def test_pictures_are_scaled_down_and_named_with_their_licences(packages, tmp_path):
    folder = photographs.photographs(tmp_path / "here" / "photographs")
    sizes = {path.name: Image.open(path).size for path in (folder / "train").iterdir()}
    assert sizes == {
        "Alp-1440.png": (1440, 900),
        "Alp-1024.png": (1024, 640),
        "Alp-720.png": (720, 450),
        "Alp-512.png": (512, 320),
        "Alp-360.png": (360, 225),
        "Alp-256.png": (256, 160),
        # Never larger than it is, nor nearly as large, with the traces of JPEG.
        "grass-720.png": (720, 384),
        "grass-512.png": (512, 273),
        "grass-360.png": (360, 192),
        "grass-256.png": (256, 137),
        "dead-leaves-00.png": (32, 32),
        "dead-leaves-01.png": (32, 32),
        "smooth-leaves-00.png": (32, 32),
        "smooth-leaves-01.png": (32, 32),
    }
    licences = (folder / photographs.LICENCES).read_text()
    for said in (
        "train/grass-360.png",
        "train/dead-leaves-01.png",
        "train/smooth-leaves-01.png",
        "Licence of hills",
        "test/china.jpg",
        "danielbuechele",
    ):
        assert said in licences
    assert os.listdir(folder.parent) == ["photographs"]


def test_those_tested_with_are_the_photographs_of_installed_packages(packages, tmp_path):
    from sklearn.datasets import load_sample_image

    folder = photographs.photographs(tmp_path / "photographs")
    assert len(os.listdir(folder / "test")) == 13
    china = np.asarray(Image.open(folder / "test" / "china.jpg"))
    np.testing.assert_array_equal(china, load_sample_image("china.jpg"))


def test_what_is_no_photograph_is_left_out(packages, tmp_path, monkeypatch):
    pictures = packages / "meadows" / "pictures"
    picture(640, 1200, contrast=1).save(pictures / "flat.png")
    picture(320, 640).save(pictures / "preview.png")
    monkeypatch.setattr(photographs, "_MOST_PIXELS", 1 << 22)
    picture(2400, 2400).save(pictures / "huge.png")
    (pictures / "text.png").write_text("no picture")
    (pictures / "cut.jpg").write_bytes((pictures / "grass.jpg").read_bytes()[:3000])
    (pictures / "drawing.svg").write_text("<svg/>")
    secret = tmp_path / "secret.png"
    picture(640, 800).save(secret)
    (pictures / "link.png").symlink_to(secret)
    folder = photographs.photographs(tmp_path / "photographs")
    names = os.listdir(folder / "train")
    assert {name.partition("-")[0] for name in names} == {"Alp", "grass", "dead", "smooth"}


def test_of_the_sizes_with_little_detail_the_largest_is_kept(packages, tmp_path):
    pictures = packages / "meadows" / "pictures"
    # Detail enough where 1,200 pixels have become 360.
    picture(640, 1200, contrast=20).save(pictures / "soft.png")
    folder = photographs.photographs(tmp_path / "photographs")
    kept = {
        path.name: photographs.detail(np.asarray(Image.open(path)))
        for path in folder.glob("train/soft-*.png")
    }
    assert kept.keys() == {"soft-720.png", "soft-360.png", "soft-256.png"}
    assert 2 <= kept.pop("soft-720.png") < 6
    assert min(kept.values()) >= 6


def test_what_was_brought_is_kept_and_what_is_there_is_not_touched(packages, tmp_path, monkeypatch):
    folder = photographs.photographs(tmp_path / "photographs")
    monkeypatch.setattr(debian, "unpack", None)
    assert photographs.photographs(folder) == folder
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "note").write_text("mine")
    with pytest.raises(DataError, match=r"mine is not empty"):
        photographs.photographs(mine)
    assert os.listdir(mine) == ["note"]


def test_a_package_that_cannot_be_had_is_named_and_nothing_is_left(packages, tmp_path, monkeypatch):
    def refuse(name, folder):
        raise debian.NotHad("there is no apt-get")

    monkeypatch.setattr(debian, "unpack", refuse)
    with pytest.raises(DataError, match=r"meadows.*cannot be had: there is no apt-get.*--data"):
        photographs.photographs(tmp_path / "here" / "photographs")
    assert os.listdir(tmp_path / "here") == []


def test_drawn_images_take_the_colours_of_larger_pictures_where_none_is_small(
    packages, tmp_path, monkeypatch
):
    monkeypatch.setattr(photographs, "_LONGEST_SIDES", (1024, 512, 4096))
    folder = photographs.photographs(tmp_path / "photographs")
    assert Image.open(folder / "train" / "dead-leaves-00.png").size == (32, 32)
    assert not list(folder.glob("train/*-4096.png"))


def test_a_package_without_photographs_is_named(packages, tmp_path):
    (packages / "meadows" / "pictures" / "grass.jpg").unlink()
    with pytest.raises(DataError, match=r"meadows holds no photograph"):
        photographs.photographs(tmp_path / "photographs")
    assert not (tmp_path / "photographs").exists()


def test_a_real_package_is_unpacked(tmp_path, monkeypatch):
    """apt is played; dpkg-deb is the real one."""
    content = tmp_path / "content"
    (content / "DEBIAN").mkdir(parents=True)
    (content / "DEBIAN/control").write_text(
        "Package: meadows\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: none\n"
    )
    (content / "usr").mkdir()
    (content / "usr" / "grass").write_text("green")
    if not pathlib.Path("/usr/bin/dpkg-deb").exists():
        pytest.skip("no dpkg-deb")
    deb = tmp_path / "meadows_1_all.deb"
    subprocess.run(["dpkg-deb", "-b", str(content), str(deb)], check=True, capture_output=True)
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "apt-get").write_text(f'#!/bin/sh\ncp "{deb}" .\n')
    (programs / "apt-get").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    files = debian.unpack("meadows", tmp_path / "new")
    assert (files / "usr" / "grass").read_text() == "green"
