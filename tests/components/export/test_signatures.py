"""The exported SavedModel itself, run as the stock server runs it: no check around the graph."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from components import models
from components.export.requests import requests
from components.export.signatures import SIGNATURES, export_servable
from serving.models.servable import Servable

SHAPE = (28, 28, 1)
MODELS = {
    "unet": {"widths": [4, 4], "mixer_blocks": 1},
    "strided_cae": {},
    "windsor_cnn": {},
    "windsor_cae": {},
}


@pytest.fixture(scope="module", params=MODELS)
def exported(request, tmp_path_factory):
    path = tmp_path_factory.mktemp(request.param) / "1"
    model = models.build(request.param, SHAPE, **MODELS[request.param])
    random = np.random.default_rng(1)
    # Untrained, the last layer may be zero: a wrong answer would look like a right one.
    for weight in model.weights:
        if "variance" not in weight.path:
            weight.assign(random.normal(0, 0.1, weight.shape))
    export_servable(model, path, SHAPE, np.zeros((2, 784), np.uint8))
    return model, path


@pytest.fixture(scope="module")
def servable(exported):
    servable = Servable("denoiser", 1, exported[1])
    yield servable
    servable.close()


@pytest.fixture(scope="module")
def core_operations():
    """Every operation TensorFlow alone registers: no other package has been imported there."""
    program = (
        "from tensorflow.core.framework import op_def_pb2\n"
        "from tensorflow.python.client import pywrap_tf_session as session\n"
        "ops = op_def_pb2.OpList.FromString(session.TF_GetBuffer(session.TF_GetAllOpList()))\n"
        "print(*(op.name for op in ops.op))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    # Those that call back into the Python process that made them, which a server is not.
    return {name for name in done.stdout.split() if "PyFunc" not in name}


def ask(servable, signature, values):
    definition = servable.signatures[signature]
    (feed,) = (info.name for info in definition.inputs.values())
    names = tuple(info.name for info in definition.outputs.values())
    answers = servable.run({feed: values}, names)
    return dict(zip(definition.outputs, answers, strict=True))


def test_core_operations_only(exported, core_operations):
    assert {"Conv2D", "MatMul", "Assert"} <= core_operations
    path = pathlib.Path(exported[1], "saved_model.pb")
    (graph,) = saved_model_pb2.SavedModel.FromString(path.read_bytes()).meta_graphs
    nodes = [*graph.graph_def.node]
    for function in graph.graph_def.library.function:
        nodes += function.node_def
    own = {function.signature.name for function in graph.graph_def.library.function}
    assert {node.op for node in nodes} - own <= core_operations


def test_the_network_is_there_once(exported):
    """What a server loads, and how long it takes to: each signature held its own, twice."""
    model, path = exported
    saved = saved_model_pb2.SavedModel.FromString((path / "saved_model.pb").read_bytes())
    functions = saved.meta_graphs[0].graph_def.library.function
    found = [node.op for function in functions for node in function.node_def]
    networks = [model] if models.encoder(model) is None else [model, models.encoder(model)]
    layers = [layer for network in networks for layer in network.layers]
    of_kind = [isinstance(layer, keras.layers.Conv2D) for layer in layers]
    assert sum(of_kind) > 0
    assert found.count("Conv2D") == sum(of_kind)


def test_keras_reads_it(exported):
    """As https://keras.io/api/layers/backend_specific_layers/tfsm_layer/ has it."""
    model, path = exported
    images = np.random.default_rng(2).random((3, *SHAPE), np.float32)
    answer = keras.layers.TFSMLayer(path, call_endpoint="serving_default")(images)["denoised"]
    np.testing.assert_allclose(answer, np.clip(model(images), 0, 1), atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
def test_the_batch_is_free_and_all_signatures_agree(exported, servable, count):
    model, _ = exported
    pixels = np.random.default_rng(2).integers(0, 256, (count, 784), np.uint8)
    images = pixels.reshape(-1, *SHAPE).astype(np.float32) / np.float32(255)
    expected = np.clip(model(images, training=False), 0, 1)
    answers = {
        name: ask(servable, name, *v.values()) for name, v in requests(pixels, SHAPE).items()
    }
    assert set(answers) == set(SIGNATURES)
    for name in ("serving_default", "predict_examples"):
        np.testing.assert_allclose(answers[name]["denoised"], expected, atol=1e-5)
    rounded = np.rint(expected * 255).reshape(count, -1)
    assert np.abs(answers["predict_pixels"]["denoised"] - rounded).max() <= 1
    decoded = [
        tf.io.decode_png(png).numpy() for png in answers["predict_encoded"]["denoised_bytes"]
    ]
    assert np.abs(np.reshape(decoded, (count, -1)).astype(int) - rounded).max() <= 1


def test_a_batch_of_no_image_is_answered_by_no_image(servable):
    empty = np.zeros((0, 784), np.uint8)
    for name, inputs in requests(empty, SHAPE).items():
        [answer] = ask(servable, name, *inputs.values()).values()
        assert len(answer) == 0, name
    [image] = ask(servable, "serving_default", np.zeros((0, *SHAPE), np.float32)).values()
    assert image.shape == (0, *SHAPE)
    if "encode" in servable.signatures:
        [code] = ask(servable, "encode", np.zeros((0, *SHAPE), np.float32)).values()
        assert len(code) == 0


def test_encode_gives_the_code(exported, servable):
    model, _ = exported
    encoder = models.encoder(model)
    assert ("encode" in servable.signatures) == (encoder is not None)
    if encoder is not None:
        images = np.random.default_rng(3).random((2, *SHAPE), np.float32)
        code = ask(servable, "encode", images)["code"]
        np.testing.assert_allclose(code, encoder(images, training=False), atol=1e-5)
        with pytest.raises(
            tf.errors.InvalidArgumentError, match=r"expected shape \(N, 28, 28, 1\)"
        ):
            ask(servable, "encode", images[:, 1:])


@pytest.mark.parametrize(
    ("signature", "shape", "dtype", "expected"),
    [
        ("serving_default", (2, 27, 28, 1), np.float32, r"image: expected shape \(N, 28, 28, 1\)"),
        ("serving_default", (2, 28, 28, 3), np.float32, r"image: expected shape \(N, 28, 28, 1\)"),
        ("serving_default", (2, 28, 28), np.float32, r"image: expected shape \(N, 28, 28, 1\)"),
        ("serving_default", (), np.float32, r"image: expected shape \(N, 28, 28, 1\)"),
        # As many values as an image has: not to be taken for one.
        ("predict_pixels", (784, 1), np.int32, r"pixels: expected shape \(N, 784\)"),
        (
            "serving_default",
            (2, 28, 28, 1, 2),
            np.float32,
            r"image: expected shape \(N, 28, 28, 1\)",
        ),
        ("predict_pixels", (2, 784, 2), np.int32, r"pixels: expected shape \(N, 784\)"),
        ("predict_pixels", (2, 783), np.int32, r"pixels: expected shape \(N, 784\)"),
        ("predict_pixels", (784,), np.int32, r"pixels: expected shape \(N, 784\)"),
    ],
)
def test_a_wrong_size_is_told_what_was_expected(servable, signature, shape, dtype, expected):
    with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
        ask(servable, signature, np.zeros(shape, dtype))


def test_wrong_values_are_told_what_was_expected(servable):
    refused = {
        "serving_default": (np.full((1, *SHAPE), 255, np.float32), r"expected values in \[0, 1\]"),
        "predict_pixels": (np.full((1, 784), 256, np.int32), "expected integers from 0 to 255"),
        "predict_encoded": (
            np.array([tf.io.encode_png(np.zeros((27, 28, 1), np.uint8)).numpy()], object),
            "expected a PNG or JPEG of 28x28 pixels",
        ),
    }
    for signature, (values, expected) in refused.items():
        with pytest.raises(tf.errors.InvalidArgumentError, match=expected):
            ask(servable, signature, values)
    with pytest.raises(tf.errors.InvalidArgumentError):
        ask(servable, "predict_encoded", np.array([b"no image"], object))
    with pytest.raises(tf.errors.InvalidArgumentError):
        ask(servable, "predict_examples", np.array([b"no example"], object))
    nan = np.full((1, *SHAPE), np.nan, np.float32)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"expected values in \[0, 1\]"):
        ask(servable, "serving_default", nan)
