"""What denoises: a model behind a server, or a SavedModel in this process."""

from __future__ import annotations

import dataclasses
import functools
import math
import pathlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from components.base.errors import DenoiseError, ModelError, UsageError
from components.base.files import shown
from components.image.ensemble import ORIENTATIONS, ensembled
from serving.client import ClientError, DenoiseClient
from serving.client.tiling import ModelShape, as_floats, as_pixels, denoise_any


class NotDenoisedError(DenoiseError):
    """The server could not denoise, or the result could not be written; says why."""


class Denoiser(Protocol):
    """Denoises pictures of any size."""

    @property
    def shape(self) -> ModelShape:
        """(H, W, C) of the model's images; None, None where it takes any size."""

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """(H, W, C) of the images in CSV rows."""

    def denoise(self, images: np.ndarray, told: Callable[[float], None] = ...) -> np.ndarray:
        """uint8, uint16 or floats in [0, 1], (N, H, W, C), any H and W, C 1 or 3, to the same;
        `told` is called with how much is done, 0 to 1."""

    def close(self) -> None:
        """Frees the model, or ends the connection."""


class ServedDenoiser:
    """A model behind a server."""

    def __init__(self, url: str, model: str = "denoiser", version: int | str | None = None) -> None:
        """Asks the server for the model's image shape.

        Raises:
          UsageError: the URL is wrong.
          NotDenoisedError: the server cannot be asked, or has no such model.
        """
        try:
            self._client = DenoiseClient(url, model, version)
        except ValueError as error:
            raise UsageError(f"--server {error}") from error
        self._model = model
        self.shape: ModelShape = self._asked(self._client.image_shape)

    @functools.cached_property
    def row_shape(self) -> tuple[int, int, int]:
        return self._asked(self._client.row_shape)

    def _asked(self, call: Any, *args: Any) -> Any:
        try:
            return call(*args)
        except ClientError as error:
            raise NotDenoisedError(str(error)) from error
        except LookupError as error:
            raise NotDenoisedError(f"{self._model}: the model has no {error}.") from error

    def denoise(
        self, images: np.ndarray, told: Callable[[float], None] = lambda done: None
    ) -> np.ndarray:
        return self._asked(self._client.denoise, images, told)

    def close(self) -> None:
        self._client.close()


class LoadedDenoiser:
    """A SavedModel in this process."""

    def __init__(self, path: pathlib.Path) -> None:
        """Loads it.

        Args:
          path: A SavedModel, or a folder of versions, of which the newest is taken.

        Raises:
          ModelError: there is none, or it lacks a signature.
        """
        from components.base import libraries
        from components.push.versions import versions

        libraries.load_tensorflow()
        from serving.models.servable import Servable
        from serving.protocol.codes import from_exception

        name = f"--model {shown(path)}"
        if not (path / "saved_model.pb").is_file() and (pushed := versions(path)):
            path = path / pushed[-1].name
        if not (path / "saved_model.pb").is_file():
            raise ModelError(
                f"{name}: there is no SavedModel. Give the folder `denoise run` pushes "
                "to, such as workspace/serving/denoiser, or one of its versions."
            )
        try:
            self._servable = Servable("denoiser", 1, path)
        except Exception as error:
            raise ModelError(f"{name}: {from_exception(error).message}") from error
        try:
            image = self._servable.signatures["serving_default"]
            self.shape: ModelShape = _size(image.inputs["image"])
            self._images = image.inputs["image"].name, image.outputs["denoised"].name
            pixels = self._servable.signatures["predict_pixels"]
            self._pixels = pixels.inputs["pixels"].name, pixels.outputs["denoised"].name
            # A model of any size answers rows and tf.Examples of one.
            examples = self._servable.signatures["predict_examples"].outputs["denoised"]
        except KeyError as error:
            raise ModelError(f"{name}: the model has no {error}.") from error
        height, width, channels = self.shape
        if height is None or width is None:
            height, width, channels = (dim.size for dim in examples.tensor_shape.dim[1:])
        self.row_shape = (height, width, channels)

    def denoise(
        self, images: np.ndarray, told: Callable[[float], None] = lambda done: None
    ) -> np.ndarray:
        def compute(floats: np.ndarray) -> np.ndarray:
            [denoised] = self._servable.run({self._images[0]: floats}, self._images[1:])
            return denoised

        if images.shape[1:] != self.row_shape:
            return denoise_any(images, self.shape, compute, told)
        if images.dtype != np.uint8:
            return as_pixels(compute(as_floats(images)), images.dtype)
        pixels = images.reshape(len(images), math.prod(images.shape[1:])).astype(np.int32)
        [denoised] = self._servable.run({self._pixels[0]: pixels}, self._pixels[1:])
        return denoised.reshape(images.shape).astype(np.uint8)

    def close(self) -> None:
        self._servable.close()


class EnsembleDenoiser:
    """A denoiser asked about each image in all eight orientations: the mean of its answers.

    Pictures are worked on as floats and rounded once, at the end.
    """

    def __init__(self, one: Denoiser) -> None:
        self._one = one
        self.shape = one.shape

    @property
    def row_shape(self) -> tuple[int, int, int]:
        return self._one.row_shape

    def denoise(
        self, images: np.ndarray, told: Callable[[float], None] = lambda done: None
    ) -> np.ndarray:
        finished = 0

        def denoise(floats: np.ndarray) -> np.ndarray:
            return self._one.denoise(
                floats, lambda done: told((finished + done) / len(ORIENTATIONS))
            )

        def next_one(share: float) -> None:
            nonlocal finished
            finished += 1
            told(share)

        return as_pixels(ensembled(as_floats(images), denoise, next_one), images.dtype)

    def close(self) -> None:
        self._one.close()


def _size(image: Any) -> ModelShape:
    height, width, channels = (dim.size for dim in image.tensor_shape.dim[1:])
    return (height, width, channels) if min(height, width) >= 0 else (None, None, channels)


@dataclasses.dataclass(frozen=True)
class Source:
    """What is denoised with, named so that each worker can open it for itself.

    Args:
      server: URL of a server whose model is called denoiser.
      model: A SavedModel, or a folder of versions, of which the newest is taken.
      ensemble: Whether each image is denoised in all eight orientations.

    Raises:
      UsageError: neither or both are given.
    """

    server: str | None = None
    model: pathlib.Path | None = None
    ensemble: bool = False

    def __post_init__(self) -> None:
        if (self.server is None) == (self.model is None):
            raise UsageError(
                "Give either --server URL, for example grpc://localhost:8500, or --model DIR."
            )

    def open(self) -> Denoiser:
        """Raises:
        NotDenoisedError: the server cannot be asked.
        ModelError: the SavedModel cannot be loaded.
        """
        denoiser: Denoiser
        if self.server is not None:
            denoiser = ServedDenoiser(self.server)
        else:
            assert self.model is not None
            denoiser = LoadedDenoiser(self.model)
        return EnsembleDenoiser(denoiser) if self.ensemble else denoiser
