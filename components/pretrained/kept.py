"""Kept models: found by name or file, checked, exported where a server finds them."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import pathlib
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from components.base import code, libraries, plugins, progress
from components.base.errors import ModelError, UsageError
from components.base.files import digest, shown, whole
from components.base.places import SERVABLE
from components.base.settings import NoiseSettings
from components.pretrained import card as cards
from components.pretrained.card import Card, Figures

if TYPE_CHECKING:
    import numpy as np

SHIPPED = pathlib.Path(__file__).parent
"""The folder of those that come with this package."""
COLUMNS = 8
"""Images in a row of the sheet."""
_SUFFIX = ".keras"
_VERSION = "1"


@dataclasses.dataclass(frozen=True)
class Kept:
    """A kept model's files."""

    file: pathlib.Path
    """The Keras model."""
    card: Card

    @property
    def sheet(self) -> pathlib.Path:
        """A PNG of images it was not trained on, COLUMNS in a row."""
        return self.file.with_suffix(".png")

    def images(self) -> np.ndarray:
        """The images of the sheet, uint8 (N, H, W, C).

        Raises:
          ModelError: the sheet is not of such images.
        """
        import numpy as np
        import PIL.Image

        height, width, channels = self.card.image.shape
        try:
            with PIL.Image.open(self.sheet) as opened:
                pixels = np.asarray(opened.convert("L" if channels == 1 else "RGB"))
        except (OSError, PIL.Image.DecompressionBombError) as error:
            raise ModelError(f"{shown(self.sheet)}: cannot be read: {error}") from error
        rows, columns = pixels.shape[0] // height, pixels.shape[1] // width
        if pixels.shape[:2] != (rows * height, columns * width) or not pixels.size:
            raise ModelError(
                f"{shown(self.sheet)}: expected images of {width}x{height} pixels side by side, "
                f"found {pixels.shape[1]}x{pixels.shape[0]}."
            )
        tiles = pixels.reshape(rows, height, columns, width, channels).swapaxes(1, 2)
        return np.ascontiguousarray(tiles.reshape(-1, height, width, channels))

    def check(self) -> None:
        """Makes sure that the file is the one of the card.

        Raises:
          ModelError: it is not.
        """
        found = sha256(self.file)
        if found != self.card.sha256:
            raise ModelError(
                f"{shown(self.file)}: is not the file that its card is of (SHA-256 {found[:16]}…, "
                f"expected {self.card.sha256[:16]}…). Take both files from the same place again."
            )


def names() -> list[str]:
    """The models that come with this package."""
    return sorted(path.stem for path in SHIPPED.glob("*.yaml"))


def find(name: str) -> Kept:
    """A kept model.

    Args:
      name: One of `names`, or the path of a Keras file that `denoise keep` made.

    Raises:
      UsageError: there is none.
      ModelError: it has no card, or is another file than its card is of.
    """
    if name in names():
        file = SHIPPED / f"{name}{_SUFFIX}"
    else:
        file = pathlib.Path(name)
        # Of a name that is too long `is_file` raises an error.
        if file.suffix != _SUFFIX or not os.path.isfile(file):
            raise UsageError(
                f"--pretrained {shown(name)}: there is no such model. Take "
                f"{' or '.join((*names(), f'the path of a {_SUFFIX} file'))}, which `denoise keep` "
                "made."
            )
    kept = Kept(file, cards.read(file.with_suffix(".yaml")))
    kept.check()
    return kept


def load(kept: Kept) -> Any:
    """The Keras model, which computes in float32.

    Where another Keras wrote the file, and this one does not know all that is in it, the model is
    built of its card and takes the weights alone.

    Raises:
      UsageError: a plug-in that it needs cannot be imported.
      ModelError: Keras does not load it.
    """
    libraries.load_tensorflow()
    plugins.load(kept.card.plugins)
    import keras

    # Registers the layers that the file names.
    from components.models import MODELS
    from components.training import recipe, weights

    card = kept.card
    try:
        # Safe mode, the default, takes no code from a file.
        return keras.saving.load_model(kept.file, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        if card.versions.get("keras") != keras.__version__ and card.model.name in MODELS:
            with contextlib.suppress(
                *(ValueError, TypeError, OSError, KeyError, UsageError, zipfile.BadZipFile)
            ):
                model = recipe.served(card.model.name, card.image.shape, card.model.arguments)
                weights.load(model, kept.file)
                return model
        raise ModelError(
            f"{shown(kept.file)}: Keras {keras.__version__} does not load it; it was made by "
            f"Keras {kept.card.versions.get('keras', 'unknown')}: {error}"
        ) from error


def export(kept: Kept, folder: pathlib.Path) -> None:
    """Writes a kept model as a SavedModel with all signatures.

    Args:
      kept: Which.
      folder: The version's folder, to be made.
    """
    from components.export import signatures

    progress.tell("pretrained", 0, None, f"exports {kept.card.name}, once")
    images = kept.images()
    signatures.export_servable(
        load(kept), folder, kept.card.image.shape, images.reshape(len(images), -1)[:_WARMUP_IMAGES]
    )


_WARMUP_IMAGES = 16


@contextlib.contextmanager
def servable(kept: Kept) -> Iterator[pathlib.Path]:
    """A folder of versions for a server, with the model as its only one.

    It is exported once and kept in the user's cache (XDG_CACHE_HOME); where that cannot be written,
    in a temporary folder.
    """
    decides = [
        kept.card.sha256,
        code.fingerprint("components.export.signatures", plugins=kept.card.plugins),
        *(importlib.metadata.version(package) for package in ("tensorflow", "keras")),
    ]
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    cached = pathlib.Path(home, "denoise", f"{kept.file.stem}-{digest(decides)}", SERVABLE)
    if (cached / _VERSION / "saved_model.pb").is_file():
        yield cached
        return
    with tempfile.TemporaryDirectory(prefix="denoise-") as scratch:
        try:
            cached.mkdir(parents=True, exist_ok=True)
            # Beside it, so that it can be renamed; what a kill left is made anew.
            made = pathlib.Path(tempfile.mkdtemp(prefix=".partial-", dir=cached.parent))
        except OSError:
            cached = pathlib.Path(scratch, SERVABLE)
            made = pathlib.Path(tempfile.mkdtemp(dir=scratch))
        try:
            export(kept, made)
            cached.mkdir(exist_ok=True)
            # Another process may have been as quick.
            with contextlib.suppress(OSError):
                made.rename(cached / _VERSION)
        finally:
            shutil.rmtree(made, ignore_errors=True)
        yield cached


def measure(denoise: Any, images: np.ndarray, noise: NoiseSettings) -> tuple[Figures, ...]:
    """How well a denoiser does on a kept model's images.

    Args:
      denoise: Noisy float32 (N, H, W, C) in [0, 1] to denoised, the same.
      images: uint8 (N, H, W, C), clean; the noise of each is that of its number.
      noise: What is measured, and the seed.

    Returns:
      A Figures for each noise.
    """
    import numpy as np

    from components.evaluation.measure import Measurement
    from components.image.pixels import normalise_array

    measurement = Measurement(noise.evaluation, noise.seed)
    clean = normalise_array(images, images.shape[1:])
    keys = np.arange(len(images), dtype=np.int64)
    return tuple(
        Figures.of(
            {
                "noise": expression,
                "images": len(images),
                **{name: values.mean(dtype=np.float64) for name, values in results[""].items()},
            }
        )
        for expression, _, results in measurement({"": denoise}, clean, keys)
    )


def keep(
    keras_file: pathlib.Path, images: np.ndarray, folder: pathlib.Path, name: str, **card: Any
) -> Kept:
    """Keeps a Keras model with its card; what is there under this name is replaced.

    The card is written last, and the one before is removed first: what is not whole has none, and
    is no kept model.

    Args:
      keras_file: What is kept.
      images: uint8 (N, H, W, C): images it has not seen, N a multiple of COLUMNS.
      folder: Where to, made if need be.
      name: Of the files.
      **card: Fields of the Card that do not follow from these.
    """
    import PIL.Image

    number, height, width, channels = images.shape
    tiles = images.reshape(-1, COLUMNS, height, width, channels).swapaxes(1, 2)
    sheet = tiles.reshape(number // COLUMNS * height, COLUMNS * width, channels)
    kept = Kept(
        folder / f"{name}{_SUFFIX}",
        Card(name=name, bytes=keras_file.stat().st_size, sha256=sha256(keras_file), **card),
    )
    folder.mkdir(parents=True, exist_ok=True)
    kept.file.with_suffix(".yaml").unlink(missing_ok=True)
    with whole(kept.file) as file, keras_file.open("rb") as source:
        shutil.copyfileobj(source, file)
    with whole(kept.sheet) as file:
        PIL.Image.fromarray(sheet.squeeze(-1) if channels == 1 else sheet).save(
            file, "PNG", optimize=True
        )
    cards.write(kept.card, kept.file.with_suffix(".yaml"))
    return kept


def sha256(file: pathlib.Path) -> str:
    """The SHA-256 of a file, in hexadecimal digits."""
    return hashlib.sha256(file.read_bytes()).hexdigest()
