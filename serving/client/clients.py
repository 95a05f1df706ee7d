"""DenoiseClient and AsyncDenoiseClient.

Both cut large inputs into requests of `batch_size` images, keep `in_flight` of them on the
way, and retry a request when the server is unavailable, and only then.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import dataclasses
import os
import pathlib
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from serving.client import grpc_wire, rest_wire
from serving.client.connections import connect, connect_async
from serving.client.errors import UnavailableError
from serving.client.target import Call, Shapes, Target, Tls, VersionStatus

Png = bytes | str | os.PathLike[str]
_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0


@dataclasses.dataclass(frozen=True)
class _Plan:
    """One input as a request, and how its answer is given back."""

    signature: str
    name: str
    values: np.ndarray
    output: str
    restore: Callable[[np.ndarray], Any]


def _image_plan(images: Any) -> _Plan:
    images = np.asarray(images)
    if images.ndim not in (3, 4):
        raise ValueError(
            f"images: expected shape (N, H, W) or (N, H, W, C), got {images.shape}; a single "
            "image is image[None]"
        )
    shape = images.shape
    if images.dtype.kind == "f":
        values = images.astype(np.float32, copy=False)
        values = values.reshape(*shape, 1) if images.ndim == 3 else values
        return _Plan(
            "serving_default",
            "image",
            values,
            "denoised",
            lambda denoised: denoised.reshape(shape).astype(images.dtype, copy=False),
        )
    if images.dtype != np.uint8:
        raise TypeError(f"images: expected floats in [0, 1] or uint8, got {images.dtype}")
    return _Plan(
        "predict_pixels",
        "pixels",
        images.reshape(len(images), -1).astype(np.int32),
        "denoised",
        lambda denoised: denoised.reshape(shape).astype(np.uint8),
    )


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


def _image_shape(shapes: Shapes) -> tuple[int, int, int]:
    height, width, channels = shapes["serving_default"]["image"][1:]
    return height, width, channels


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
        self._connection: Any = self._connect(self._target, tls or Tls())

    def _connect(self, target: Target, tls: Tls) -> Any:
        raise NotImplementedError

    def _attempts(self) -> Attempts:
        return Attempts(self._timeout, self._retries)

    def _predict(self, inputs: Mapping[str, Any], signature: str, outputs: tuple[str, ...]) -> Call:
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        return self._wire.predict(self._target, signature, arrays, outputs)

    def _chunk(self, plan: _Plan, inputs: dict[str, np.ndarray]) -> Call:
        return self._predict(inputs, plan.signature, (plan.output,))

    def _chunks(self, plan: _Plan) -> list[dict[str, np.ndarray]]:
        return [
            {plan.name: plan.values[start : start + self._batch_size]}
            for start in range(0, len(plan.values), self._batch_size)
        ]


class DenoiseClient(_Client):
    """A client of any TF Serving that serves a denoiser. Safe to use from several threads.

    Every method raises a `serving.client.ClientError` when the server cannot answer.
    """

    def _connect(self, target: Target, tls: Tls) -> Any:
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        return connect(target, tls)

    def denoise(self, images: Any) -> np.ndarray:
        """Denoises images.

        Args:
          images: (N, H, W) or (N, H, W, C), floats in [0, 1] or uint8.

        Returns:
          The same shape, type and range.

        Raises:
          ValueError: the shape is another.
          TypeError: the type is another.
        """
        return self._run(_image_plan(images))

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
          images: PNGs or JPEGs of the model's size: their bytes, or the paths of files.

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

    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the model's images."""
        return _image_shape(self._send(self._wire.shapes(self._target)))

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

    def _run(self, plan: _Plan) -> Any:
        def one(inputs: dict[str, np.ndarray]) -> np.ndarray:
            return self._send(self._chunk(plan, inputs))[plan.output]

        chunks = self._chunks(plan)
        if len(chunks) < 2:
            return _joined(plan, [one(chunk) for chunk in chunks])
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(
                    self._in_flight, "denoise-client"
                )
        waiting: collections.deque[concurrent.futures.Future[np.ndarray]] = collections.deque()
        parts = []
        try:
            for chunk in chunks:
                if len(waiting) == self._in_flight:
                    parts.append(waiting.popleft().result())
                waiting.append(self._pool.submit(one, chunk))
            parts += [future.result() for future in waiting]
        finally:
            for future in waiting:
                future.cancel()
        return _joined(plan, parts)


class AsyncDenoiseClient(_Client):
    """DenoiseClient for asyncio: the same methods and errors. Make it on the event loop that
    uses it."""

    def _connect(self, target: Target, tls: Tls) -> Any:
        return connect_async(target, tls)

    async def denoise(self, images: Any) -> np.ndarray:
        """As DenoiseClient.denoise."""
        return await self._run(_image_plan(images))

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

    async def image_shape(self) -> tuple[int, int, int]:
        """As DenoiseClient.image_shape."""
        return _image_shape(await self._send(self._wire.shapes(self._target)))

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

    async def _run(self, plan: _Plan) -> Any:
        slots = asyncio.Semaphore(self._in_flight)

        async def one(inputs: dict[str, np.ndarray]) -> np.ndarray:
            async with slots:
                return (await self._send(self._chunk(plan, inputs)))[plan.output]

        tasks = [asyncio.ensure_future(one(chunk)) for chunk in self._chunks(plan)]
        try:
            return _joined(plan, list(await asyncio.gather(*tasks)))
        finally:
            for task in tasks:
                task.cancel()
