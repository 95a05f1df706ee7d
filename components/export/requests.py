"""A request for each signature, and those that a server replays before it answers others."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from components.base.places import SERVABLE
from components.image.pixels import normalise_array

if TYPE_CHECKING:
    import numpy as np

WARMUP_FILE = pathlib.PurePosixPath("assets.extra/tf_serving_warmup_requests")
"""Where TF Serving looks for requests to replay before a version becomes available
(tensorflow_serving/servables/tensorflow/saved_model_warmup_util.h)."""


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


def write_warmup_requests(
    path: pathlib.Path, shape: tuple[int, int, int], pixels: np.ndarray
) -> None:
    """Writes WARMUP_FILE into a SavedModel: of each signature, one image and all of them.

    Args:
      path: The SavedModel folder.
      shape: (H, W, C).
      pixels: uint8, (N, H*W*C).
    """
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
