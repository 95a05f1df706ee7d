"""`denoise predict`: images from files to files, through a server or a SavedModel."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from components.base import progress
from components.base.errors import DataError
from components.base.files import shown, whole
from components.csv_ingestion.reader import RowFormat, read_csv
from components.image.picture import Picture, read_picture, write_picture
from serving.client.tiling import as_floats, as_pixels
from serving.predict import sheet
from serving.predict.denoisers import Denoiser
from serving.predict.files import (
    Passed,
    claimed,
    find_inputs,
    format_rows,
    output_names,
    writing,
)

SHEET = "sheet.png"
NOISY = "noisy"
NOISE_SEED = 20171
ANY_LABEL = 256
"""Labels go from the input to the output; a byte holds them."""

_STEP = "predict"
_BATCH = 256
_BATCH_PIXELS = 1 << 18
"""Of small pictures that are denoised together, at most."""
_CSV_IMAGES = 64


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What was done."""

    images: int
    output: pathlib.Path
    sheet: pathlib.Path | None
    files: int
    """Files written, the sheet included."""
    noise: str | None
    noisy_psnr: float | None
    """Mean PSNR of the noisy images against the clean ones in dB; None without added noise."""
    denoised_psnr: float | None
    failed: tuple[Passed, ...] = ()
    """Files that could not be read rightly, and why."""
    ignored: tuple[Passed, ...] = ()
    """Files of a folder that are neither image nor CSV."""
    notes: tuple[str, ...] = ()
    """What was not taken from a file as it is."""


_OTHER_CHANNELS: dict[int, tuple[tuple[int, str], ...]] = {
    1: (
        (3, "the model takes grey images: of those in colour, each channel was denoised by itself"),
    ),
    3: (
        (1, "the model takes images in colour: grey ones were given to it as three equal channels"),
    ),
}
"""By the model's channels: those of a picture, and what is said of it."""


class _Noise:
    """Noise that is the same for the same input on every run."""

    def __init__(self, expression: str) -> None:
        from components import noise

        self._noise = noise.parse(expression)
        self.expression = str(self._noise)
        self._done = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        from components.noise import fixed_noise

        keys = np.arange(self._done, self._done + len(images), dtype=np.int64)
        self._done += len(images)
        noisy, _ = fixed_noise(self._noise, as_floats(images), keys, NOISE_SEED)
        return as_pixels(np.asarray(noisy), images.dtype)


def _psnr(clean: np.ndarray, other: np.ndarray) -> np.ndarray:
    from components.image.metrics import psnr

    return np.asarray(psnr(as_floats(clean), as_floats(other)))


@dataclasses.dataclass
class _Done:
    """What the sheet and the summary need of the images that were denoised."""

    images: int = 0
    files: int = 0
    columns: list[tuple[np.ndarray, ...]] = dataclasses.field(default_factory=list)
    psnr: list[tuple[float, float]] = dataclasses.field(default_factory=list)

    def __iadd__(self, other: _Done) -> _Done:
        self.images += other.images
        self.files += other.files
        self.columns = (self.columns + other.columns)[: sheet.IMAGES]
        self.psnr += other.psnr
        return self

    def mean_psnr(self) -> tuple[float, float] | tuple[None, None]:
        if not self.psnr:
            return None, None
        before, after = np.mean(self.psnr, axis=0)
        return float(before), float(after)


class _Work:
    """Denoises batch after batch."""

    def __init__(self, denoiser: Denoiser, noise: _Noise | None, total: int | None) -> None:
        self.denoiser = denoiser
        self.noise = noise
        self._total = total
        self._images = 0
        progress.tell(_STEP, 0, total)

    def __call__(
        self, images: np.ndarray, done: _Done, name: str = ""
    ) -> tuple[np.ndarray, np.ndarray]:
        """Images (N, H, W, C) to what was denoised and the outcome, both the same shape and dtype.

        Args:
          name: What is said while a large one is denoised.
        """
        noisy = images if self.noise is None else self.noise(images)

        def told(share: float) -> None:
            if images[..., 0].size > _BATCH_PIXELS and share < 1:
                progress.tell(_STEP, self._images, self._total, f"{name}: {share:.0%}")

        denoised = self.denoiser.denoise(noisy, told)
        if self.noise is not None:
            pairs = zip(_psnr(images, noisy), _psnr(images, denoised), strict=True)
            done.psnr += [(float(before), float(after)) for before, after in pairs]
        versions = (noisy, denoised) if self.noise is None else (images, noisy, denoised)
        room = sheet.IMAGES - len(done.columns)
        done.columns += [
            tuple(map(sheet.middle, column))
            for column in zip(*(part[:room] for part in versions), strict=True)
        ]
        done.images += len(images)
        self._images += len(images)
        progress.tell(_STEP, self._images, self._total)
        return noisy, denoised


def predict(
    inputs: Sequence[pathlib.Path],
    output: pathlib.Path,
    denoiser: Denoiser,
    add_noise: str | None = None,
    overwrite: bool = False,
) -> Prediction:
    """Denoises pictures of any size, folders of them, and CSVs.

    Each picture becomes `output/NAME.png` of its own size, depth and colours (`NAME.tif` where it
    is one of floats; see `components.image.picture`), each CSV `output/NAME.csv` of the same form,
    with its first rows also as images in `output/NAME/`. `output/sheet.png` shows the first images
    before and after. With `add_noise` the input is taken as clean: the noisy images are
    written to `output/noisy/`, and PSNR is measured. A file that cannot be read rightly is
    reported, and the others are done.

    Args:
      inputs: See `find_inputs`.
      output: A folder, made if need be.
      denoiser: See `Source`.
      add_noise: A noise expression, such as `salt_pepper:0.1`.
      overwrite: Whether files that this command did not make may be replaced.

    Raises:
      UsageError: an input or the noise is not one, or the output is an input or a file of
        somebody else.
      NotDenoisedError: the server cannot denoise, or the output cannot be written.
    """
    found = find_inputs(inputs)
    names = output_names(found.files, (pathlib.Path(SHEET).stem, NOISY))
    noise = _Noise(add_noise) if add_noise else None
    # Which of them is not known before the file is read.
    planned = [f"{names[path]}{suffix}" for path in found.images for suffix in suffixes(path)]
    planned += [f"{names[path]}.csv" for path in found.csvs]
    planned += [f"{NOISY}/{name}" for name in planned] if noise is not None else []
    planned += [_row_image(names[path], row) for path in found.csvs for row in range(_CSV_IMAGES)]
    with claimed(output, [*planned, SHEET], [*found.files, *found.folders], overwrite):
        work = _Work(denoiser, noise, None if found.csvs else len(found.images))
        done = _Done()
        failed: list[Passed] = []
        notes: list[str] = []
        channels: set[int] = set()
        for group in _groups(found.images, failed):
            done += _predict_pictures(group, output, names, work)
            for path, picture in group.items():
                notes += [f"{shown(path)}: {note}" for note in picture.notes]
                channels.add(picture.pixels.shape[-1])
        for path in found.csvs:
            with _reported(path, failed):
                done += _predict_csv(path, output, names[path], work)
        if done.columns:
            titles = ("input", "denoised") if noise is None else ("clean", "noisy", "denoised")
            with writing(output / SHEET), whole(output / SHEET) as file:
                sheet.contact_sheet(done.columns, titles).save(file, "PNG")
            done.files += 1
    notes += [text for found_, text in _OTHER_CHANNELS[denoiser.shape[-1]] if found_ in channels]
    noisy_psnr, denoised_psnr = done.mean_psnr()
    return Prediction(
        images=done.images,
        output=output,
        sheet=output / SHEET if done.columns else None,
        files=done.files,
        noise=noise.expression if noise is not None else None,
        noisy_psnr=noisy_psnr,
        denoised_psnr=denoised_psnr,
        failed=tuple(failed),
        ignored=found.ignored,
        notes=tuple(notes),
    )


@contextlib.contextmanager
def _reported(path: pathlib.Path, failed: list[Passed]) -> Iterator[None]:
    """Takes a file that is wrong down, and goes on."""
    try:
        yield
    except DataError as error:
        failed.append(Passed(str(path), str(error).removeprefix(shown(path)).lstrip(": ")))


def suffixes(path: pathlib.PurePath) -> tuple[str, ...]:
    """How the name of the outcome may end."""
    return (".png", ".tif") if path.suffix.lower() in (".tif", ".tiff") else (".png",)


def _groups(
    paths: Sequence[pathlib.Path], failed: list[Passed]
) -> Iterator[dict[pathlib.Path, Picture]]:
    """The pictures that can be read, those together that are small and alike."""
    group: dict[pathlib.Path, Picture] = {}
    kind: object = None
    for path in paths:
        picture = None
        with _reported(path, failed):
            picture = read_picture(path)
        if picture is None:
            continue
        pixels = picture.pixels
        if group and (pixels.shape, pixels.dtype) != kind:
            yield group
            group = {}
        kind = (pixels.shape, pixels.dtype)
        group[path] = picture
        if len(group) >= min(_BATCH, _BATCH_PIXELS // pixels[..., 0].size):
            yield group
            group = {}
    if group:
        yield group


def _predict_pictures(
    group: dict[pathlib.Path, Picture],
    output: pathlib.Path,
    names: dict[pathlib.Path, str],
    work: _Work,
) -> _Done:
    done = _Done()
    first = next(iter(group))
    noisy, denoised = work(
        np.stack([picture.pixels for picture in group.values()]), done, shown(first.name)
    )
    for (path, picture), before, after in zip(group.items(), noisy, denoised, strict=True):
        versions = (
            {output: after} if work.noise is None else {output: after, output / NOISY: before}
        )
        for folder, pixels in versions.items():
            picture = dataclasses.replace(picture, pixels=pixels)
            target = folder / f"{names[path]}{picture.suffix}"
            with writing(target), whole(target) as file:
                write_picture(picture, file)
            done.files += 1
    return done


def _predict_csv(path: pathlib.Path, output: pathlib.Path, name: str, work: _Work) -> _Done:
    done = _Done()
    shape = work.denoiser.row_shape
    height, width, channels = shape
    row, blocks = read_csv(path, RowFormat(height * width * channels, ANY_LABEL, width), "optional")
    targets = [output / f"{name}.csv"]
    targets += [output / NOISY / f"{name}.csv"] if work.noise is not None else []
    first: list[np.ndarray] = []
    with contextlib.ExitStack() as stack:
        files = []
        for target in targets:
            stack.enter_context(writing(target))
            files.append(stack.enter_context(whole(target)))
            files[-1].write(row.header)
        for rows in blocks:
            for start in range(0, len(rows.pixels), _BATCH):
                pixels = rows.pixels[start : start + _BATCH]
                labels = rows.labels[start : start + _BATCH] if row.labelled else None
                noisy, denoised = work(pixels.reshape(-1, *shape), done)
                for file, images in zip(files, (denoised, noisy), strict=False):
                    file.write(format_rows(labels, images.reshape(pixels.shape)))
                first += list(denoised[: max(_CSV_IMAGES - len(first), 0)])
    done.files += len(targets)
    for number, image in enumerate(first):
        _write_image(output / _row_image(name, number), image, done)
    return done


def _row_image(name: str, row: int) -> str:
    return f"{name}/row-{row + 1:05d}.png"


def _write_image(path: pathlib.Path, pixels: np.ndarray, done: _Done) -> None:
    with writing(path), whole(path) as file:
        sheet.picture(pixels).save(file, "PNG")
    done.files += 1
