"""What every pushed model must answer, asked in this process."""

from __future__ import annotations

import keras
import numpy as np
import tensorflow as tf

from components import models  # registers the layers
from components.export import requests
from components.image.pixels import normalise
from components.models.base import BOTTLENECK
from components.training.result import KERAS_FILE


def assert_every_signature_answers_as_keras(
    folder: str, pixels: np.ndarray, shape: tuple[int, int, int]
) -> None:
    """The same images through every signature, and through the Keras model itself.

    Args:
      folder: The pushed SavedModel.
      pixels: uint8, (N, H*W*C).
      shape: (H, W, C).
    """
    eager = keras.saving.load_model(f"{folder}/{KERAS_FILE}")
    clean = normalise(pixels, shape)
    expected = np.clip(eager(clean), 0, 1)
    in_graph = tf.function(lambda values: eager(normalise(values, shape)))
    np.testing.assert_allclose(np.clip(in_graph(pixels), 0, 1), expected, atol=1e-5)

    loaded = tf.saved_model.load(folder).signatures
    inputs = requests.requests(pixels, shape)

    def call(name: str) -> dict[str, tf.Tensor]:
        return loaded[name](
            **{
                key: tf.constant(value.tolist() if value.dtype == object else value)
                for key, value in inputs[name].items()
            }
        )

    for name in ("serving_default", "predict_examples"):
        np.testing.assert_allclose(call(name)["denoised"], expected, atol=1e-5)
    served = call("predict_pixels")["denoised"].numpy()
    np.testing.assert_allclose(
        served.reshape(expected.shape) / 255, expected, atol=0.5 / 255 + 1e-5
    )
    encoded = call("predict_encoded")["denoised_bytes"].numpy()
    decoded = np.stack([tf.io.decode_png(png).numpy() for png in encoded])
    np.testing.assert_array_equal(decoded.reshape(served.shape), served)

    encoder = models.encoder(eager)
    assert ("encode" in loaded) == (encoder is not None)
    if encoder is not None:
        code = loaded["encode"](image=tf.constant(clean))["code"]
        assert code.shape == (len(pixels), *encoder.output_shape[1:])
        np.testing.assert_allclose(code, encoder(clean), atol=1e-5)
        decoder = keras.Model(eager.get_layer(BOTTLENECK).output, eager.output)
        np.testing.assert_allclose(np.clip(decoder(code), 0, 1), expected, atol=1e-5)
