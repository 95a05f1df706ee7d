"""`denoise predict`: images from files to files, through a server or a SavedModel."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import pathlib
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, Protocol

import numpy as np

from components.base import progress
from components.base.errors import DataError, DenoiseError, ModelError, UsageError
from components.csv_ingestion import reader
from components.csv_ingestion.reader import RowFormat
from serving.client import ClientError, DenoiseClient

if TYPE_CHECKING:
    from PIL.Image import Image

IMAGE_SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
CSV_SUFFIXES = (".csv", ".csv.gz")
SHEET = "sheet.png"
NOISE_SEED = 20171

ANY_LABEL = 256
_STEP = "predict"
_BATCH = 256
_CSV_IMAGES = 64
_SHEET_IMAGES = 12
_TILE = 84
_MARGIN = 8


class ServerError(DenoiseError):
    """The server could not denoise; says which model and why."""


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


class Denoiser(Protocol):
    """Denoises pixels."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(H, W, C)."""

    def denoise(self, images: np.ndarray) -> np.ndarray:
        """uint8 (N, H, W, C) to the same."""


class ServedDenoiser:
    """A model behind a server."""

    def __init__(self, url: str, model: str = "denoiser", version: int | str | None = None) -> None:
        """Asks the server for the model's image shape.

        Raises:
          UsageError: the URL is wrong.
          ServerError: the server cannot be asked, or has no such model.
        """
        try:
            self._client = DenoiseClient(url, model, version)
        except ValueError as error:
            raise UsageError(f"--server {error}") from error
        self.shape = self._asked(self._client.image_shape)

    def _asked(self, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except ClientError as error:
            raise ServerError(str(error)) from error

    def denoise(self, images: np.ndarray) -> np.ndarray:
        return self._asked(self._client.denoise, images)

    def close(self) -> None:
        self._client.close()


class LoadedDenoiser:
    """A SavedModel in this process."""

    def __init__(self, path: pathlib.Path) -> None:
        """Loads it.

        Args:
          path: A SavedModel, or a folder of versions, of which the newest is taken.

        Raises:
          ModelError: there is none, or it has no predict_pixels signature.
        """
        from components.push.versions import versions
        from serving.models.servable import Servable
        from serving.protocol.codes import from_exception

        if not (path / "saved_model.pb").is_file() and (pushed := versions(path)):
            path = path / pushed[-1].name
        if not (path / "saved_model.pb").is_file():
            raise ModelError(
                f"--model {path}: there is no SavedModel. Give the folder `denoise run` pushes "
                "to, such as workspace/serving/denoiser, or one of its versions."
            )
        try:
            self._servable = Servable("denoiser", 1, path)
        except Exception as error:
            raise ModelError(f"--model {path}: {from_exception(error).message}") from error
        try:
            image = self._servable.signatures["serving_default"].inputs["image"]
            signature = self._servable.signatures["predict_pixels"]
            self._input = signature.inputs["pixels"].name
            self._output = signature.outputs["denoised"].name
        except KeyError as error:
            raise ModelError(f"--model {path}: the model has no {error}.") from error
        height, width, channels = [dim.size for dim in image.tensor_shape.dim][1:]
        self.shape = (height, width, channels)

    def denoise(self, images: np.ndarray) -> np.ndarray:
        pixels = images.reshape(len(images), -1).astype(np.int32)
        [denoised] = self._servable.run({self._input: pixels}, (self._output,))
        return denoised.reshape(images.shape).astype(np.uint8)

    def close(self) -> None:
        self._servable.close()


@contextlib.contextmanager
def open_denoiser(
    server: str | None,
    model: pathlib.Path | None,
    model_name: str = "denoiser",
    version: int | str | None = None,
) -> Iterator[Denoiser]:
    """The denoiser that --server or --model names.

    Raises:
      UsageError: neither or both are given.
      ServerError: the server cannot be asked.
      ModelError: the SavedModel cannot be loaded.
    """
    if (server is None) == (model is None):
        raise UsageError(
            "Give either --server URL, for example grpc://localhost:8500, or --model DIR."
        )
    denoiser: ServedDenoiser | LoadedDenoiser
    if server is not None:
        denoiser = ServedDenoiser(server, model_name, version)
    else:
        assert model is not None
        denoiser = LoadedDenoiser(model)
    try:
        yield denoiser
    finally:
        denoiser.close()


def find_inputs(inputs: Sequence[pathlib.Path]) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The images and the CSVs that are named, or lie in the folders that are.

    Returns:
      (image files, CSV files), each in the order given and by name within a folder.

    Raises:
      UsageError: an input does not exist or is neither, or there is none.
    """
    images: list[pathlib.Path] = []
    csvs: list[pathlib.Path] = []
    for path in inputs:
        if not path.exists():
            raise UsageError(f"{path}: there is no such file or folder.")
        files = sorted(file for file in path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if file.suffix.lower() in IMAGE_SUFFIXES:
                images.append(file)
            elif file.name.lower().endswith(CSV_SUFFIXES):
                csvs.append(file)
            elif not path.is_dir():
                raise UsageError(f"{file}: expected a .png, .jpg, .csv or .csv.gz, or a folder.")
    if not images and not csvs:
        raise UsageError(f"{', '.join(map(str, inputs))}: no .png, .jpg, .csv or .csv.gz in there.")
    return images, csvs


def read_image(path: pathlib.Path, shape: tuple[int, int, int]) -> np.ndarray:
    """An image file as uint8 (H, W, C), grey or RGB as the model wants.

    Raises:
      DataError: it is not an image, or of another size.
    """
    import PIL.Image

    height, width, channels = shape
    try:
        with PIL.Image.open(path) as file:
            image = file.convert("L" if channels == 1 else "RGB")
    except (OSError, ValueError, PIL.Image.DecompressionBombError) as error:
        raise DataError(f"{path}: not an image: {error}") from error
    if image.size != (width, height):
        raise DataError(
            f"{path}: the model takes images of {width}x{height} pixels, this one has "
            f"{image.width}x{image.height}."
        )
    return np.asarray(image, np.uint8).reshape(shape)


@dataclasses.dataclass(frozen=True)
class CsvRows:
    """Some rows of a CSV."""

    labels: np.ndarray | None
    """int64 (N,), or None when the rows have none."""
    pixels: np.ndarray
    """uint8 (N, H*W*C)."""


def read_csv(path: pathlib.Path, pixels: int) -> tuple[bytes, Iterator[CsvRows]]:
    """Rows `label,p1,...,pN`, or without a label, whatever the order of the columns.

    Args:
      path: Gzipped or not; a header is optional.
      pixels: N.

    Returns:
      The header line, empty if the file has none, and the rows in blocks, both in the order of
      label and pixels.

    Raises:
      DataError: as `reader.read_csv` does.
    """
    row, blocks = reader.read_csv(path, RowFormat(pixels, ANY_LABEL), label="optional")
    rows = (CsvRows(found.labels if row.labelled else None, found.pixels) for found in blocks)
    return row.header, rows


def format_rows(labels: np.ndarray | None, pixels: np.ndarray) -> bytes:
    """CSV lines, the inverse of `read_csv`.

    Args:
      labels: int64 (N,) or None.
      pixels: uint8 (N, P).
    """
    table = pixels if labels is None else np.column_stack([labels, pixels])
    return b"".join(b",".join(b"%d" % value for value in row) + b"\n" for row in table.tolist())


class _Noise:
    """Noise that is the same for the same input on every run."""

    def __init__(self, expression: str) -> None:
        from components import noise

        self._noise = noise.parse(expression)
        self.expression = str(self._noise)
        self._done = 0

    def __call__(self, images: np.ndarray) -> np.ndarray:
        from components.image.pixels import MAX_PIXEL, quantise
        from components.noise import fixed_noise

        keys = np.arange(self._done, self._done + len(images), dtype=np.int64)
        self._done += len(images)
        clean = images.astype(np.float32) / MAX_PIXEL
        noisy, _ = fixed_noise(self._noise, clean, keys, NOISE_SEED)
        return np.asarray(quantise(noisy)).astype(np.uint8)


def _psnr(clean: np.ndarray, other: np.ndarray) -> np.ndarray:
    from components.image.metrics import psnr
    from components.image.pixels import MAX_PIXEL

    scaled = [images.astype(np.float32) / MAX_PIXEL for images in (clean, other)]
    return np.asarray(psnr(*scaled))


class _Work:
    """Denoises batch after batch, and keeps what the sheet and the summary need."""

    def __init__(self, denoiser: Denoiser, noise: _Noise | None, total: int | None) -> None:
        self._denoiser = denoiser
        self._noise = noise
        self._total = total
        self.images = 0
        self.columns: list[tuple[np.ndarray, ...]] = []
        self._psnr: list[tuple[float, float]] = []
        progress.report(_STEP, 0, total)

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """uint8 (N, H, W, C) to what was denoised and the outcome, both the same shape."""
        noisy = images if self._noise is None else self._noise(images)
        denoised = self._denoiser.denoise(noisy)
        if self._noise is not None:
            pairs = zip(_psnr(images, noisy), _psnr(images, denoised), strict=True)
            self._psnr += [(float(before), float(after)) for before, after in pairs]
        for item in zip(images, noisy, denoised, strict=True):
            if len(self.columns) == _SHEET_IMAGES:
                break
            self.columns.append(item if self._noise is not None else item[1:])
        self.images += len(images)
        progress.report(_STEP, self.images, self._total)
        return noisy, denoised

    def mean_psnr(self) -> tuple[float, float] | tuple[None, None]:
        if not self._psnr:
            return None, None
        before, after = np.mean(self._psnr, axis=0)
        return float(before), float(after)


def predict(
    inputs: Sequence[pathlib.Path],
    output: pathlib.Path,
    denoiser: Denoiser,
    add_noise: str | None = None,
) -> Prediction:
    """Denoises images, folders of images and CSVs.

    Each image becomes `output/NAME.png`, each CSV `output/NAME.csv` of the same form, with its
    first rows also as images in `output/NAME/`. `output/sheet.png` shows the first images
    before and after. With `add_noise` the input is taken as clean: the noisy images are
    written to `output/noisy/`, and PSNR is measured.

    Args:
      inputs: See `find_inputs`.
      output: A folder, made if need be.
      denoiser: See `open_denoiser`.
      add_noise: A noise expression, such as `salt_pepper:0.1`.

    Raises:
      UsageError: an input or the noise is not one.
      DataError: a file is not what its name says, or does not fit the model.
      ServerError: the server cannot denoise.
    """
    images, csvs = find_inputs(inputs)
    noise = _Noise(add_noise) if add_noise else None
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"-o {output}: not a folder that can be made: {error}") from error
    work = _Work(denoiser, noise, None if csvs else len(images))
    names = _names([*images, *csvs])
    files = 0
    for start in range(0, len(images), _BATCH):
        paths = images[start : start + _BATCH]
        batch = np.stack([read_image(path, denoiser.shape) for path in paths])
        noisy, denoised = work(batch)
        for path, before, after in zip(paths, noisy, denoised, strict=True):
            _write_image(output / f"{names[path]}.png", after)
            files += 1
            if noise is not None:
                _write_image(output / "noisy" / f"{names[path]}.png", before)
                files += 1
    for path in csvs:
        files += _predict_csv(path, output, names[path], denoiser.shape, work, noise is not None)
    sheet = None
    if work.columns:
        sheet = output / SHEET
        titles = ("clean", "noisy", "denoised") if noise is not None else ("input", "denoised")
        contact_sheet(work.columns, titles).save(sheet)
        files += 1
    before_psnr, after_psnr = work.mean_psnr()
    return Prediction(
        images=work.images,
        output=output,
        sheet=sheet,
        files=files,
        noise=noise.expression if noise is not None else None,
        noisy_psnr=before_psnr,
        denoised_psnr=after_psnr,
    )


def _names(paths: Sequence[pathlib.Path]) -> dict[pathlib.Path, str]:
    """Names for the outputs, told apart by a number where two inputs have the same."""
    names: dict[pathlib.Path, str] = {}
    taken = {pathlib.Path(SHEET).stem, "noisy"}
    for path in paths:
        stem = path.name.removesuffix(".gz").rpartition(".")[0]
        name, number = stem, 2
        while name in taken:
            name, number = f"{stem}-{number}", number + 1
        taken.add(name)
        names[path] = name
    return names


def _predict_csv(
    path: pathlib.Path,
    output: pathlib.Path,
    name: str,
    shape: tuple[int, int, int],
    work: _Work,
    with_noise: bool,
) -> int:
    header, blocks = read_csv(path, shape[0] * shape[1] * shape[2])
    done = files = 0
    with contextlib.ExitStack() as stack:
        denoised_csv = stack.enter_context((output / f"{name}.csv").open("wb"))
        denoised_csv.write(header)
        files += 1
        noisy_csv: IO[bytes] = io.BytesIO()
        if with_noise:
            (output / "noisy").mkdir(exist_ok=True)
            noisy_csv = stack.enter_context((output / "noisy" / f"{name}.csv").open("wb"))
            noisy_csv.write(header)
            files += 1
        for rows in blocks:
            for start in range(0, len(rows.pixels), _BATCH):
                pixels = rows.pixels[start : start + _BATCH]
                labels = None if rows.labels is None else rows.labels[start : start + _BATCH]
                noisy, denoised = work(pixels.reshape(-1, *shape))
                denoised_csv.write(format_rows(labels, denoised.reshape(pixels.shape)))
                if with_noise:
                    noisy_csv.write(format_rows(labels, noisy.reshape(pixels.shape)))
                for image in denoised[: max(_CSV_IMAGES - done, 0)]:
                    done += 1
                    _write_image(output / name / f"row-{done:05d}.png", image)
                    files += 1
    return files


def _write_image(path: pathlib.Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    _image(pixels).save(path)


def _image(pixels: np.ndarray) -> Image:
    import PIL.Image

    return PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def contact_sheet(columns: Sequence[tuple[np.ndarray, ...]], titles: Sequence[str]) -> Image:
    """Images before and after, one column each, enlarged without smoothing.

    Args:
      columns: For each image its uint8 (H, W, C) versions, from top to bottom.
      titles: What the rows are.
    """
    import PIL.Image
    import PIL.ImageDraw

    height, width = columns[0][0].shape[:2]
    zoom = max(1, round(_TILE / max(height, width)))
    tile = (width * zoom, height * zoom)
    left = 72
    size = (
        left + len(columns) * (tile[0] + _MARGIN),
        _MARGIN + len(titles) * (tile[1] + _MARGIN),
    )
    sheet = PIL.Image.new("RGB", size, "white")
    draw = PIL.ImageDraw.Draw(sheet)
    for row, title in enumerate(titles):
        top = _MARGIN + row * (tile[1] + _MARGIN)
        draw.text((_MARGIN, top + tile[1] // 2 - 6), title, fill="black")
        for column, images in enumerate(columns):
            enlarged = _image(images[row]).resize(tile, PIL.Image.Resampling.NEAREST)
            sheet.paste(enlarged, (left + column * (tile[0] + _MARGIN), top))
    return sheet
