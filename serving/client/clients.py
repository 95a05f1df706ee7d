"""DenoiseClient and AsyncDenoiseClient.

Both cut large inputs into requests of `batch_size` images, and pictures that the model does not
take as they are into tiles; they keep `in_flight` requests on the way, and retry one when the
server is unavailable, and only then.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import itertools
import math
import os
import pathlib
import random
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from serving.client import grpc_wire, rest_wire
from serving.client.connections import connect, connect_async
from serving.client.errors import (
    ClientError,
    DeadlineError,
    InvalidRequestError,
    OverloadedError,
    UnavailableError,
)
from serving.client.target import Call, Signatures, Target, Tls, VersionStatus
from serving.client.tiling import (
    WHOLE,
    Blend,
    ModelShape,
    as_floats,
    as_pixels,
    margin_probe,
    margin_seen,
    needs_margin,
    tiling,
)

Png = bytes | str | os.PathLike[str]
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_REQUEST_BYTES = 12 << 20
"""Of a request or an answer at most, if it is of more than one image or can be cut."""
_BYTES_OF_A_VALUE = {"grpc": 4, "rest": 21}
_IMAGE, _DENOISED = "image", "denoised"
_NOT_ANSWERED = (UnavailableError, DeadlineError, OverloadedError)
_NOT_TOLD = (ClientError, LookupError, ValueError)
"""No such model, or one of other signatures."""


@dataclasses.dataclass(frozen=True)
class _Plan:
    """One input as a request, and how its answer is given back."""

    signature: str
    name: str
    values: np.ndarray
    output: str
    restore: Callable[[np.ndarray], Any]


def _checked(images: Any) -> np.ndarray:
    """Images as an array (N, H, W, C)."""
    images = np.asarray(images)
    if images.ndim not in (3, 4):
        raise ValueError(
            f"images: expected shape (N, H, W) or (N, H, W, C), got {images.shape}; a single "
            "image is image[None]"
        )
    if images.dtype.kind != "f" and images.dtype not in (np.uint8, np.uint16):
        raise TypeError(f"images: expected floats in [0, 1], uint8 or uint16, got {images.dtype}")
    return images[..., None] if images.ndim == 3 else images


def _image_plan(images: np.ndarray, takes: ModelShape | None) -> _Plan | None:
    """Images of a size that the model takes as a request; None: they are of another.

    Args:
      takes: What the model takes; None: not known, so the server will say if it is another.
    """
    if images.dtype == np.uint8 and takes in (None, images.shape[1:]):
        return _Plan(
            "predict_pixels",
            "pixels",
            images.reshape(len(images), math.prod(images.shape[1:])).astype(np.int32),
            _DENOISED,
            lambda denoised: denoised.reshape(images.shape).astype(np.uint8),
        )
    if takes is None or takes == images.shape[1:] or _takes_whole(takes, images.shape):
        return _float_plan(
            as_floats(images),
            lambda denoised: as_pixels(denoised.reshape(images.shape), images.dtype),
        )
    return None


def _takes_whole(takes: ModelShape, shape: tuple[int, ...]) -> bool:
    _, height, width, channels = shape
    return takes == (None, None, channels) and height * width <= WHOLE // 4


def _float_plan(images: np.ndarray, restore: Callable[[np.ndarray], Any] = np.asarray) -> _Plan:
    return _Plan("serving_default", _IMAGE, images, _DENOISED, restore)


def _row_plan(rows: Any) -> _Plan:
    rows = np.asarray(rows)
    if rows.ndim != 2 or rows.dtype.kind not in "iu":
        raise ValueError(
            f"rows: expected integers (N, H*W*C), a CSV row without its label each; got "
            f"{rows.dtype} {rows.shape}"
        )
    return _Plan(
        "predict_pixels",
        "pixels",
        rows.astype(np.int32, copy=False),
        "denoised",
        lambda denoised: denoised.astype(np.int32, copy=False),
    )


def _png_plan(images: Sequence[Png]) -> _Plan:
    values = np.empty(len(images), object)
    values[:] = [i if isinstance(i, bytes) else pathlib.Path(i).read_bytes() for i in images]
    return _Plan("predict_encoded", "image_bytes", values, "denoised_bytes", np.ndarray.tolist)


def _joined(plan: _Plan, parts: list[np.ndarray]) -> Any:
    if not parts:
        return plan.restore(plan.values)  # nothing in, nothing out
    return plan.restore(parts[0] if len(parts) == 1 else np.concatenate(parts))


def _image_shape(signatures: Signatures) -> ModelShape:
    height, width, channels = signatures["serving_default"].inputs[_IMAGE][1:]
    return (height, width, channels) if height >= 0 and width >= 0 else (None, None, channels)


def _row_shape(signatures: Signatures) -> tuple[int, int, int]:
    # A model of any size takes rows and tf.Examples of one.
    shape = _image_shape(signatures)
    if shape[0] is None:
        height, width, channels = signatures["predict_examples"].outputs[_DENOISED][1:]
        return height, width, channels
    return shape  # type: ignore[return-value]  # both are None or none is


class Attempts:
    """Decides whether one request is sent again, and after how long."""

    def __init__(self, timeout: float, retries: int) -> None:
        """Starts the clock.

        Args:
          timeout: Seconds for all attempts together.
          retries: Attempts after the first.
        """
        self._deadline = time.monotonic() + timeout
        self._retries = retries
        self._longest = _FIRST_PAUSE

    def seconds_left(self) -> float:
        """What the next attempt may take."""
        return max(self._deadline - time.monotonic(), 0.001)

    def pause(self, error: UnavailableError) -> float:
        """Seconds to wait before the next attempt: the longest is twice as long each time, and
        at random below it, so that clients which failed together do not come back together.

        Raises:
          UnavailableError: the error given, when there is no attempt or no time left.
        """
        pause = random.uniform(0, self._longest)
        self._longest = min(2 * self._longest, _LONGEST_PAUSE)
        self._retries -= 1
        if self._retries < 0 or pause > self._deadline - time.monotonic():
            raise error
        return pause


class _Client:
    """What both clients have in common: the settings, and the calls they make of them."""

    def __init__(
        self,
        url: str,
        model: str = "denoiser",
        version: int | str | None = None,
        *,
        timeout: float = 30.0,
        retries: int = 4,
        batch_size: int = 64,
        in_flight: int = 4,
        tls: Tls | None = None,
    ) -> None:
        """Connects when first asked.

        Args:
          url: `grpc://host:8500` or `http://host:8501`; with TLS `grpcs://`, `https://`; a
            socket as `unix:/path`.
          model: The model's name.
          version: A version's number, or a label; None: the latest.
          timeout: Seconds for one request, its retries included.
          retries: Times a request is sent again when the server is unavailable.
          batch_size: Images in a request.
          in_flight: Requests on the way at the same time.
          tls: Certificates.

        Raises:
          ValueError: the URL or a number is not one of these.
        """
        if min(batch_size, in_flight) < 1 or timeout <= 0 or retries < 0:
            raise ValueError(
                f"expected batch_size and in_flight of 1 or more, a positive timeout and retries "
                f"of 0 or more; got {batch_size}, {in_flight}, {timeout}, {retries}"
            )
        self._target = Target.parse(url, model, version)
        self._wire: Any = rest_wire if self._target.is_rest else grpc_wire
        self._timeout = timeout
        self._retries = retries
        self._batch_size = batch_size
        self._in_flight = in_flight
        self._takes: ModelShape | None = None
        self._connection: Any = self._connect(self._target, tls or Tls())

    def _connect(self, target: Target, tls: Tls) -> Any:
        raise NotImplementedError

    def _may_be_another(self, images: np.ndarray) -> bool:
        """Whether the model has to be asked for what it takes: a new version may have come."""
        takes = self._takes
        return takes is None or (takes[0] is not None and takes != images.shape[1:])

    def _attempts(self) -> Attempts:
        return Attempts(self._timeout, self._retries)

    def _predict(self, inputs: Mapping[str, Any], signature: str, outputs: tuple[str, ...]) -> Call:
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        return self._wire.predict(self._target, signature, arrays, outputs)

    def _chunk(self, plan: _Plan, inputs: dict[str, np.ndarray]) -> Call:
        return self._predict(inputs, plan.signature, (plan.output,))

    def _chunks(self, plan: _Plan) -> Iterator[dict[str, np.ndarray]]:
        rows, values = len(plan.values), plan.values.size
        number = max(1, min(self._batch_size, self._most_values() * rows // max(1, values)))
        for start in range(0, rows, number):
            yield {plan.name: plan.values[start : start + number]}

    def _most_values(self) -> int:
        """Of a request, at most."""
        return _REQUEST_BYTES // _BYTES_OF_A_VALUE["rest" if self._target.is_rest else "grpc"]

    def _most_pixels(self, takes: ModelShape) -> int:
        """Of a request with tiles, at most."""
        height, width, channels = takes
        # Of a model of any size, the server has several in work at once.
        one = self._batch_size * height * width if height and width else WHOLE // 2
        return min(one, self._most_values() // channels)


class DenoiseClient(_Client):
    """A client of any TF Serving that serves a denoiser. Safe to use from several threads.

    Every method raises a `serving.client.ClientError` when the server cannot answer.
    """

    def _connect(self, target: Target, tls: Tls) -> Any:
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        return connect(target, tls)

    def denoise(self, images: Any, told: Callable[[float], None] = lambda done: None) -> np.ndarray:
        """Denoises images of any size.

        What the model does not take as it is goes in overlapping tiles (`serving.client.tiling`),
        colour to a grey model by channel, and grey to a colour model three times.

        Args:
          images: (N, H, W) or (N, H, W, C), floats in [0, 1], uint8 or uint16; C 1 or 3.
          told: Called with how much is done, 0 to 1.

        Returns:
          The same shape, type and range.

        Raises:
          ValueError: the shape is another.
          TypeError: the type is another.
        """
        pictures = _checked(images)
        if self._may_be_another(pictures):
            self._takes = self._ask_takes()
        takes, plan = self._takes, _image_plan(pictures, self._takes)
        try:
            if plan is None:
                assert takes is not None
                denoised = self._in_tiles(pictures, takes, told)
            else:
                denoised = self._run(plan, told)
        except InvalidRequestError:
            self._takes = None
            raise
        return denoised.reshape(np.shape(images))

    def denoise_rows(self, rows: Any) -> np.ndarray:
        """Denoises CSV rows.

        Args:
          rows: Integers from 0 to 255, (N, H*W*C), without the label.

        Returns:
          int32, the same shape and range.

        Raises:
          ValueError: it is not a table of integers.
        """
        return self._run(_row_plan(rows))

    def denoise_png(self, images: Sequence[Png]) -> list[bytes]:
        """Denoises encoded images.

        Args:
          images: PNGs or JPEGs of a size that the model takes: their bytes, or the paths of files.

        Returns:
          PNGs, in the same order.
        """
        return self._run(_png_plan(images))

    def predict(
        self, inputs: Mapping[str, np.ndarray], signature: str = "serving_default", *outputs: str
    ) -> dict[str, np.ndarray]:
        """One request to any signature, as it is.

        Args:
          inputs: Arrays by input name; strings are bytes in an object array.
          signature: Its name.
          *outputs: Those wanted; all when none is named.

        Returns:
          Arrays by output name. REST does not name a single output: name it here.
        """
        return self._send(self._predict(inputs, signature, outputs))

    def status(self) -> list[VersionStatus]:
        """States of the model's versions, the newest first."""
        return self._send(self._wire.status(self._target))

    def image_shape(self) -> ModelShape:
        """(height, width, channels) of the model's images; None, None where it takes any size."""
        return _image_shape(self._send(self._wire.signatures(self._target)))

    def row_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the images in CSV rows and tf.Examples."""
        return _row_shape(self._send(self._wire.signatures(self._target)))

    def close(self) -> None:
        """Ends the connection."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._connection.close()

    def __enter__(self) -> DenoiseClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _send(self, call: Call) -> Any:
        attempts = self._attempts()
        while True:
            try:
                return self._connection.send(call, attempts.seconds_left())
            except UnavailableError as error:
                time.sleep(attempts.pause(error))

    def _ask_takes(self) -> ModelShape | None:
        try:
            return self.image_shape()
        except _NOT_ANSWERED:
            raise
        except _NOT_TOLD:
            return None  # Whatever is wrong, the request itself says it better.

    def _run(self, plan: _Plan, told: Callable[[float], None] = lambda done: None) -> Any:
        parts = []
        for part in self._answers(plan, self._chunks(plan)):
            parts.append(part)
            told(sum(map(len, parts)) / len(plan.values))
        return _joined(plan, parts)

    def _in_tiles(
        self, pictures: np.ndarray, takes: ModelShape, told: Callable[[float], None]
    ) -> np.ndarray:
        result = np.empty_like(pictures)
        most, margin = self._most_pixels(takes), 0
        size = (pictures.shape[1], pictures.shape[2])
        if needs_margin(takes, size, most):
            plans = map(_float_plan, margin_probe(takes[-1]))
            margin = margin_seen(*(self._run(plan) for plan in plans))
        tiles = tiling(takes, size, margin, most)
        for index, pixels in enumerate(pictures):
            blend = Blend(pixels, tiles, takes[-1])
            chunks = ({_IMAGE: batch.images} for batch in blend.batches(most))
            for number, denoised in enumerate(self._answers(_float_plan(pixels), chunks)):
                blend.add(number, denoised)
                told((index + blend.done) / len(pictures))
            result[index] = blend.result
        return result

    def _answers(
        self, plan: _Plan, chunks: Iterator[dict[str, np.ndarray]]
    ) -> Iterator[np.ndarray]:
        """What is answered to requests, in their order; one alone is sent on this thread."""

        def one(inputs: dict[str, np.ndarray]) -> np.ndarray:
            return self._send(self._chunk(plan, inputs))[plan.output]

        first = next(chunks, None)
        if first is None:
            return
        second = next(chunks, None)
        if second is None:
            yield one(first)
            return
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(
                    self._in_flight, "denoise-client"
                )
        waiting: collections.deque[concurrent.futures.Future[np.ndarray]] = collections.deque()
        try:
            for chunk in itertools.chain((first, second), chunks):
                if len(waiting) == self._in_flight:
                    yield waiting.popleft().result()
                waiting.append(self._pool.submit(one, chunk))
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


class AsyncDenoiseClient(_Client):
    """DenoiseClient for asyncio: the same methods and errors. Make it on the event loop that
    uses it."""

    def _connect(self, target: Target, tls: Tls) -> Any:
        return connect_async(target, tls)

    async def denoise(
        self, images: Any, told: Callable[[float], None] = lambda done: None
    ) -> np.ndarray:
        """As DenoiseClient.denoise."""
        pictures = _checked(images)
        if self._may_be_another(pictures):
            self._takes = await self._ask_takes()
        takes, plan = self._takes, _image_plan(pictures, self._takes)
        try:
            if plan is None:
                assert takes is not None
                denoised = await self._in_tiles(pictures, takes, told)
            else:
                denoised = await self._run(plan, told)
        except InvalidRequestError:
            self._takes = None
            raise
        return denoised.reshape(np.shape(images))

    async def denoise_rows(self, rows: Any) -> np.ndarray:
        """As DenoiseClient.denoise_rows."""
        return await self._run(_row_plan(rows))

    async def denoise_png(self, images: Sequence[Png]) -> list[bytes]:
        """As DenoiseClient.denoise_png."""
        return await self._run(_png_plan(images))

    async def predict(
        self, inputs: Mapping[str, np.ndarray], signature: str = "serving_default", *outputs: str
    ) -> dict[str, np.ndarray]:
        """As DenoiseClient.predict."""
        return await self._send(self._predict(inputs, signature, outputs))

    async def status(self) -> list[VersionStatus]:
        """As DenoiseClient.status."""
        return await self._send(self._wire.status(self._target))

    async def image_shape(self) -> ModelShape:
        """As DenoiseClient.image_shape."""
        return _image_shape(await self._send(self._wire.signatures(self._target)))

    async def row_shape(self) -> tuple[int, int, int]:
        """As DenoiseClient.row_shape."""
        return _row_shape(await self._send(self._wire.signatures(self._target)))

    async def close(self) -> None:
        """Ends the connection."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncDenoiseClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _send(self, call: Call) -> Any:
        attempts = self._attempts()
        while True:
            try:
                return await self._connection.send(call, attempts.seconds_left())
            except UnavailableError as error:
                await asyncio.sleep(attempts.pause(error))

    async def _ask_takes(self) -> ModelShape | None:
        try:
            return await self.image_shape()
        except _NOT_ANSWERED:
            raise
        except _NOT_TOLD:
            return None

    async def _run(self, plan: _Plan, told: Callable[[float], None] = lambda done: None) -> Any:
        parts = []
        async for part in self._answers(plan, self._chunks(plan)):
            parts.append(part)
            told(sum(map(len, parts)) / len(plan.values))
        return _joined(plan, parts)

    async def _in_tiles(
        self, pictures: np.ndarray, takes: ModelShape, told: Callable[[float], None]
    ) -> np.ndarray:
        result = np.empty_like(pictures)
        most, margin = self._most_pixels(takes), 0
        size = (pictures.shape[1], pictures.shape[2])
        if needs_margin(takes, size, most):
            plans = map(_float_plan, margin_probe(takes[-1]))
            margin = margin_seen(*[await self._run(plan) for plan in plans])
        tiles = tiling(takes, size, margin, most)
        for index, pixels in enumerate(pictures):
            blend = Blend(pixels, tiles, takes[-1])
            chunks = ({_IMAGE: batch.images} for batch in blend.batches(most))
            number = 0
            async for denoised in self._answers(_float_plan(pixels), chunks):
                blend.add(number, denoised)
                number += 1
                told((index + blend.done) / len(pictures))
            result[index] = blend.result
        return result

    async def _answers(
        self, plan: _Plan, chunks: Iterator[dict[str, np.ndarray]]
    ) -> AsyncIterator[np.ndarray]:
        """What is answered to requests, in their order."""

        async def one(inputs: dict[str, np.ndarray]) -> np.ndarray:
            return (await self._send(self._chunk(plan, inputs)))[plan.output]

        waiting: collections.deque[asyncio.Task[np.ndarray]] = collections.deque()
        try:
            for chunk in chunks:
                if len(waiting) == self._in_flight:
                    yield await waiting.popleft()
                waiting.append(asyncio.ensure_future(one(chunk)))
            while waiting:
                yield await waiting.popleft()
        finally:
            for task in waiting:
                task.cancel()
