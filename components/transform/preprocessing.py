"""Transform: a validated Example becomes a clean and a noisy image.

    image int64 (H*W*C,)  ->  clean float32 (H, W, C), noisy float32 (H, W, C)

Each image gets one noise of `noise.evaluation`, picked and drawn from its `key`
and `noise.seed`, so it is the same on every run and every Beam runner. The
Evaluator measures every noise of the list on every test image; for the noise
picked here its noisy image is this one, bit for bit. Where the noise is `given`,
the noisy image of the pair is passed on.
"""

from __future__ import annotations

from typing import Any

from components.base.settings import GIVEN, ImageSettings, NoiseSettings


def preprocessing_fn(inputs: dict[str, Any], custom_config: dict[str, Any]) -> dict[str, Any]:
    """The TFT preprocessing function.

    Args:
      inputs: `image` int64 (N, H*W*C), 0 to 255, and of pairs `noisy`, the same; `label` int64
        (N, 1) or (N,); `key` int64, the same.
      custom_config: Sections `image`, `noise` and `plugins` of the settings, as plain values.

    Returns:
      `clean` and `noisy` float32 (N, H, W, C) in [0, 1]; `noise` string (N,), the noise's
      expression; `noise_level` float32 (N,), its severity in its own unit; `label` and
      `key` int64 (N,).
    """
    import tensorflow as tf

    from components.base import plugins
    from components.csv_ingestion.examples import NOISY
    from components.image.pixels import normalise
    from components.noise import assigned_noise, parse

    plugins.load(custom_config.get("plugins", ()))
    image = ImageSettings.model_validate(custom_config["image"])
    settings = NoiseSettings.model_validate(custom_config["noise"])

    key = tf.reshape(inputs["key"], (-1,))
    clean = normalise(inputs["image"], image.shape)
    if settings.evaluation == (GIVEN,):
        noisy = normalise(inputs[NOISY], image.shape)
        index, level = tf.zeros_like(key), tf.zeros_like(key, tf.float32)
    else:
        noises = [parse(expression) for expression in settings.evaluation]
        noisy, index, level = assigned_noise(noises, clean, key, settings.seed)
    return {
        "clean": clean,
        "noisy": noisy,
        "noise": tf.gather(list(settings.evaluation), index),
        "noise_level": level,
        "label": tf.reshape(inputs["label"], (-1,)),
        "key": key,
    }
