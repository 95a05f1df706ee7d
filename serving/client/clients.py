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
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from serving.client import transport
from serving.client.connections import connect, connect_async
from serving.client.errors import UnavailableError
from serving.client.transport import Target, Tls, VersionStatus

Png = bytes | str | os.PathLike[str]


@dataclasses.dataclass(frozen=True)
class _Plan:
    """One input as a request, and how its answer is given back."""

    signature: str
    name: str
    values: np.ndarray
    output: str
    restore: Callable[[np.ndarray], Any]

    def chunks(self, size: int) -> Iterator[dict[str, np.ndarray]]:
        for start in range(0, len(self.values), size):
            yield {self.name: self.values[start : start + size]}


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


def _image_shape(shapes: transport.Shapes) -> tuple[int, int, int]:
    height, width, channels = shapes["serving_default"]["image"][1:]
    return height, width, channels


@dataclasses.dataclass(frozen=True)
class _Settings:
    target: Target
    tls: Tls
    timeout: float
    retries: int
    batch_size: int
    in_flight: int


def _settings(
    url: str,
    model: str,
    version: int | str | None,
    timeout: float,
    retries: int,
    batch_size: int,
    in_flight: int,
    tls: Tls | None,
) -> _Settings:
    if min(batch_size, in_flight) < 1 or timeout <= 0 or retries < 0:
        raise ValueError(
            f"expected batch_size and in_flight of 1 or more, a positive timeout and retries of "
            f"0 or more; got {batch_size}, {in_flight}, {timeout}, {retries}"
        )
    target = Target.parse(url, model, version)
    return _Settings(target, tls or Tls(), timeout, retries, batch_size, in_flight)


class DenoiseClient:
    """A client of any TF Serving that serves a denoiser. Safe to use from several threads.

    Every method raises a `serving.client.ClientError` when the server cannot answer.
    """

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
        self._settings = _settings(
            url, model, version, timeout, retries, batch_size, in_flight, tls
        )
        self._connection = connect(self._settings.target, self._settings.tls)
        self._pool: concurrent.futures.ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

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
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        return self._retried(
            lambda timeout: self._connection.predict(signature, arrays, outputs, timeout)
        )

    def status(self) -> list[VersionStatus]:
        """States of the model's versions, the newest first."""
        return self._retried(self._connection.status)

    def image_shape(self) -> tuple[int, int, int]:
        """(height, width, channels) of the model's images."""
        return _image_shape(self._retried(self._connection.shapes))

    def close(self) -> None:
        """Ends the connection."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._connection.close()

    def __enter__(self) -> DenoiseClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _retried(self, call: Callable[[float], Any]) -> Any:
        settings = self._settings
        deadline = time.monotonic() + settings.timeout
        pauses = transport.pauses()
        for attempt in range(settings.retries + 1):
            try:
                return call(max(deadline - time.monotonic(), 0.001))
            except UnavailableError:
                pause = next(pauses)
                if attempt == settings.retries or time.monotonic() + pause > deadline:
                    raise
                time.sleep(pause)
        raise AssertionError("unreachable")

    def _run(self, plan: _Plan) -> Any:
        def one(inputs: dict[str, np.ndarray]) -> np.ndarray:
            return self._retried(
                lambda timeout: self._connection.predict(
                    plan.signature, inputs, (plan.output,), timeout
                )
            )[plan.output]

        chunks = list(plan.chunks(self._settings.batch_size))
        if len(chunks) < 2:
            return _joined(plan, [one(chunk) for chunk in chunks])
        with self._lock:
            if self._pool is None:
                self._pool = concurrent.futures.ThreadPoolExecutor(
                    self._settings.in_flight, "denoise-client"
                )
        waiting: collections.deque[concurrent.futures.Future[np.ndarray]] = collections.deque()
        parts = []
        try:
            for chunk in chunks:
                if len(waiting) == self._settings.in_flight:
                    parts.append(waiting.popleft().result())
                waiting.append(self._pool.submit(one, chunk))
            parts += [future.result() for future in waiting]
        finally:
            for future in waiting:
                future.cancel()
        return _joined(plan, parts)


class AsyncDenoiseClient:
    """DenoiseClient for asyncio: the same methods and errors."""

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
        """As DenoiseClient; to be made on the event loop that uses it."""
        self._settings = _settings(
            url, model, version, timeout, retries, batch_size, in_flight, tls
        )
        self._connection = connect_async(self._settings.target, self._settings.tls)

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
        arrays = {name: np.asarray(array) for name, array in inputs.items()}
        return await self._retried(
            lambda timeout: self._connection.predict(signature, arrays, outputs, timeout)
        )

    async def status(self) -> list[VersionStatus]:
        """As DenoiseClient.status."""
        return await self._retried(self._connection.status)

    async def image_shape(self) -> tuple[int, int, int]:
        """As DenoiseClient.image_shape."""
        return _image_shape(await self._retried(self._connection.shapes))

    async def close(self) -> None:
        """Ends the connection."""
        await self._connection.close()

    async def __aenter__(self) -> AsyncDenoiseClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _retried(self, call: Callable[[float], Any]) -> Any:
        settings = self._settings
        deadline = time.monotonic() + settings.timeout
        pauses = transport.pauses()
        for attempt in range(settings.retries + 1):
            try:
                return await call(max(deadline - time.monotonic(), 0.001))
            except UnavailableError:
                pause = next(pauses)
                if attempt == settings.retries or time.monotonic() + pause > deadline:
                    raise
                await asyncio.sleep(pause)
        raise AssertionError("unreachable")

    async def _run(self, plan: _Plan) -> Any:
        slots = asyncio.Semaphore(self._settings.in_flight)

        async def one(inputs: dict[str, np.ndarray]) -> np.ndarray:
            async with slots:
                outputs = await self._retried(
                    lambda timeout: self._connection.predict(
                        plan.signature, inputs, (plan.output,), timeout
                    )
                )
            return outputs[plan.output]

        tasks = [
            asyncio.ensure_future(one(chunk)) for chunk in plan.chunks(self._settings.batch_size)
        ]
        try:
            return _joined(plan, list(await asyncio.gather(*tasks)))
        finally:
            for task in tasks:
                task.cancel()
