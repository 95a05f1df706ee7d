"""A model.tflite in a version's folder, with --prefer_tflite_model."""

from __future__ import annotations

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from serving.models.tflite import TfliteServable
from serving.protocol.codes import StatusError
from serving.server.running import parse_flags, running_server


def half_plus_two(x):
    return {"y": x / 2 + 2}


@pytest.fixture(scope="module")
def base_path(tmp_path_factory):
    """Version 1 is a model.tflite alone; 2 a SavedModel alone, of x/2 + 3."""
    folder = tmp_path_factory.mktemp("tflite")
    spec = tf.TensorSpec((None, 1), tf.float32, name="x")
    module = tf.Module()
    module.f = tf.function(half_plus_two, input_signature=[spec])
    concrete = module.f.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], module)
    (folder / "00000001").mkdir()
    (folder / "00000001" / "model.tflite").write_bytes(converter.convert())
    other = tf.Module()
    other.f = tf.function(lambda x: {"y": x / 2 + 3}, input_signature=[spec])
    tf.saved_model.save(other, str(folder / "2"), signatures=other.f.get_concrete_function())
    return folder


def test_calls_of_any_batch(base_path):
    servable = TfliteServable("half", 1, base_path / "00000001")
    [(name, signature)] = servable.signatures.items()
    [x], [y] = signature.inputs.values(), signature.outputs.values()
    assert name == "serving_default"
    for values in ([[2.0]], [[2.0], [4.0]], [[6.0]]):
        [answer] = servable.run({x.name: np.float32(values)}, (y.name,))
        np.testing.assert_array_equal(answer, np.float32(values) / 2 + 2)
    with pytest.raises(StatusError):
        servable.run({x.name: np.array([[b"a"]], object)}, (y.name,))
    servable.close()


def test_what_is_no_model(tmp_path):
    (tmp_path / "model.tflite").write_bytes(b"TFL3")
    with pytest.raises(StatusError, match=r"model\.tflite"):
        TfliteServable("half", 1, tmp_path)


def test_the_server_prefers_it_and_takes_a_saved_model_else(base_path):
    flags = ["--prefer_tflite_model=true", "--model_name=half", f"--model_base_path={base_path}"]
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "half"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.float32([[2]])))
    for last, expected in ((1, 3.0), (2, 4.0)):
        if last == 1:
            (base_path / "2").rename(base_path.parent / "away")
        else:
            (base_path.parent / "away").rename(base_path / "2")
        with running_server(parse_flags(flags, port=0, rest_api_port=0)) as addresses:
            with grpc.insecure_channel(addresses.grpc.partition("://")[2]) as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
                answer = stub.Predict(request)
            assert answer.model_spec.version.value == last
            [output] = answer.outputs.values()
            assert list(output.float_val) == [expected]
            body = {"instances": [[2.0]]}
            answer = httpx.post(f"{addresses.rest}/v1/models/half:predict", json=body)
            assert answer.json() == {"predictions": [[expected]]}
