"""The servable: what a SavedModel answers to, and how it is written.

Every exported model has four signatures, made of TensorFlow core ops alone so
that the stock TF Serving container loads it. Noise is never applied here.

| signature         | input                                | output                     |
|-------------------|--------------------------------------|----------------------------|
| `serving_default` | `image` float32 (N, H, W, C), [0, 1] | `denoised`, the same       |
| `predict_pixels`  | `pixels` int32 (N, H*W*C), 0-255     | `denoised`, the same       |
| `predict_encoded` | `image_bytes` string (N,), PNG, JPEG | `denoised_bytes`, PNG (N,) |
| `predict_examples`| `examples` string (N,), tf.Example   | `denoised` float32         |

An autoencoder with a bottleneck has a fifth, `encode`: `image` to `code`.

Of a model that takes any size, `serving_default` takes images of any height and width, and
`predict_encoded` answers each image with one of its own size; rows of pixels and tf.Examples say
nothing of a size, so they stay images of the settings' shape. An image may have `MAX_PIXELS`.
"""

from __future__ import annotations

import functools
import math
import pathlib
from typing import TYPE_CHECKING, Any

from components.export.requests import write_warmup_requests
from components.image.pixels import MAX_PIXEL, normalise, quantise
from components.image.reader import read_batch_in_graph, read_in_graph, size_in_head

if TYPE_CHECKING:
    import keras
    import numpy as np

MAX_PIXELS = 1 << 20
"""Of an image that a model of any size answers: a network's layers hold some hundred times as much,
so what is larger goes in tiles, as the client sends it."""

_PIXELS_AT_ONCE = 1 << 18
"""Of the images of one call that are computed together, unless one alone has more."""

SIGNATURES = ("serving_default", "predict_pixels", "predict_encoded", "predict_examples")


def export_servable(
    model: keras.Model,
    path: str | pathlib.Path,
    shape: tuple[int, int, int],
    warmup_pixels: np.ndarray,
) -> None:
    """Writes a model as a SavedModel with all signatures and warm-up requests.

    Args:
      model: Noisy float32 (N, H, W, C) in [0, 1] to denoised, the same shape; it takes any size
        where its input has (None, None, None, C). Its outputs are clipped to [0, 1] here, whatever
        its last activation.
      path: The folder to write.
      shape: (H, W, C).
      warmup_pixels: uint8, (N, H*W*C): real images for the warm-up requests; the first is
        sent alone and all of them as one batch.
    """
    import tensorflow as tf

    from components import models

    any_size = model.input_shape[1:3] == (None, None)
    endpoints = (_AnySize if any_size else _Endpoints)(model, models.encoder(model), shape)
    image = tf.TensorSpec((None, *endpoints.image_shape), tf.float32, name="image")
    inputs = {
        "serving_default": image,
        "predict_pixels": tf.TensorSpec((None, math.prod(shape)), tf.int32, name="pixels"),
        "predict_encoded": tf.TensorSpec((None,), tf.string, name="image_bytes"),
        "predict_examples": tf.TensorSpec((None,), tf.string, name="examples"),
    }
    if endpoints.encoder is not None:
        inputs["encode"] = image
    # Not a keras.export.ExportArchive: it keeps functions beside the signatures, and traces each of
    # them twice.
    servable = tf.Module()
    servable.weights = [variable.value for variable in model.variables]
    signatures = {
        name: tf.function(
            getattr(endpoints, name), input_signature=[spec], autograph=False
        ).get_concrete_function()
        for name, spec in inputs.items()
    }
    tf.saved_model.save(servable, str(path), signatures)
    write_warmup_requests(pathlib.Path(path), shape, warmup_pixels)


class _Endpoints:
    """A method for each signature, from its input to its outputs by name, as a graph.

    Args:
      model: Noisy float32 (N, H, W, C) in [0, 1] to denoised, the same shape.
      encoder: The same to its code; None: it has none.
      shape: (H, W, C).
    """

    def __init__(
        self, model: keras.Model, encoder: keras.Model | None, shape: tuple[int, int, int]
    ):
        self.encoder = encoder
        self.image_shape: tuple[int | None, ...] = shape
        self._model = model
        self._shape = shape
        self._pixels = math.prod(shape)

    def serving_default(self, image: Any) -> dict[str, Any]:
        return {"denoised": self._denoise(self._checked(image))}

    def predict_pixels(self, pixels: Any) -> dict[str, Any]:
        import tensorflow as tf

        denoised = quantise(self._from_pixels(_sized("pixels", pixels, (self._pixels,))))
        return {"denoised": tf.reshape(denoised, (-1, self._pixels))}

    def predict_encoded(self, image_bytes: Any) -> dict[str, Any]:
        import tensorflow as tf

        pixels = read_batch_in_graph(image_bytes, self._shape)
        denoised = tf.cast(quantise(self._denoise(normalise(pixels, self._shape))), tf.uint8)
        return {"denoised_bytes": tf.io.encode_png(denoised)}

    def predict_examples(self, examples: Any) -> dict[str, Any]:
        import tensorflow as tf

        features = {"image": tf.io.FixedLenFeature((self._pixels,), tf.int64)}
        return {"denoised": self._from_pixels(tf.io.parse_example(examples, features)["image"])}

    def encode(self, image: Any) -> dict[str, Any]:
        import tensorflow as tf

        return {"code": tf.cast(self._of_a_batch(self.encoder, self._checked(image)), tf.float32)}

    @functools.cached_property
    def _denoise(self) -> Any:
        """From float32 (N, H, W, C) to the same: one graph, which the signatures share."""
        import tensorflow as tf

        def denoise(images: Any) -> Any:
            return tf.clip_by_value(self._of_a_batch(self._model, images), 0.0, 1.0)

        images = tf.TensorSpec((None, *self.image_shape), tf.float32, name="images")
        return tf.function(denoise, input_signature=[images], autograph=False)

    def _of_a_batch(self, network: Any, images: Any) -> Any:
        """What a network makes of any number of images, none too."""
        import tensorflow as tf

        # Convolutions of a batch of no image fail, or answer with another shape: it gets one
        # black image, whose answer is left out.
        number = tf.shape(images)[0]
        filled = tf.pad(images, [[0, tf.cast(number == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        return network(tf.ensure_shape(filled, (None, *self.image_shape)), training=False)[:number]

    def _checked(self, images: Any) -> Any:
        images = _sized("image", images, self._shape)
        expected = "image: expected values in [0, 1]. For pixels 0-255 call predict_pixels."
        return _in_range(images, 0.0, 1.0, expected)

    def _from_pixels(self, pixels: Any) -> Any:
        pixels = _in_range(pixels, 0, MAX_PIXEL, "pixels: expected integers from 0 to 255.")
        return self._denoise(normalise(pixels, self._shape))


class _AnySize(_Endpoints):
    """The same for a model of any size."""

    def __init__(
        self, model: keras.Model, encoder: keras.Model | None, shape: tuple[int, int, int]
    ):
        super().__init__(model, encoder, shape)
        self.image_shape = (None, None, shape[-1])

    def predict_encoded(self, image_bytes: Any) -> dict[str, Any]:
        import tensorflow as tf

        def one(encoded: Any) -> Any:
            with tf.control_dependencies([_few_pixels("image_bytes", size_in_head(encoded))]):
                image = read_in_graph(tf.identity(encoded), self._shape[-1])
            images = tf.cast(image, tf.float32)[None] * (1 / MAX_PIXEL)
            return tf.io.encode_png(tf.cast(quantise(self._denoise(images))[0], tf.uint8))

        spec = tf.TensorSpec((), tf.string)
        # One after the other: each may be large.
        encoded = tf.map_fn(one, image_bytes, fn_output_signature=spec, parallel_iterations=1)
        return {"denoised_bytes": encoded}

    def predict_examples(self, examples: Any) -> dict[str, Any]:
        import tensorflow as tf

        denoised = super().predict_examples(examples)["denoised"]
        return {"denoised": tf.ensure_shape(denoised, (None, *self._shape))}

    def _of_a_batch(self, network: Any, images: Any) -> Any:
        import tensorflow as tf

        number, height, width = (tf.shape(images)[axis] for axis in range(3))
        step = tf.maximum(1, _PIXELS_AT_ONCE // (height * width))
        parts = tf.maximum(1, (number + step - 1) // step)
        of_a_batch = super()._of_a_batch

        def compute(index: Any, results: Any) -> Any:
            part = images[index * step : (index + 1) * step]
            return index + 1, results.write(index, of_a_batch(network, part))

        results = tf.TensorArray(tf.float32, parts, infer_shape=False)
        _, results = tf.while_loop(
            lambda index, _: index < parts, compute, (0, results), parallel_iterations=1
        )
        return tf.ensure_shape(results.concat(), (None, *self.image_shape))

    def _checked(self, images: Any) -> Any:
        import tensorflow as tf

        channels = self.image_shape[-1]
        found = tf.shape(images)
        expected = f"image: expected shape (N, height, width, {channels}), found"
        # Filled up, so that sizes can be compared whatever their number.
        sizes = tf.concat([found, -tf.ones(5, tf.int32)], axis=0)[1:5]
        right = tf.reduce_all(tf.equal(sizes[2:], (channels, -1)))
        right &= tf.reduce_all(sizes[:2] > 0)
        with tf.control_dependencies([tf.debugging.Assert(right, [expected, found], summarize=8)]):
            size = tf.identity(sizes[:2])
        with tf.control_dependencies([_few_pixels("image", size)]):
            images = tf.identity(images)
        expected = "image: expected values in [0, 1]."
        return _in_range(images, 0.0, 1.0, expected)


def _few_pixels(name: str, size: Any) -> Any:
    """Makes sure that an image is not too large, before it takes memory.

    Args:
      size: int32 (2,), height and width.
    """
    import tensorflow as tf

    few = tf.reduce_prod(tf.cast(size, tf.int64)) <= MAX_PIXELS
    expected = (
        f"{name}: expected {MAX_PIXELS} pixels in an image at most (a larger one goes in tiles, "
        "as DenoiseClient sends it), found height and width"
    )
    return tf.debugging.Assert(few, [expected, size])


def _sized(name: str, values: Any, each: tuple[int, ...]) -> Any:
    """The values, once it is sure that each of them has the size that it should.

    TF Serving does not compare an input with its signature: without this, images of 27x28 would
    be answered as 28x28, and 784 rows of one pixel as one image.
    """
    import tensorflow as tf

    found = tf.shape(values)
    # Filled up, so that sizes can be compared whatever their number. (The rank is that of the
    # signature, for TensorFlow.)
    ends = -tf.ones(len(each) + 2, tf.int32)
    sizes = tf.concat([found, ends], axis=0)[1 : len(each) + 2]
    same = tf.reduce_all(tf.equal(sizes, (*each, -1)))
    expected = f"{name}: expected shape (N, {', '.join(map(str, each))}), found"
    failed = tf.debugging.Assert(same, [expected, found], summarize=8)
    with tf.control_dependencies([failed]):
        return tf.identity(values)


def _in_range(values: Any, least: float, greatest: float, expected: str) -> Any:
    """The values, once it is sure that each of them is in range."""
    import tensorflow as tf

    in_range = tf.reduce_all((values >= least) & (values <= greatest))
    with tf.control_dependencies([tf.debugging.Assert(in_range, [expected])]):
        return tf.identity(values)
