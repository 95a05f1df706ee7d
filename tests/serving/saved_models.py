"""Small SavedModels for the serving tests, and for a real TF Serving to run them against.

    python -m tests.serving.saved_models DIR

writes them with a models.config; then start `tensorflow_model_server
--model_config_file=DIR/models.config --rest_api_port=8501
--allow_version_labels_for_unavailable_models --max_num_load_retries=0`, and run the tests
with TF_SERVING_URL=grpc://localhost:8500,http://localhost:8501.
"""

from __future__ import annotations

import pathlib
import sys

import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

HEIGHT, WIDTH, CHANNELS = 4, 6, 1
PIXELS = HEIGHT * WIDTH * CHANNELS


def write_denoiser(path: pathlib.Path, factor: float = 0.5, warm: bool = True) -> None:
    """A servable with the denoiser's signatures that multiplies each pixel by `factor`."""
    module = tf.Module()
    module.factor = tf.Variable(factor, dtype=tf.float32)

    @tf.function(
        input_signature=[tf.TensorSpec((None, HEIGHT, WIDTH, CHANNELS), tf.float32, name="image")]
    )
    def serving_default(image):
        return {"denoised": image * module.factor, "mean": tf.reduce_mean(image, axis=(1, 2, 3))}

    def from_pixels(pixels):
        in_range = tf.reduce_all((pixels >= 0) & (pixels <= 255))
        message = "pixels: expected integers from 0 to 255."
        with tf.control_dependencies([tf.debugging.Assert(in_range, [message])]):
            return tf.cast(tf.round(tf.cast(pixels, tf.float32) * module.factor), tf.int32)

    @tf.function(input_signature=[tf.TensorSpec((None, PIXELS), tf.int32, name="pixels")])
    def predict_pixels(pixels):
        return {"denoised": from_pixels(pixels)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="image_bytes")])
    def predict_encoded(image_bytes):
        def one(encoded):
            image = tf.io.decode_image(encoded, channels=CHANNELS, expand_animations=False)
            right = tf.reduce_all(tf.equal(tf.shape(image), (HEIGHT, WIDTH, CHANNELS)))
            message = f"image_bytes: expected {WIDTH}x{HEIGHT} pixels, found shape"
            with tf.control_dependencies([tf.debugging.Assert(right, [message, tf.shape(image)])]):
                denoised = from_pixels(tf.cast(image, tf.int32))
            return tf.io.encode_png(
                tf.cast(tf.reshape(denoised, (HEIGHT, WIDTH, CHANNELS)), tf.uint8)
            )

        return {"denoised_bytes": tf.map_fn(one, image_bytes)}

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.string, name="examples")])
    def predict_examples(examples):
        features = {"image": tf.io.FixedLenFeature((PIXELS,), tf.int64)}
        pixels = tf.io.parse_example(examples, features)["image"]
        image = tf.reshape(tf.cast(pixels, tf.float32) / 255, (-1, HEIGHT, WIDTH, CHANNELS))
        return {"denoised": image * module.factor}

    signatures = [serving_default, predict_pixels, predict_encoded, predict_examples]
    tf.saved_model.save(
        module, str(path), signatures={f.__name__: f.get_concrete_function() for f in signatures}
    )
    if warm:
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "denoiser"
        request.model_spec.signature_name = "predict_pixels"
        pixels = [[10 * row + column for column in range(PIXELS)] for row in range(3)]
        request.inputs["pixels"].CopyFrom(tf.make_tensor_proto(pixels, tf.int32))
        write_warmup(path, request)


def write_warmup(path: pathlib.Path, *requests: predict_pb2.PredictRequest) -> None:
    """Records requests to be replayed when the model is loaded."""
    file = path / "assets.extra" / "tf_serving_warmup_requests"
    file.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in requests:
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())


def write_half_plus(path: pathlib.Path) -> None:
    """TF Serving's half_plus_two: x/2 + 2 of tf.Examples with a float `x`, as classification,
    regression (also + 3) and predict signatures."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, (None,), name="tf_example")
        spec = {"x": tf.io.FixedLenFeature((1,), tf.float32)}
        x = tf.identity(tf.io.parse_example(examples, spec)["x"], name="x")
        a = v1.get_variable("a", initializer=0.5, use_resource=True)
        two, three = a * x + 2.0, a * x + 3.0
        classes = tf.where(
            two > 3.0, tf.fill(tf.shape(two), "big"), tf.fill(tf.shape(two), "small")
        )
        session.run(v1.global_variables_initializer())
        info = v1.saved_model.build_tensor_info

        def signature(inputs, outputs, method):
            return v1.saved_model.build_signature_def(
                {name: info(tensor) for name, tensor in inputs.items()},
                {name: info(tensor) for name, tensor in outputs.items()},
                f"tensorflow/serving/{method}",
            )

        builder = v1.saved_model.Builder(str(path))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": signature({"x": x}, {"y": two}, "predict"),
                "classify": signature(
                    {"inputs": examples}, {"classes": classes, "scores": two}, "classify"
                ),
                "regress": signature({"inputs": examples}, {"outputs": two}, "regress"),
                "regress_three": signature({"inputs": examples}, {"outputs": three}, "regress"),
            },
        )
        builder.save()


def write_two_tasks(path: pathlib.Path) -> None:
    """A TF2 SavedModel of x/2 + 2 and x/2 + 3, whose signatures have each an input of their own;
    `serving_default` takes what its graph takes, whatever shape it declares."""
    module = tf.Module()
    strings = tf.TensorSpec((None,), tf.string, name="inputs")

    def half(examples):
        spec = {"x": tf.io.FixedLenFeature((1,), tf.float32)}
        return tf.io.parse_example(examples, spec)["x"] / 2

    @tf.function(input_signature=[strings])
    def classify(inputs):
        return {"scores": half(inputs) + 2}

    @tf.function(input_signature=[strings])
    def regress(inputs):
        return {"outputs": half(inputs) + 3}

    @tf.function(input_signature=[tf.TensorSpec((None, 1), tf.float32, name="x")])
    def serving_default(x):
        return {"y": x / 2 + 2}

    signatures = {f.__name__: f for f in (classify, regress, serving_default)}
    tf.saved_model.save(module, str(path), signatures=signatures)


def write_all(folder: pathlib.Path) -> pathlib.Path:
    """The models of the conformance tests; returns their models.config."""
    write_denoiser(folder / "denoiser" / "1", 0.25)
    write_denoiser(folder / "denoiser" / "2", 0.5)
    write_half_plus(folder / "half_plus" / "1")
    write_two_tasks(folder / "two_tasks" / "1")
    config = folder / "models.config"
    config.write_text(
        f"""
        model_config_list {{
          config {{
            name: "denoiser"
            base_path: "{folder}/denoiser"
            model_platform: "tensorflow"
            model_version_policy {{ all {{}} }}
            version_labels {{ key: "stable" value: 1 }}
            version_labels {{ key: "canary" value: 2 }}
          }}
          config {{
            name: "half_plus"
            base_path: "{folder}/half_plus"
            model_platform: "tensorflow"
          }}
          config {{
            name: "two_tasks"
            base_path: "{folder}/two_tasks"
            model_platform: "tensorflow"
          }}
        }}
        """
    )
    return config


if __name__ == "__main__":
    print(write_all(pathlib.Path(sys.argv[1]).absolute()))
