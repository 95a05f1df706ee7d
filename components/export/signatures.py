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
"""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING, Any

from components.base.places import SERVABLE
from components.image.pixels import MAX_PIXEL, normalise, normalise_array, quantise
from components.image.reader import read_in_graph

if TYPE_CHECKING:
    import keras
    import numpy as np

SIGNATURES = ("serving_default", "predict_pixels", "predict_encoded", "predict_examples")
WARMUP_FILE = pathlib.PurePosixPath("assets.extra/tf_serving_warmup_requests")
"""Where TF Serving looks for requests to replay before a version becomes available
(tensorflow_serving/servables/tensorflow/saved_model_warmup_util.h)."""


def export_servable(
    model: keras.Model,
    path: str | pathlib.Path,
    shape: tuple[int, int, int],
    warmup_pixels: np.ndarray,
) -> None:
    """Writes a model as a SavedModel with all signatures and warm-up requests.

    Args:
      model: Noisy float32 (N, H, W, C) in [0, 1] to denoised, the same shape. Its outputs
        are clipped to [0, 1] here, whatever its last activation.
      path: The folder to write.
      shape: (H, W, C).
      warmup_pixels: uint8, (N, H*W*C): real images for the warm-up requests; the first is
        sent alone and all of them as one batch.
    """
    import keras
    import tensorflow as tf

    from components import models

    height, width, channels = shape
    number_of_pixels = height * width * channels

    def of_a_batch(network: Any, images: Any) -> Any:
        # Convolutions of a batch of no image fail, or answer with another shape: it gets one
        # black image, whose answer is left out.
        number = tf.shape(images)[0]
        filled = tf.pad(images, [[0, tf.cast(number == 0, tf.int32)], [0, 0], [0, 0], [0, 0]])
        return network(tf.ensure_shape(filled, (None, *shape)), training=False)[:number]

    def denoise(images: Any) -> Any:
        return tf.clip_by_value(of_a_batch(model, images), 0.0, 1.0)

    def sized(name: str, values: Any, each: tuple[int, ...]) -> Any:
        # TF Serving does not compare an input with its signature: without this, images of
        # 27x28 would be answered as 28x28, and 784 rows of one pixel as one image.
        found = tf.shape(values)
        same_rank = tf.equal(tf.rank(values), len(each) + 1)
        # Filled up, so that sizes can be compared whatever their number.
        sizes = tf.concat([found, tf.zeros(len(each) + 1, tf.int32)], axis=0)[1 : len(each) + 1]
        same = same_rank & tf.reduce_all(tf.equal(sizes, each))
        expected = f"{name}: expected shape (N, {', '.join(map(str, each))}), found"
        failed = tf.debugging.Assert(same, [expected, found], summarize=8)
        with tf.control_dependencies([failed]):
            return tf.identity(values)

    def checked(images: Any) -> Any:
        images = sized("image", images, shape)
        in_range = tf.reduce_all((images >= 0.0) & (images <= 1.0))
        expected = "image: expected values in [0, 1]. For pixels 0-255 call predict_pixels."
        with tf.control_dependencies([tf.debugging.Assert(in_range, [expected])]):
            return tf.identity(images)

    def serving_default(image: Any) -> dict[str, Any]:
        return {"denoised": denoise(checked(image))}

    def from_pixels(pixels: Any) -> Any:
        in_range = tf.reduce_all((pixels >= 0) & (pixels <= MAX_PIXEL))
        expected = "pixels: expected integers from 0 to 255."
        with tf.control_dependencies([tf.debugging.Assert(in_range, [expected])]):
            return denoise(normalise(pixels, shape))

    def predict_pixels(pixels: Any) -> dict[str, Any]:
        denoised = quantise(from_pixels(sized("pixels", pixels, (number_of_pixels,))))
        return {"denoised": tf.reshape(denoised, (-1, number_of_pixels))}

    def decode(encoded: Any) -> Any:
        image = read_in_graph(encoded, channels)
        expected = f"image_bytes: expected a PNG or JPEG of {width}x{height} pixels, found shape"
        right_size = tf.reduce_all(tf.equal(tf.shape(image), shape))
        with tf.control_dependencies(
            [tf.debugging.Assert(right_size, [expected, tf.shape(image)])]
        ):
            return tf.reshape(image, (number_of_pixels,))

    def predict_encoded(image_bytes: Any) -> dict[str, Any]:
        pixels = tf.map_fn(
            decode,
            image_bytes,
            fn_output_signature=tf.TensorSpec((number_of_pixels,), tf.uint8),
        )
        denoised = tf.cast(quantise(denoise(normalise(pixels, shape))), tf.uint8)
        encoded = tf.map_fn(
            tf.io.encode_png, denoised, fn_output_signature=tf.TensorSpec((), tf.string)
        )
        return {"denoised_bytes": encoded}

    def predict_examples(examples: Any) -> dict[str, Any]:
        features = {"image": tf.io.FixedLenFeature((number_of_pixels,), tf.int64)}
        return {"denoised": from_pixels(tf.io.parse_example(examples, features)["image"])}

    archive = keras.export.ExportArchive()
    archive.track(model)
    image_spec = tf.TensorSpec((None, *shape), tf.float32, name="image")
    endpoints = {
        serving_default: image_spec,
        predict_pixels: tf.TensorSpec((None, number_of_pixels), tf.int32, name="pixels"),
        predict_encoded: tf.TensorSpec((None,), tf.string, name="image_bytes"),
        predict_examples: tf.TensorSpec((None,), tf.string, name="examples"),
    }
    encoder = models.encoder(model)
    if encoder is not None:

        def encode(image: Any) -> dict[str, Any]:
            return {"code": tf.cast(of_a_batch(encoder, checked(image)), tf.float32)}

        archive.track(encoder)
        endpoints[encode] = image_spec
    for function, spec in endpoints.items():
        archive.add_endpoint(function.__name__, function, input_signature=[spec])
    archive.write_out(str(path), verbose=False)
    _write_warmup_requests(pathlib.Path(path), shape, warmup_pixels)


def requests(pixels: np.ndarray, shape: tuple[int, int, int]) -> dict[str, dict[str, np.ndarray]]:
    """The same images as an input of each signature.

    Args:
      pixels: uint8, (N, H*W*C).
      shape: (H, W, C).

    Returns:
      By signature, the input arrays by name.
    """
    import numpy as np
    import tensorflow as tf

    images = pixels.reshape(-1, *shape)
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"image": tf.train.Feature(int64_list=tf.train.Int64List(value=row))}
            )
        ).SerializeToString()
        for row in pixels
    ]
    return {
        "serving_default": {"image": normalise_array(pixels, shape)},
        "predict_pixels": {"pixels": pixels.astype(np.int32)},
        "predict_encoded": {
            "image_bytes": np.array(
                [tf.io.encode_png(image).numpy() for image in images], dtype=object
            )
        },
        "predict_examples": {"examples": np.array(examples, dtype=object)},
    }


def _write_warmup_requests(
    path: pathlib.Path, shape: tuple[int, int, int], pixels: np.ndarray
) -> None:
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    file = path / WARMUP_FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for batch in (pixels[:1], pixels):
            for signature, inputs in requests(batch, shape).items():
                request = predict_pb2.PredictRequest()
                request.model_spec.name = SERVABLE
                request.model_spec.signature_name = signature
                for name, values in inputs.items():
                    request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
                log = prediction_log_pb2.PredictionLog(
                    predict_log=prediction_log_pb2.PredictLog(request=request)
                )
                writer.write(log.SerializeToString())
