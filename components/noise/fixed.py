"""Evaluation noise: each image's own, the same on every run.

It depends on the image's key, the seed, the noise's canonical expression and the pixel's
position, and on nothing else: not on the batch, the order, eager or graph execution, the
number of threads or the Beam runner. (XLA is not used for it: it may fuse a multiplication and
an addition, which rounds once instead of twice.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from keras import ops

from components.noise.base import Noise
from components.noise.draws import KeyedDraws, image_keys

_ASSIGNMENT = int.from_bytes(b"assigned", "big")


def fixed_noise(noise: Noise, images: Any, keys: Any, seed: int) -> tuple[Any, Any]:
    """Adds to each image the noise that its key and the seed determine.

    Args:
      noise: Which noise.
      images: float32, (N, H, W, C), in [0, 1].
      keys: int64, (N,): the fingerprint of each image's row.
      seed: From 0 to 2**31 - 1.

    Returns:
      The noisy images, float32 (N, H, W, C) in [0, 1], and the severity of each, float32 (N,),
      in the unit of the noise's first parameter.
    """
    digest = hashlib.blake2b(str(noise).encode(), digest_size=8).digest()
    draws = KeyedDraws(image_keys(keys, seed, int.from_bytes(digest, "big")))
    return noise.corrupt(ops.convert_to_tensor(images, "float32"), draws)


def assigned_noise(
    noises: Sequence[Noise], images: Any, keys: Any, seed: int
) -> tuple[Any, Any, Any]:
    """Adds to each image one noise of a list, picked evenly by its key and the seed.

    Args:
      noises: At least one.
      images: float32, (N, H, W, C), in [0, 1].
      keys: int64, (N,): the fingerprint of each image's row.
      seed: From 0 to 2**31 - 1.

    Returns:
      The noisy images, float32 (N, H, W, C) in [0, 1], equal bit for bit to what `fixed_noise`
      makes with the noise picked; its index in the list, int64 (N,); the severity of each,
      float32 (N,).
    """
    picked = KeyedDraws(image_keys(keys, seed, _ASSIGNMENT)).uniform(())
    index = ops.minimum(ops.cast(ops.floor(picked * len(noises)), "int32"), len(noises) - 1)
    images = ops.convert_to_tensor(images, "float32")
    keys = ops.convert_to_tensor(keys)
    noisy, levels = images, ops.zeros_like(picked)
    for position, noise in enumerate(noises):
        (here,) = ops.nonzero(ops.equal(index, position))
        part, part_levels = fixed_noise(
            noise, ops.take(images, here, axis=0), ops.take(keys, here, axis=0), seed
        )
        where = ops.expand_dims(here, 1)
        noisy = ops.scatter_update(noisy, where, part)
        levels = ops.scatter_update(levels, where, part_levels)
    return noisy, ops.cast(index, "int64"), levels
