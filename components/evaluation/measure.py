"""Per-image figures of a denoiser on clean images and the noises of a list."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from components.base.settings import GIVEN
from components.evaluation.result import FIGURES, METRICS

Denoise = Callable[[Any], Any]
"""Noisy float32 (N, H, W, C) in [0, 1] to denoised, the same shape and range."""


class Measurement:
    """Measures denoisers on the fixed noise of an evaluation.

    Args:
      noises: Noise expressions.
      seed: `noise.seed`.

    Raises:
      UsageError: an expression names no noise.
    """

    def __init__(self, noises: Sequence[str], seed: int):
        from components.noise import parse

        self.noises = tuple(noises)
        self._parsed = {noise: parse(noise) for noise in noises if noise != GIVEN}
        self._seed = seed
        self._compiled: dict[tuple[Any, ...], Any] = {}

    def noisy(
        self, noise: str, clean: Any, keys: np.ndarray, given: Any = None
    ) -> tuple[Any, np.ndarray]:
        """The noisy images, float32 (N, H, W, C), and the severity of each, float32 (N,).

        Args:
          noise: One of the noises.
          clean: float32 (N, H, W, C) in [0, 1].
          keys: int64 (N,).
          given: The noisy images of pairs, as `clean`: what the noise GIVEN makes.
        """
        if noise == GIVEN:
            return given, np.zeros(len(keys), np.float32)
        from components.noise import fixed_noise

        def add(images: Any, keys: Any) -> Any:
            return fixed_noise(self._parsed[noise], images, keys, self._seed)

        images, level = self._compile(noise, add, clean, keys)(clean, keys)
        return images, np.asarray(level)

    def figures(self, clean: Any, images: Any) -> dict[str, np.ndarray]:
        """METRICS of images against the clean ones, each float32 (N,)."""
        from components.image import metrics

        def compare(clean: Any, images: Any) -> Any:
            return [getattr(metrics, name)(clean, images) for name in METRICS]

        values = self._compile("figures", compare, clean, images)(clean, images)
        return {name: np.asarray(value) for name, value in zip(METRICS, values, strict=True)}

    def _compile(self, name: str, function: Callable[..., Any], *like: Any) -> Any:
        """The function, traced once for images of this shape and any number of them."""
        key = (name, *like[0].shape[1:])
        if key not in self._compiled:
            import tensorflow as tf

            signature = [tf.TensorSpec((None, *value.shape[1:]), value.dtype) for value in like]
            # Without AutoGraph: there is no control flow to find, and to look for it takes
            # longer than to trace.
            self._compiled[key] = tf.function(function, signature, autograph=False)
        return self._compiled[key]

    def __call__(
        self,
        denoisers: dict[str, Denoise],
        clean: np.ndarray,
        keys: np.ndarray,
        given: np.ndarray | None = None,
    ) -> Iterator[tuple[str, np.ndarray, dict[str, dict[str, np.ndarray]]]]:
        """Measures each noise in turn.

        Args:
          denoisers: By name.
          clean: float32 (N, H, W, C) in [0, 1].
          keys: int64 (N,).
          given: The noisy images of pairs, as `clean`.

        Yields:
          The noise, its severity per image, and per denoiser FIGURES, each float32 (N,).
        """
        for noise in self.noises:
            noisy, level = self.noisy(noise, clean, keys, given)
            before = self.figures(clean, noisy)
            results = {}
            for name, denoise in denoisers.items():
                after = self.figures(clean, denoise(noisy))
                results[name] = {
                    **after,
                    **{f"noisy_{metric}": value for metric, value in before.items()},
                    "psnr_gain": after["psnr"] - before["psnr"],
                }
            yield noise, level, results


def sums(label: np.ndarray, figures: dict[str, np.ndarray]) -> dict[int, np.ndarray]:
    """Adds figures up by class, in float64.

    Args:
      label: int64 (N,).
      figures: FIGURES, each (N,).

    Returns:
      By label, the sum of each of FIGURES and, last, the number of images.
    """
    return {
        int(value): np.array(
            [
                *(figures[name][label == value].sum(dtype=np.float64) for name in FIGURES),
                np.count_nonzero(label == value),
            ]
        )
        for value in np.unique(label)
    }


def load_denoiser(saved_model: str) -> Denoise:
    """`serving_default` of a SavedModel as a function.

    Raises:
      ModelError: there is no SavedModel, or it does not answer `image` with `denoised`.
    """
    import tensorflow as tf

    from components.base.errors import ModelError

    try:
        loaded = tf.saved_model.load(saved_model)
    except (OSError, ValueError) as error:
        raise ModelError(f"{saved_model}: expected a SavedModel folder: {error}") from error
    signature = loaded.signatures.get("serving_default")
    inputs = signature.structured_input_signature[1] if signature else {}
    if signature is None or "image" not in inputs or "denoised" not in signature.structured_outputs:
        raise ModelError(
            f"{saved_model}: expected a signature serving_default with input `image` and output "
            f"`denoised`; it has signatures {sorted(loaded.signatures)}. "
            "Was it exported by this project?"
        )

    def denoise(images: Any) -> Any:
        return signature(image=tf.convert_to_tensor(images))["denoised"]

    denoise.loaded = loaded  # type: ignore[attr-defined]  # the signature holds no reference
    return denoise
