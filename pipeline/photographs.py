"""Brings photographs: of Debian's packages to train on, of scikit-image and scikit-learn to test.

Drawn images stand beside those trained on, a quarter of all: there are some ninety photographs.

Those tested with are of other photographers and cameras than those trained on.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import re
import shutil
import tempfile
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from components.base import progress
from components.base.errors import DataError
from pipeline import debian
from pipeline.dead_leaves import dead_leaves, smooth_leaves

if TYPE_CHECKING:
    from PIL import Image

LICENCES = "LICENCES.txt"
"""In the folder: who made the pictures, and under which terms."""

_STEP = "data"
_SIZE = re.compile(r"\d+x\d+")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp"}
_LONGEST_SIDES = (1440, 1024, 720, 512, 360, 256)
"""Pictures are scaled down to each, by the mean of what a new pixel covers: that takes their own
noise and the traces of JPEG with it."""
_SHORTEST_SIDE = 384
"""What is smaller, before it is scaled, is a preview."""
_LEAST_SCALING = 1.3
"""Less would leave the traces of JPEG."""
_LEAST_DETAIL, _ENOUGH_DETAIL = 2.0, 6.0
"""Mean difference of neighbours along both axes, in grey levels of 255, at the size in question:
what has less than the first is a drawing or a gradient. What has less than the second is smooth
or out of focus nearly everywhere: of many such a model learns to blur, and without any it paints
strokes into skies and walls. Tiled roofs and foliage have 10 to 30."""
_DRAWN, _DRAWN_SIDE = 60, 384
"""Of each kind."""
_COLOURS = 4096
"""Taken of each photograph for those that are drawn."""
_MOST_PIXELS = 64_000_000
_MOST_BYTES = 64 << 20
_MOST_PICTURES = 500


_OF_OPENCV = (
    "aero1.jpg",
    "aloeL.jpg",
    "apple.jpg",
    "baboon.jpg",
    "board.jpg",
    "box_in_scene.png",
    "building.jpg",
    "fruits.jpg",
    "graf1.png",
    "home.jpg",
    "leuvenA.jpg",
    "orange.jpg",
    "rubberwhale1.png",
    "squirrel_cls.jpg",
)


@dataclasses.dataclass(frozen=True)
class _Package:
    """A Debian package with photographs, and which of its files are worth a look."""

    name: str
    patterns: tuple[str, ...]
    """Of paths, one file for each picture: packages hold some in several sizes and colours."""


_PACKAGES = (
    _Package("mate-backgrounds", ("nature/*", "abstract/Elephants_5640x3172.jpg")),
    _Package(
        "plasma-workspace-wallpapers",
        tuple(f"images/{size}.*" for size in ("2560x1600", "3200x2000", "3840x2160", "5120x2880")),
    ),
    _Package("gnome-backgrounds", ("gnome/*-l.*",)),
    _Package("ukui-wallpapers", ("backgrounds/*",)),
    _Package("lomiri-wallpapers-16.04", ("backgrounds/*",)),
    _Package("lomiri-wallpapers-20.04", ("backgrounds/*",)),
    _Package(
        "opencv-doc",
        (
            *(f"examples/data/{name}" for name in _OF_OPENCV),
            "examples/text/scenetext0*.jpg",
        ),
    ),
    # Textures of a game, photographed: walls, roofs, stone, bark.
    _Package("cube2-data", ("*_gk_v0?_cc.jpg", "gor/*_cc.jpg", "yo_frankie/[gst]*_col.jpg")),
)

TESTED: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "skimage": (
        "data",
        (
            "astronaut.png",
            "brick.png",
            "camera.png",
            "chelsea.png",
            "coffee.png",
            "coins.png",
            "grass.png",
            "gravel.png",
            "moon.png",
            "motorcycle_left.png",
            "rocket.jpg",
        ),
    ),
    "sklearn": ("datasets/images", ("china.jpg", "flower.jpg")),
}
"""By module: the folder and the files in it that are photographs."""


def photographs(folder: pathlib.Path | str) -> pathlib.Path:
    """Brings photographs to `folder`/train and `folder`/test, unless they are there.

    The packages' pictures are scaled down to several sizes, from 1440 pixels to 256; of the sizes
    at which one has little detail, the largest alone is kept. Drawn images are put beside them.
    No package is installed. The folder appears whole or not at all.

    Returns:
      `folder`, absolute.

    Raises:
      DataError: a package cannot be had, none of its pictures can be read, or the folder holds
        something else or cannot be written.
    """
    folder = pathlib.Path(folder).absolute()
    if folder.is_dir() and any(folder.iterdir()):
        if (folder / LICENCES).is_file():
            return folder
        raise DataError(
            f"{folder} is not empty and holds no photographs brought by this command. Name "
            "another folder, or a new one."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".photographs-", dir=folder.parent) as scratch:
            whole = pathlib.Path(scratch) / "photographs"
            notices = [_bring_training(pathlib.Path(scratch), whole / "train")]
            notices.append(_bring_tests(whole / "test"))
            (whole / LICENCES).write_text("\n\n".join(notices), encoding="utf-8")
            if folder.is_dir():
                folder.rmdir()
            whole.rename(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error
    return folder


def _bring_training(scratch: pathlib.Path, folder: pathlib.Path) -> str:
    """Writes the packages' photographs; returns what their licences say."""
    folder.mkdir(parents=True)
    notices = []
    for done, package in enumerate(_PACKAGES):
        progress.tell(_STEP, done, len(_PACKAGES) + 1, f"photographs of {package.name}")
        try:
            files = debian.unpack(package.name, scratch / package.name)
        except debian.NotHad as reason:
            raise DataError(
                f"The Debian package {package.name} with photographs cannot be had: {reason}. "
                "Use photographs of your own: a folder with train/ and test/, and --data."
            ) from reason
        kept = [name for file in _pictures(files, package) for name in _keep(file, folder)]
        if not kept:
            raise DataError(
                f"The Debian package {package.name} holds no photograph that can be used; it is "
                "another version than is known here. Use photographs of your own."
            )
        terms = files / "usr/share/doc" / package.name / "copyright"
        notices.append(
            f"train/{', train/'.join(kept)}\nare of the Debian package {package.name}, scaled "
            f"down. Its copyright file:\n\n{terms.read_text(encoding='utf-8', errors='replace')}"
        )
    notices.append(_draw(folder))
    return "\n\n".join(notices)


def _draw(folder: pathlib.Path) -> str:
    """Writes drawn images in the colours of the photographs; returns what there is to say."""
    from PIL import Image

    progress.tell(_STEP, len(_PACKAGES), len(_PACKAGES) + 1, "drawn images")
    taken = []
    random = np.random.default_rng(0)
    small = folder.glob(f"*-{_LONGEST_SIDES[-1]}.png")
    for file in sorted(small) or sorted(folder.iterdir()):
        with Image.open(file) as picture:
            pixels = np.asarray(picture).reshape(-1, 3)
        taken.append(pixels[random.integers(len(pixels), size=_COLOURS)])
    colours = np.concatenate(taken)
    names = []
    for kind, draw in (("dead-leaves", dead_leaves), ("smooth-leaves", smooth_leaves)):
        for number in range(_DRAWN):
            names.append(f"{kind}-{number:02}.png")
            drawn = draw(_DRAWN_SIDE, colours, seed=number)
            Image.fromarray(drawn).save(folder / names[-1])
    return f"train/{', train/'.join(names)}\nare drawn by pipeline/dead_leaves.py."


def _pictures(files: pathlib.Path, package: _Package) -> list[pathlib.Path]:
    """Regular files of a package that may be pictures; links are left out, they may lead away."""
    found = {
        file
        for file in files.rglob("*")
        if file.suffix.lower() in _SUFFIXES
        and any(file.match(pattern) for pattern in package.patterns)
        and not file.is_symlink()
        and file.is_file()
        and file.stat().st_size <= _MOST_BYTES
    }
    return sorted(found)[:_MOST_PICTURES]


def _keep(file: pathlib.Path, folder: pathlib.Path) -> list[str]:
    """Writes a picture as PNGs, scaled down; none where it cannot be read or is no photograph.

    Returns:
      The names of the PNGs.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as picture:
                if picture.width * picture.height > _MOST_PIXELS:
                    return []
                whole = picture.convert("RGB")
    except (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning):
        return []
    if min(whole.size) < _SHORTEST_SIDE:
        return []
    # Where the file's name is its size, the folder has the picture's.
    title = file.parents[2].name if _SIZE.fullmatch(file.stem) else file.stem
    names: list[str] = []
    smooth = False
    for side in _LONGEST_SIDES:
        if side * _LEAST_SCALING > max(whole.size):
            continue
        scaled = _scaled(whole, side)
        found = detail(np.asarray(scaled))
        if found < (_ENOUGH_DETAIL if smooth else _LEAST_DETAIL):
            continue
        smooth = smooth or found < _ENOUGH_DETAIL
        names.append(f"{title}-{side}.png")
        scaled.save(folder / names[-1])
    return names


def _scaled(picture: Image.Image, longest: int) -> Image.Image:
    from PIL import Image

    scale = longest / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BOX)


def detail(pixels: np.ndarray) -> float:
    """Mean absolute difference of neighbours, down plus across, in grey levels of 255.

    Args:
      pixels: uint8, (H, W, 3).
    """
    grey = pixels.astype(np.float32) @ np.array([0.299, 0.587, 0.114], np.float32)
    return float(sum(np.mean(np.abs(np.diff(grey, axis=axis))) for axis in (0, 1)))


def _bring_tests(folder: pathlib.Path) -> str:
    """Copies the photographs of installed packages; returns where their terms stand."""
    folder.mkdir(parents=True)
    notices = []
    for module, (_, names) in TESTED.items():
        source = test_folder(module)
        if source is None:
            raise DataError(f"The Python package {module} with the test photographs is not there.")
        written = []
        for name in names:
            shutil.copyfile(source / name, folder / name)
            written.append(f"test/{name}")
        terms = (source / "README.txt").read_text(encoding="utf-8", errors="replace")
        notices.append(
            f"{', '.join(written)}\nare of the Python package {module}, whose documentation names "
            f"their sources. Its README.txt:\n\n{terms}"
        )
    return "\n\n".join(notices)


def test_folder(module: str) -> pathlib.Path | None:
    """Where an installed package of `TESTED` has its photographs; None: it is not installed."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        return None
    return pathlib.Path(spec.origin).parent / TESTED[module][0]
