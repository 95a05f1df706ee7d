"""The formats of a data folder: looked up once, by the command; the DAG then has that ingestion.

settings = formats.resolved(settings, folder)        # data.format, data.classes
formats.step(settings, places)                       # CsvIngestion or ImageIngestion
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pydantic

from components.base.errors import DataError, UsageError
from components.base.files import shown
from components.base.places import Places
from components.base.settings import AUTO, CSV, GIVEN, PAIRS, Settings
from components.csv_ingestion import data_folder, parts
from components.image_ingestion import folder as image_folder

_LINES = 5
"""Lines of a CSV without a header that must lack a label before it is taken to have none."""


def resolved(settings: Settings, folder: pathlib.Path | str) -> Settings:
    """Settings with the format of a local data folder, and the classes that it has.

    `data.format` `auto` becomes what lies in the folder. Of images, `data.classes` become the
    names of their folders where those are labels; of data without labels they become none.

    Args:
      settings: The run's.
      folder: A data folder; of spans, the latest is looked at.

    Raises:
      DataError: it is no data folder; or holds CSVs and images.
      UsageError: the settings do not go with the format.
    """
    path = pathlib.Path(folder)
    kind: str = settings.data.format
    if kind == AUTO:
        kind = _kind(path)
    data: dict[str, Any] = {"format": kind}
    if kind == CSV:
        data_folder.check_folder(path)
        if settings.data.classes and _without_labels(settings, path):
            data["classes"] = ()
    else:
        labels = image_folder.files(image_folder.latest_span(path, kind), kind).labels
        # Folders of other names are set aside by whoever named the classes; who named none wants
        # no labels, whatever the folders are called.
        named = "classes" in settings.data.model_fields_set
        data["classes"] = (settings.data.classes if named else labels) if labels else ()
    try:
        return settings.with_data(**data)
    except pydantic.ValidationError as error:
        reasons = "; ".join(
            problem["msg"].removeprefix("Value error, ") for problem in error.errors()
        )
        raise UsageError(f"data.format is {kind} in {shown(path)}: {reasons}") from error


def unseen(settings: Settings) -> Settings:
    """Settings with the format of a data folder that cannot be looked at from here, if `auto`:
    pairs where noise is to be given, else CSVs."""
    if settings.data.format != AUTO:
        return settings
    kind = PAIRS if GIVEN in (settings.noise.training, *settings.noise.evaluation) else CSV
    return settings.with_data(format=kind)


def _kind(folder: pathlib.Path) -> str:
    if not folder.is_dir():
        return CSV  # Whose check says what is missing.
    taken = str(data_folder.latest_span(folder))
    kinds: dict[str, str] = {}
    csvs: list[str] = []
    images: list[str] = []
    for split in parts.INPUT_SPLITS:
        names = image_folder.names_in(taken, split)
        csvs += [f"{split}/{name}" for name in names if data_folder.is_csv(name)]
        kind = image_folder.kind_of(names)
        if kind is not None:
            kinds[split] = kind
            images.append(f"{split}/{next(filter(image_folder.is_image, names))}")
    if csvs and images:
        raise DataError(
            f"{shown(folder)} holds CSVs ({shown(csvs[0])}) and images ({shown(images[0])}). Put "
            "them into folders of their own, or say which to take: --set data.format=csv or images."
        )
    if not images:
        return CSV
    return PAIRS if PAIRS in kinds.values() else "images"


def _without_labels(settings: Settings, folder: pathlib.Path) -> bool:
    """Whether the first CSV of each split has pixels alone."""
    from components.csv_ingestion import reader

    image = settings.image
    row = reader.RowFormat(image.pixels, len(settings.data.classes), image.width)
    taken = str(data_folder.latest_span(folder))
    for split in parts.INPUT_SPLITS:
        path = data_folder.files(taken, split).csvs[0]
        # What is wrong with a file is for ingestion to say.
        with (
            contextlib.suppress(DataError, OSError, EOFError, zlib.error),
            reader.open_csv(path) as stream,
        ):
            found = reader.read_head(stream, row, path, label="optional")
            stream.seek(found.begins)
            lines = [stream.readline(found.longest).count(b",") + 1 for _ in range(_LINES)]
            held = [columns for columns in lines if columns > 1]
            if not found.labelled and set(held) == {found.columns}:
                continue
        return False
    return True


def remarks(settings: Settings) -> list[str]:
    """What a person should know of the format of the data, a line each; nothing of usual CSVs."""
    data = settings.data
    lines = []
    if data.format != CSV:
        patch = f"{settings.image.width}x{settings.image.height}"
        what = "pairs of a noisy and a clean image" if data.format == PAIRS else "images"
        lines.append(f"data: {what}, cut into patches of {patch}, at most {data.patches} of each")
    if data.format != CSV and data.classes:
        lines.append(f"data: labels by folder: {', '.join(data.classes)}")
    if data.format == PAIRS and GIVEN not in (settings.noise.training, *settings.noise.evaluation):
        lines.append(
            "data: the noisy images are not used: --set noise.training=given --set "
            "noise.evaluation=[given] would train on them and measure them"
        )
    if not data.classes:
        lines.append("data: no labels, so no figures by class and no classifier")
    return lines


def step(settings: Settings, places: Places) -> Any:
    """The ingestion of `data.format`, as the DAG has it."""
    if settings.data.format in (AUTO, CSV):
        from components.csv_ingestion import component as csv_ingestion

        return csv_ingestion.step(settings, places)
    from components.image_ingestion import component as image_ingestion

    return image_ingestion.step(settings, places)


def to_take(location: str, kind: str) -> str:
    """The folder that a pipeline takes from a data folder: its latest span, or itself.

    Args:
      location: A local path, or a URI of an object store.
      kind: `data.format`.

    Raises:
      DataError: there is no data folder.
    """
    if kind in (AUTO, CSV):
        return data_folder.to_take(location)
    return image_folder.to_take(location, kind)


def ignored(folder: pathlib.Path | str, settings: Settings) -> dict[str, str]:
    """Why files of a local data folder are not taken, by their path under it."""
    if settings.data.format == CSV:
        return data_folder.ignored(folder)
    kind = settings.data.format
    return dict(image_folder.files(image_folder.latest_span(folder, kind), kind).ignored)


def training_examples(folder: str, settings: Settings) -> tuple[list[Any], Any]:
    """The parts of `train` of a local data folder, and the Beam step that yields their
    `examples.record_batch`es; of CSVs with whatever labels they have.

    Args:
      folder: Of its spans, the latest is read.
      settings: Resolved; `image` and `data` count.

    Raises:
      DataError: the folder is no data folder.
    """
    data, image = settings.data, settings.image
    if data.format in (AUTO, CSV):
        from components.csv_ingestion import ingest, reader

        row = reader.RowFormat(image.pixels, 2**31 if data.classes else 0, image.width)
        ranges, _ = ingest.plan(data_folder.to_take(folder), (parts.TRAIN,), row)
        return ranges, ingest.ReadRange()
    from components.image_ingestion import cut

    taken = image_folder.latest_span(folder, data.format)
    images = image_folder.files(taken, data.format).images
    of_train = [image for image in images if image.split == parts.TRAIN]
    groups = cut.plan(taken, of_train, parallelism=1)
    how = cut.Cutting(settings.image.shape, data.patches, data.classes, 0)
    return [group for group in groups if group.images], cut.ReadGroup(how)


def rows(
    folder: pathlib.Path | str, split: str, settings: Settings
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]]:
    """Reads a split of a local data folder as ingestion does, in blocks.

    Args:
      folder: The data folder; of its spans, the latest is read.
      split: `train` or `test`: files and rows for validation are among those of `train`.
      settings: Resolved; `image` and `data` count.

    Yields:
      Labels int64 (n,), pixels uint8 (n, H*W*C), keys int64 (n,); and of pairs the pixels of the
      noisy images.

    Raises:
      DataError: a CSV is broken, or has a bad row; images that cannot be cut are passed over.
    """
    data, image = settings.data, settings.image
    if data.format in (AUTO, CSV):
        classes = len(data.classes)
        for labels, pixels, keys in data_folder.rows(folder, split, image.pixels, classes):
            yield labels, pixels, keys, None
        return
    from components.image_ingestion import cut

    taken = image_folder.latest_span(folder, data.format)
    of_split = [
        name for name in image_folder.files(taken, data.format).images if name.split == split
    ]
    how = cut.Cutting(image.shape, data.patches, data.classes, 0)
    empty = True
    for block in cut.read(taken, of_split, how):
        empty = False
        yield block
    if empty:
        raise DataError(f"{os.path.join(taken, split)}: no image can be cut into patches.")
