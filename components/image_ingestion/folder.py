"""The layout of a data folder of images.

    train/**.png, test/**.png                    images; patches of them are the Examples
    train/cat/*.png, train/dog/*.png, ...        one level of folders: their names are the labels
    train/noisy/**.png, train/clean/**.png       pairs: the same names in both

or such folders as spans, span-1/train, ..., of which the pipeline takes the latest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from components.base import object_store
from components.base.errors import DataError
from components.base.files import shown
from components.csv_ingestion.data_folder import newest_span
from components.csv_ingestion.parts import INPUT_SPLITS
from components.image.reader import SUFFIXES

NOISY, CLEAN = "noisy", "clean"
_KINDS = "PNG, JPEG, TIFF, WebP, BMP or GIF"
LAYOUT = {
    "images": f"images ({_KINDS}) below train/ and test/, or span-N folders that do",
    "pairs": (
        f"images ({_KINDS}) of the same names below train/noisy/ and train/clean/, and below "
        "test/noisy/ and test/clean/, or span-N folders that do"
    ),
}
"""By `data.format`."""


@dataclasses.dataclass(frozen=True)
class ImageName:
    """An image of a data folder, or a pair of them."""

    split: str
    """`train` or `test`."""
    name: str
    """Path under the folder of the split; of a pair, under `clean`."""
    noisy: str | None = None
    """Path under `noisy`, of a pair."""
    alone: str | None = None
    """Of a pair that has one image only: which it lacks, NOISY or CLEAN."""

    @property
    def label(self) -> str | None:
        """The folder it lies in, where that is the only one."""
        folder, _, name = self.name.partition("/")
        return folder if name and "/" not in name else None

    @property
    def shown(self) -> str:
        """Path under the data folder, of a pair that of its noisy image."""
        if self.alone == NOISY:
            return f"{self.split}/{CLEAN}/{self.name}"
        if self.noisy is not None:
            return f"{self.split}/{NOISY}/{self.noisy}"
        return f"{self.split}/{self.name}"

    @property
    def paths(self) -> tuple[str, ...]:
        """Paths under the data folder of what is to be read: the image, or the clean and the
        noisy one."""
        if self.noisy is None:
            return (f"{self.split}/{self.name}",)
        return f"{self.split}/{CLEAN}/{self.name}", f"{self.split}/{NOISY}/{self.noisy}"


@dataclasses.dataclass(frozen=True)
class Files:
    """What lies in a data folder."""

    images: tuple[ImageName, ...]
    """In order of split and name."""
    ignored: Mapping[str, str]
    """Why each other file is not taken, by its path under the data folder."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the folders that are labels, in order; none unless every image lies in one."""
        labels = {image.label for image in self.images if not image.alone}
        return tuple(sorted(label for label in labels if label)) if None not in labels else ()


def files(folder: str, kind: str) -> Files:
    """Lists a data folder, in a file system that TFX knows.

    Args:
      folder: The data folder, or one of its spans.
      kind: `images` or `pairs`.

    Raises:
      DataError: a split has no image, or one of the two folders of pairs is missing.
    """
    images: list[ImageName] = []
    ignored: dict[str, str] = {}
    for split in INPUT_SPLITS:
        names = []
        for name in _names(os.path.join(folder, split)):
            reason = _not_taken(name)
            if reason is None and kind == "pairs" and name.partition("/")[0] not in (NOISY, CLEAN):
                reason = f"not in {split}/{NOISY} or {split}/{CLEAN}"
            if reason is None:
                names.append(name)
            else:
                ignored[f"{split}/{name}"] = reason
        if kind == "pairs":
            _check_pairs(folder, split, names)
            images += _pairs(split, names)
        else:
            images += [ImageName(split, name) for name in names]
        if not names:
            raise DataError(
                f"{shown(folder)} has no image below {split}/. Expected {LAYOUT[kind]}."
                + _others(ignored)
            )
    return Files(tuple(images), ignored)


def _others(ignored: Mapping[str, str]) -> str:
    some = [f"\n  {shown(name)}: {reason}" for name, reason in list(ignored.items())[:5]]
    more = f"\n  and {len(ignored) - 5} more" if len(ignored) > 5 else ""
    return f" Not taken:{''.join(some)}{more}" if some else ""


def _check_pairs(folder: str, split: str, names: Iterable[str]) -> None:
    found = {name.partition("/")[0] for name in names}
    missing = [side for side in (NOISY, CLEAN) if side not in found]
    if missing:
        raise DataError(
            f"{shown(folder)} has no image below {split}/{missing[0]}/. Expected {LAYOUT['pairs']}."
        )


def _pairs(split: str, names: Iterable[str]) -> list[ImageName]:
    """Twins have the same path; or, where that finds none, the same but for the ending."""
    sides: dict[str, list[str]] = {NOISY: [], CLEAN: []}
    for name in names:
        side, _, rest = name.partition("/")
        sides[side].append(rest)
    clean = set(sides[CLEAN])
    stems: dict[str, list[str]] = {}
    for name in sides[CLEAN]:
        stems.setdefault(os.path.splitext(name)[0], []).append(name)
    taken: set[str] = set()
    pairs = []
    for name in sides[NOISY]:
        twins = [name] if name in clean else stems.get(os.path.splitext(name)[0], [])
        if len(twins) == 1:
            taken.add(twins[0])
            pairs.append(ImageName(split, twins[0], noisy=name))
        else:
            pairs.append(ImageName(split, name, noisy=name, alone=CLEAN))
    pairs += [ImageName(split, name, alone=NOISY) for name in sides[CLEAN] if name not in taken]
    return sorted(pairs, key=lambda pair: (pair.name, pair.noisy or ""))


def _not_taken(name: str) -> str | None:
    """Why a file is no image of a data folder, by its path under the folder of its split."""
    if any(part.startswith(".") for part in name.split("/")):
        return "hidden"
    try:
        name.encode()
    except UnicodeEncodeError:
        return "its name is not UTF-8, which TFX needs: rename it"
    if os.path.splitext(name)[1].lower() in SUFFIXES:
        return None
    return f"its name ends in none of {', '.join(sorted(SUFFIXES))}"


def _names(folder: str) -> list[str]:
    """Paths under a folder of all files in it and below, in order."""
    if "://" not in folder:
        return sorted(_walk(folder, ()))
    from tfx.dsl.io import fileio

    found = []
    for above, _, names in fileio.walk(folder):
        below = os.path.relpath(above, folder)
        found += [name if below == "." else f"{below}/{name}" for name in names]
    return sorted(found)


def _walk(folder: str, above: tuple[tuple[int, int], ...], below: str = "") -> Iterator[str]:
    """Follows links, but not one to a folder that it is in. Nothing where there is no folder.

    Raises:
      DataError: a folder cannot be listed; names it.
    """
    try:
        status = os.stat(folder)
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise DataError(f"{shown(folder)} cannot be listed: {error.strerror}.") from error
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for entry in entries:
        if os.path.isdir(entry.path):
            yield from _walk(entry.path, (*above, here), f"{below}{entry.name}/")
        else:
            yield f"{below}{entry.name}"


def is_image(name: str) -> bool:
    """Whether a file is taken for an image, by its path under the folder of its split."""
    return _not_taken(name) is None


def kind_of(names: Iterable[str]) -> str | None:
    """What lies in a folder of a split: `images`, `pairs`, or None where no image does.

    Args:
      names: Paths under the folder of the split.
    """
    taken = [name for name in names if is_image(name)]
    if not taken:
        return None
    folders = {name.partition("/")[0] if "/" in name else "" for name in taken}
    return "pairs" if folders == {NOISY, CLEAN} else "images"


def names_in(folder: str, split: str) -> list[str]:
    """Paths of all files in and below the folder of a split of a local data folder, in order."""
    return _names(os.path.join(folder, split))


def latest_span(folder: pathlib.Path | str, kind: str) -> str:
    """The latest span of a local data folder, or the folder itself.

    Args:
      folder: The data folder.
      kind: `images` or `pairs`.

    Raises:
      DataError: there is no such folder.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise DataError(f"{shown(folder)} is not a folder. Expected {LAYOUT[kind]}.")
    return str(folder / newest_span(child.name for child in folder.iterdir() if child.is_dir()))


def to_take(location: str, kind: str) -> str:
    """The folder that a pipeline takes from a data folder: its latest span, or itself.

    Args:
      location: A local path, or a URI of an object store.
      kind: `images` or `pairs`.

    Returns:
      The same kind of location.

    Raises:
      DataError: there is no data folder; it names the location and what is missing.
    """
    if not object_store.is_remote(location):
        taken = latest_span(location, kind)
        files(taken, kind)
        return taken
    location = location.rstrip("/")
    names = object_store.files(location)
    span = newest_span(name.partition("/")[0] for name in names)
    for split in INPUT_SPLITS:
        place = f"{span}/{split}/".lstrip("/")
        of_split = [name.removeprefix(place) for name in names if name.startswith(place)]
        found = kind_of(of_split)
        if found is None or (kind == "pairs" and found != kind):
            raise DataError(f"{location} has no {place}... Expected {LAYOUT[kind]}.")
    return f"{location}/{span}".rstrip("/")


def version(parameters: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """A fingerprint of the files that ingestion will read: names, sizes and times.

    Args:
      parameters: Ingestion's: `input_base` is the data folder, a local path or a URI.
      inputs: Not used: it has none.

    Raises:
      DataError: there is no data folder.
    """
    folder = to_take(parameters["input_base"], json.loads(parameters["sections"])["data"]["format"])
    if object_store.is_remote(folder):
        return object_store.fingerprint(folder)
    digest = hashlib.sha256(folder.encode())
    for split in INPUT_SPLITS:
        for name in names_in(folder, split):
            path = os.path.join(folder, split, name)
            try:
                status = os.stat(path)
            except OSError:
                continue  # A link that leads nowhere.
            line = f"{split}/{name} {status.st_size} {status.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
