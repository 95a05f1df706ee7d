"""A model.tflite in a version's folder, with --prefer_tflite_model."""

from __future__ import annotations

import threading

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from flatbuffers import flexbuffers
from tensorflow.core.protobuf import meta_graph_pb2
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


def test_a_version_is_retained_while_it_computes(base_path, monkeypatch):
    """By the event loop, which would keep everybody waiting for the call to end."""
    servable = TfliteServable("half", 1, base_path / "00000001")
    computing, go_on = threading.Event(), threading.Event()

    class Slow:
        def resize_tensor_input(self, *_): ...
        def allocate_tensors(self): ...
        def set_tensor(self, *_): ...
        def get_tensor(self, _): ...

        def invoke(self):
            computing.set()
            assert go_on.wait(60)

    monkeypatch.setattr(servable, "_interpreter", Slow())
    [signature] = servable.signatures.values()
    inputs = {info.name: np.float32([[1]]) for info in signature.inputs.values()}
    call = threading.Thread(target=servable.run, args=(inputs, ()))
    retain = threading.Thread(target=servable.retain, daemon=True)
    try:
        call.start()
        assert computing.wait(60)
        retain.start()
        retain.join(10)
        assert not retain.is_alive()
    finally:
        go_on.set()
    call.join()


def noted(content: bytes, metadata: bytes) -> bytes:
    """A model with a `signature_defs_metadata`."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(content))
    model.signatureDefs = None
    model.buffers.append(schema.BufferT())
    model.buffers[-1].data = np.frombuffer(metadata, np.uint8)
    entry = schema.MetadataT()
    entry.name, entry.buffer = b"signature_defs_metadata", len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_signatures_that_a_tool_wrote_into_the_metadata(base_path, tmp_path):
    """tensorflow/lite/tools/signature: names as TensorFlow has them, with `:0`."""
    plain = TfliteServable("half", 1, base_path / "00000001")
    [signature] = plain.signatures.values()
    plain.close()
    own = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for infos, alias, given in (
        (own.inputs, "in", signature.inputs["x"]),
        (own.outputs, "out", signature.outputs["y"]),
    ):
        infos[alias].CopyFrom(given)
        infos[alias].name += "" if given.name.endswith(":0") else ":0"
        infos[alias].ClearField("tensor_shape")  # flexbuffers takes text, and -1 is none
    content = (base_path / "00000001" / "model.tflite").read_bytes()
    metadata = flexbuffers.Dumps({"other": own.SerializeToString().decode()})
    (tmp_path / "model.tflite").write_bytes(noted(content, bytes(metadata)))
    servable = TfliteServable("half", 1, tmp_path)
    [(name, found)] = servable.signatures.items()
    assert (name, list(found.inputs), list(found.outputs)) == ("other", ["in"], ["out"])
    values = {found.inputs["in"].name: np.float32([[2.0]])}
    np.testing.assert_array_equal(servable.run(values, (found.outputs["out"].name,)), [[[3.0]]])
    servable.close()

    own.inputs["in"].name = "absent"
    wrong = flexbuffers.Dumps({"other": own.SerializeToString().decode()})
    for metadata, message in ((wrong, "unknown tensor absent"), (b"\xff\xff", "Invalid Sig")):
        (tmp_path / "model.tflite").write_bytes(noted(content, bytes(metadata)))
        with pytest.raises(StatusError, match=message):
            TfliteServable("half", 1, tmp_path)


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
