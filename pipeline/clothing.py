"""A seeded generator of clothing-like images, written as the CSVs the pipeline reads.

Ten classes of soft-edged shapes (shirt, trouser, ..., ankle boot), each image with its own
position, size, brightness and weave, so that a denoiser has something to learn from a few
hundred of them and a classifier could tell them apart.
"""

from __future__ import annotations

import contextlib
import gzip
import pathlib
import tempfile

import numpy as np

from components.base.errors import DataError

CLASSES = 10
_EDGE = 14.0
"""Steepness of an edge per unit of the [-1, 1] coordinates."""


def images(
    count: int, *, seed: int, shape: tuple[int, int, int] = (28, 28, 1)
) -> tuple[np.ndarray, np.ndarray]:
    """Draws images and their labels.

    Returns:
      uint8 (count, height, width, channels) in 0-255, and int64 (count,) labels in 0-9; the
      same seed gives the same images, and labels are as even as `count` allows.
    """
    height, width, channels = shape
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(count, dtype=np.int64) % CLASSES)
    each = (count, 1, 1)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[None, :, None]
    columns = np.linspace(-1, 1, width, dtype=np.float32)[None, None, :]
    size = random.uniform(0.8, 1.15, each).astype(np.float32)
    y = (rows - random.uniform(-0.1, 0.1, each).astype(np.float32)) / size
    x = (columns - random.uniform(-0.1, 0.1, each).astype(np.float32)) / size

    ink = np.zeros((count, height, width), np.float32)
    for label, draw in enumerate(_SHAPES):
        chosen = labels == label
        ink[chosen] = draw(x[chosen], y[chosen])

    across, down, phase = random.uniform(1, 6, (3, count, 1, 1)).astype(np.float32)
    weave = 0.8 + 0.2 * np.sin(across * x + down * y + phase)
    brightness = random.uniform(0.45, 1.0, each).astype(np.float32)
    grey = (ink * weave * brightness)[..., None]
    tint = np.ones((count, 1, 1, channels), np.float32)
    if channels > 1:
        tint = random.uniform(0.3, 1.0, tint.shape).astype(np.float32)
    return np.rint(grey * tint * 255).astype(np.uint8), labels


def clothing(
    workspace: pathlib.Path | str, count: int, shape: tuple[int, int, int]
) -> pathlib.Path:
    """Draws images to `workspace`/generated as CSVs, unless they are there already.

    Args:
      workspace: Made if missing.
      count: Images in all; every sixth is in `test`.
      shape: (height, width, channels).

    Returns:
      The data folder, whose name says how many images of which shape it has.

    Raises:
      DataError: it cannot be written.
    """
    name = "x".join(map(str, (count, *shape)))
    folder = pathlib.Path(workspace) / "generated" / name
    if folder.is_dir():
        return folder
    test = max(1, count // 6)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".drawing-", dir=folder.parent) as scratch:
            whole = pathlib.Path(scratch) / name
            write_csvs(whole, train=count - test, test=test, shape=shape)
            # On another run's finished folder this fails, and that folder is as good.
            with contextlib.suppress(OSError):
                whole.rename(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error
    return folder


def write_csvs(
    folder: pathlib.Path | str,
    *,
    train: int = 200,
    test: int = 50,
    seed: int = 1,
    header: bool = True,
    gz: bool = False,
    shape: tuple[int, int, int] = (28, 28, 1),
    files: int = 1,
) -> pathlib.Path:
    """Writes `folder`/train/*.csv and `folder`/test/*.csv and returns `folder`.

    Args:
      folder: Made if missing.
      train: Rows in `train`, over all its files.
      test: Rows in `test`, over all its files.
      seed: Of the images; train and test differ.
      header: Begin each file with `label,pixel1,...`, as Kaggle's files do.
      gz: Write `.csv.gz`.
      shape: (height, width, channels).
      files: Files in each split.
    """
    folder = pathlib.Path(folder)
    for split, count, split_seed in (("train", train, seed), ("test", test, seed + 1_000_003)):
        pixels, labels = images(count, seed=split_seed, shape=shape)
        table = np.column_stack([labels, pixels.reshape(count, -1)])
        (folder / split).mkdir(parents=True, exist_ok=True)
        for number, part in enumerate(np.array_split(table, files), start=1):
            write_csv(folder / split / f"clothing-{number}.csv{'.gz' * gz}", part, header=header)
    return folder


def write_csv(path: pathlib.Path, table: np.ndarray, *, header: bool = True) -> None:
    """Writes an integer table (rows, 1 + pixels), gzipped when `path` ends in .gz."""
    lines = [",".join(map(str, row)) for row in table.tolist()]
    if header:
        names = ["label", *(f"pixel{number}" for number in range(1, table.shape[1]))]
        lines.insert(0, ",".join(names))
    content = ("\n".join(lines) + "\n").encode()
    # mtime=0: the same rows give the same bytes, on which TFX's caching depends.
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)


def _box(x, y, left, right, top, bottom):
    """1 inside, 0 outside, with edges one or two pixels soft."""
    inside = np.minimum(np.minimum(x - left, right - x), np.minimum(y - top, bottom - y))
    return 1 / (1 + np.exp(-_EDGE * np.clip(inside, -4, 4)))


def _either(*parts):
    return np.maximum.reduce(parts)


def _torso(x, y):
    return _box(np.abs(x), y, -1, 0.45, -0.75, 0.8)


def _sleeves(x, y, length):
    return _box(np.abs(x), y, 0.4, 0.85, -0.7, -0.7 + length)


def _t_shirt(x, y):
    return _either(_torso(x, y), _sleeves(x, y, 0.45))


def _trouser(x, y):
    return _box(np.abs(x), y, -1, 0.45, -0.9, 0.95) * (1 - _box(np.abs(x), y, -1, 0.1, -0.4, 2))


def _pullover(x, y):
    return _either(_torso(x, y), _sleeves(x, y, 1.4))


def _dress(x, y):
    return _box(np.abs(x) - 0.2 * (y + 0.9), y, -2, 0.2, -0.9, 0.95)


def _coat(x, y):
    return _pullover(x, y) * (1 - 0.8 * _box(np.abs(x), y, -1, 0.06, -0.6, 2))


def _sandal(x, y):
    straps = _box(np.abs(x + y * 0.6) % 0.5, y, 0.1, 0.35, -0.3, 0.4)
    return _either(straps * _box(x, y, -0.9, 0.9, -0.4, 0.4), _box(x, y, -0.9, 0.9, 0.35, 0.55))


def _shirt(x, y):
    buttons = _box(np.abs(x), np.abs(y) % 0.4, -1, 0.08, 0.1, 0.3)
    return _t_shirt(x, y) * (1 - 0.7 * buttons)


def _sneaker(x, y):
    return _box(x, y - 0.3 * x, -0.9, 0.9, -0.1, 2) * _box(x, y, -1, 1, -0.6, 0.55)


def _bag(x, y):
    handle = _box(x, y, -0.45, 0.45, -0.75, 0.0) * (1 - _box(x, y, -0.28, 0.28, -0.58, 0.5))
    return _either(_box(x, y, -0.8, 0.8, -0.15, 0.75), handle)


def _ankle_boot(x, y):
    return _either(_box(x, y, -0.1, 0.6, -0.85, 0.6), _box(x, y, -0.85, 0.6, 0.1, 0.75))


_SHAPES = (
    _t_shirt,
    _trouser,
    _pullover,
    _dress,
    _coat,
    _sandal,
    _shirt,
    _sneaker,
    _bag,
    _ankle_boot,
)
