"""Brings Fashion-MNIST as CSVs."""

from __future__ import annotations

import contextlib
import dataclasses
import gzip
import hashlib
import http.client
import math
import os
import pathlib
import tempfile
import urllib.request
import zlib
from collections.abc import Callable, Mapping

import numpy as np

from components.base import progress
from components.base.errors import DataError
from components.csv_ingestion.data_folder import check_folder
from pipeline import debian

FOLDER_VARIABLE = "FASHION_MNIST_DIR"

_STEP = "data"
_SYSTEM_FOLDER = pathlib.Path("/usr/share/datasets/fashion-mnist")
_PACKAGE = "dataset-fashion-mnist"
# The addresses of https://github.com/zalandoresearch/fashion-mnist, "Get the Data".
_OFFICIAL_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
_DOWNLOAD_BYTES = 64 << 20
"""More than each of its files has, packed or not."""


@dataclasses.dataclass(frozen=True)
class _IdxFile:
    """One of the four files of the data set, in the format of http://yann.lecun.com/exdb/mnist"""

    name: str
    sha256: str
    """Of the unpacked bytes: distributions compress them again."""
    dimensions: tuple[int, ...]


_FILES: Mapping[str, tuple[_IdxFile, _IdxFile]] = {
    "train": (
        _IdxFile(
            "train-images-idx3-ubyte",
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
            (60_000, 28, 28),
        ),
        _IdxFile(
            "train-labels-idx1-ubyte",
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
            (60_000,),
        ),
    ),
    "test": (
        _IdxFile(
            "t10k-images-idx3-ubyte",
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
            (10_000, 28, 28),
        ),
        _IdxFile(
            "t10k-labels-idx1-ubyte",
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
            (10_000,),
        ),
    ),
}


def fashion_mnist(workspace: pathlib.Path | str) -> pathlib.Path:
    """Brings Fashion-MNIST to `workspace`/data as CSVs, unless they are there already.

    It is looked for in $FASHION_MNIST_DIR and /usr/share/datasets/fashion-mnist, downloaded
    from its authors, or taken out of the Debian package dataset-fashion-mnist, in this order.
    Each file is checked against its SHA-256. The folder appears whole or not at all.

    Returns:
      `workspace`/data, with train/fashion-mnist_train.csv (60,000 rows) and
      test/fashion-mnist_test.csv (10,000 rows), with header.

    Raises:
      DataError: it is nowhere to be had, or cannot be written; lists what was tried.
    """
    # Absolute, since apt and dpkg-deb are called in a folder of their own.
    folder = pathlib.Path(workspace).absolute() / "data"
    if folder.is_dir() and any(folder.iterdir()):
        check_folder(folder)
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".data-", dir=folder.parent) as scratch:
            images = _find(pathlib.Path(scratch))
            whole = pathlib.Path(scratch) / "data"
            _write_csvs(images, whole)
            # On another run's finished folder this fails, and that folder is as good.
            with contextlib.suppress(OSError):
                whole.rename(folder)
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error}") from error
    check_folder(folder)
    return folder


_Split = tuple[np.ndarray, np.ndarray]


def _find(scratch: pathlib.Path) -> dict[str, _Split]:
    """uint8 images (n, 28, 28) and uint8 labels (n,) of each split, from the first source."""
    sources: list[tuple[str, Callable[[], pathlib.Path]]] = []
    if chosen := os.environ.get(FOLDER_VARIABLE):
        sources.append((f"${FOLDER_VARIABLE} ({chosen})", lambda: pathlib.Path(chosen)))
    sources += [
        (str(_SYSTEM_FOLDER), lambda: _SYSTEM_FOLDER),
        (_OFFICIAL_URL, lambda: _download(scratch / "download")),
        (f"apt-get download {_PACKAGE}", lambda: _unpack_package(scratch / "package")),
    ]
    tried = []
    for name, bring in sources:
        try:
            return _read_all(bring())
        except _NotThere as reason:
            tried.append(f"  {name}: {reason}")
    raise DataError(
        "Fashion-MNIST was not found. Tried:\n"
        + "\n".join(tried)
        + f"\nSet ${FOLDER_VARIABLE} to a folder with its four idx files, install the package "
        f"{_PACKAGE}, or use CSVs of your own with --data DIR."
    )


class _NotThere(Exception):
    """Why a source is passed over."""


def _read_all(folder: pathlib.Path) -> dict[str, _Split]:
    if not folder.is_dir():
        raise _NotThere("not there")
    return {
        split: (_read_idx(folder, images), _read_idx(folder, labels))
        for split, (images, labels) in _FILES.items()
    }


def _read_idx(folder: pathlib.Path, file: _IdxFile) -> np.ndarray:
    plain, packed = folder / file.name, folder / f"{file.name}.gz"
    header = 4 + 4 * len(file.dimensions)
    size = header + math.prod(file.dimensions)
    try:
        # A byte more than it should have tells that it is another one, whatever its size.
        with open(plain, "rb") if plain.exists() else gzip.open(packed) as stream:
            content = stream.read(size + 1)
    except FileNotFoundError:
        raise _NotThere(f"no {file.name}[.gz] in it") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _NotThere(f"{file.name} cannot be read: {error}") from error
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise _NotThere(f"{file.name} is not the published one (its SHA-256 differs)")
    return np.frombuffer(content, np.uint8, offset=header).reshape(file.dimensions)


def _download(folder: pathlib.Path) -> pathlib.Path:
    folder.mkdir()
    names = [f"{file.name}.gz" for files in _FILES.values() for file in files]
    for done, name in enumerate(names):
        progress.tell(_STEP, done, len(names), f"downloading {name}")
        try:
            with (
                urllib.request.urlopen(
                    f"{_OFFICIAL_URL}/{name}", timeout=debian.CONNECT_SECONDS
                ) as there,
                open(folder / name, "wb") as here,
            ):
                while chunk := there.read(1 << 16):
                    if here.tell() + len(chunk) > _DOWNLOAD_BYTES:
                        raise _NotThere(f"{name} has more than {_DOWNLOAD_BYTES >> 20} MiB")
                    here.write(chunk)
        except (OSError, http.client.HTTPException) as error:
            raise _NotThere(f"{name} cannot be downloaded: {error!r}") from error
    return folder


def _unpack_package(folder: pathlib.Path) -> pathlib.Path:
    """Takes the data set out of its Debian package."""
    try:
        return debian.unpack(_PACKAGE, folder) / _SYSTEM_FOLDER.relative_to("/")
    except debian.NotHad as reason:
        raise _NotThere(reason) from reason


def _write_csvs(images: Mapping[str, _Split], folder: pathlib.Path) -> None:
    total = sum(len(labels) for _, labels in images.values())
    done = 0
    for split, (pixels, labels) in images.items():
        (folder / split).mkdir(parents=True)
        table = np.column_stack([labels, pixels.reshape(len(pixels), -1)])
        with open(folder / split / f"fashion-mnist_{split}.csv", "wb") as file:
            names = ["label", *(f"pixel{number}" for number in range(1, table.shape[1]))]
            file.write(",".join(names).encode() + b"\n")
            for begin in range(0, len(table), 1000):
                rows = table[begin : begin + 1000]
                file.write(_csv(rows))
                done += len(rows)
                progress.tell(_STEP, done, total, "writing CSVs")


def _csv(table: np.ndarray) -> bytes:
    """uint8 (rows, columns) as lines: each value's cell of up to four bytes, less padding."""
    cells = _CELLS[table].view(np.uint8).reshape(len(table), -1)
    last = cells[:, -4:]
    last[last == ord(",")] = ord("\n")
    return cells[cells != 0].tobytes()


_CELLS = np.frombuffer(
    b"".join(f"{value},".encode().ljust(4, b"\0") for value in range(256)), np.uint32
)
