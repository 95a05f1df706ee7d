"""What a client of TF Serving relies on: the same tests against ours and the real one."""

from __future__ import annotations

import base64
import gzip
import io
import json
import math
import time

import grpc
import httpx
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    get_model_status_pb2,
    inference_pb2,
    model_management_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2_grpc,
    regression_pb2,
)

from tests.serving.saved_models import CHANNELS, HEIGHT, PIXELS, WIDTH, write_denoiser

SHAPE = (HEIGHT, WIDTH, CHANNELS)
Code = grpc.StatusCode


@pytest.fixture(scope="module")
def stub(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def model_stub(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


@pytest.fixture(scope="module")
def rest(target):
    with httpx.Client(base_url=target.rest, timeout=30) as client:
        yield client


def images(number: int = 2) -> np.ndarray:
    return np.linspace(0, 1, number * PIXELS, dtype=np.float32).reshape(number, *SHAPE)


def predict_request(signature: str = "", model: str = "denoiser", **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    for name, values in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(values))
    return request


def example(x: float) -> tf.train.Example:
    feature = tf.train.Feature(float_list=tf.train.FloatList(value=[x]))
    return tf.train.Example(features=tf.train.Features(feature={"x": feature}))


def error_of(call, *args, **kwargs) -> tuple[Code, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call(*args, **kwargs)
    return raised.value.code(), raised.value.details()


# Predict over gRPC.


def test_predict_answers_with_values_and_who_answered(stub):
    response = stub.Predict(predict_request(image=images()))
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["denoised"]), images() / 2)
    assert response.model_spec.name == "denoiser"
    assert response.model_spec.version.value == 2
    assert response.model_spec.signature_name == "serving_default"
    # Many clients read the field by name.
    np.testing.assert_allclose(response.outputs["denoised"].float_val, images().ravel() / 2)
    assert [dim.size for dim in response.outputs["denoised"].tensor_shape.dim] == [2, *SHAPE]


def test_predict_takes_values_in_fields_as_well_as_in_content(stub):
    request = predict_request(image=images())
    tensor = request.inputs["image"]
    tensor.ClearField("tensor_content")
    tensor.float_val.extend(images().ravel().tolist())
    response = stub.Predict(request)
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["denoised"]), images() / 2)


def test_a_single_value_fills_the_shape(stub):
    request = predict_request()
    tensor = request.inputs["image"]
    tensor.CopyFrom(tf.make_tensor_proto(0.5, shape=(1, *SHAPE)))
    response = stub.Predict(request)
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["denoised"]), 0.25)


def test_the_version_can_be_asked_for_by_number_and_by_label(stub):
    request = predict_request(image=images())
    request.model_spec.version.value = 1
    assert stub.Predict(request).model_spec.version.value == 1
    request.model_spec.version_label = "canary"
    assert stub.Predict(request).model_spec.version.value == 2
    request.model_spec.version_label = "stable"
    response = stub.Predict(request)
    assert response.model_spec.version.value == 1
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["denoised"]), images() / 4)


def test_the_output_filter_chooses_outputs(stub):
    request = predict_request(image=images())
    assert set(stub.Predict(request).outputs) == {"denoised", "mean"}
    request.output_filter.append("mean")
    response = stub.Predict(request)
    assert set(response.outputs) == {"mean"}


def test_integer_signature(stub):
    pixels = np.arange(2 * PIXELS, dtype=np.int32).reshape(2, PIXELS) * 5
    response = stub.Predict(predict_request("predict_pixels", pixels=pixels))
    assert response.outputs["denoised"].dtype == tf.int32.as_datatype_enum
    np.testing.assert_array_equal(
        tf.make_ndarray(response.outputs["denoised"]), np.round(pixels / 2).astype(np.int32)
    )


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels.reshape(HEIGHT, WIDTH).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_string_signature(stub):
    pixels = np.arange(PIXELS) * 4
    response = stub.Predict(predict_request("predict_encoded", image_bytes=[png(pixels)] * 3))
    [first, *_] = values = response.outputs["denoised_bytes"].string_val
    assert len(values) == 3
    np.testing.assert_array_equal(np.array(Image.open(io.BytesIO(first))).ravel(), pixels // 2)


def test_an_empty_batch_is_a_batch(stub):
    response = stub.Predict(predict_request(image=np.zeros((0, *SHAPE), np.float32)))
    assert tf.make_ndarray(response.outputs["denoised"]).shape == (0, *SHAPE)


def test_signatures_of_a_model_without_functions(stub):
    response = stub.Predict(predict_request(model="half_plus", x=np.float32([[2], [4]])))
    np.testing.assert_allclose(tf.make_ndarray(response.outputs["y"]), [[3], [4]])


@pytest.mark.parametrize(
    ("change", "code", "message"),
    [
        (lambda r: r.ClearField("model_spec"), Code.INVALID_ARGUMENT, "Missing ModelSpec"),
        (
            lambda r: setattr(r.model_spec, "name", ""),
            Code.INVALID_ARGUMENT,
            "ModelSpec has no name specified.",
        ),
        (
            lambda r: setattr(r.model_spec, "name", "absent"),
            Code.NOT_FOUND,
            "Servable not found for request: Latest(absent)",
        ),
        (
            lambda r: setattr(r.model_spec.version, "value", 77),
            Code.NOT_FOUND,
            "Servable not found for request: Specific(denoiser, 77)",
        ),
        (
            lambda r: setattr(r.model_spec, "version_label", "nightly"),
            Code.INVALID_ARGUMENT,
            "Unrecognized servable version label: nightly",
        ),
        (
            lambda r: setattr(r.model_spec, "signature_name", "absent"),
            Code.FAILED_PRECONDITION,
            'Serving signature key "absent" not found.',
        ),
        (
            lambda r: r.output_filter.append("absent"),
            Code.INVALID_ARGUMENT,
            "output tensor alias not found in signature: absent",
        ),
        (
            lambda r: r.output_filter.extend(["mean", "mean"]),
            Code.INVALID_ARGUMENT,
            "duplicate output tensor alias: mean",
        ),
        (
            lambda r: r.inputs["more"].CopyFrom(tf.make_tensor_proto(1.0)),
            Code.INVALID_ARGUMENT,
            "input size does not match signature: 2!=1 len({image,more}) != len({image}). "
            "Sent extra: {more}. Missing but required: {}.",
        ),
        (
            lambda r: (r.inputs["x"].CopyFrom(r.inputs["image"]), r.inputs.pop("image")),
            Code.INVALID_ARGUMENT,
            "",
        ),
        (
            lambda r: r.inputs["image"].CopyFrom(tf.make_tensor_proto(images().astype(int))),
            Code.INVALID_ARGUMENT,
            "float",
        ),
        (
            lambda r: setattr(r.inputs["image"], "tensor_content", b"123"),
            Code.INVALID_ARGUMENT,
            "tensor parsing error: image",
        ),
    ],
)
def test_a_wrong_predict_request_says_what_is_wrong(stub, change, code, message):
    request = predict_request(image=images())
    change(request)
    got_code, details = error_of(stub.Predict, request)
    assert got_code == code
    assert message in details


def test_what_the_graph_refuses_is_the_clients_mistake(stub):
    request = predict_request("predict_pixels", pixels=np.full((1, PIXELS), 300, np.int32))
    code, details = error_of(stub.Predict, request)
    assert code == Code.INVALID_ARGUMENT
    assert "expected integers from 0 to 255" in details
    code, details = error_of(stub.Predict, predict_request("predict_encoded", image_bytes=[b"?"]))
    assert code == Code.INVALID_ARGUMENT


def test_a_malformed_message_is_an_error_and_the_server_stays_up(channel, stub):
    send = channel.unary_unary("/tensorflow.serving.PredictionService/Predict")
    with pytest.raises(grpc.RpcError):
        send(b"\xff\xff\xff\xff")
    with pytest.raises(grpc.RpcError) as raised:
        channel.unary_unary("/tensorflow.serving.PredictionService/Absent")(b"")
    assert raised.value.code() == Code.UNIMPLEMENTED
    stub.Predict(predict_request(image=images()))


# Classify, Regress, MultiInference.


def examples_request(kind, signature: str, *values: float):
    request = kind()
    request.model_spec.name = "half_plus"
    request.model_spec.signature_name = signature
    request.input.example_list.examples.extend([example(x) for x in values])
    return request


def test_classify(stub):
    request = examples_request(classification_pb2.ClassificationRequest, "classify", 1, 4)
    response = stub.Classify(request)
    found = [
        [(item.label, item.score) for item in row.classes]
        for row in response.result.classifications
    ]
    assert found == [[("small", 2.5)], [("big", 4.0)]]
    assert response.model_spec.signature_name == "classify"
    assert response.model_spec.version.value == 1


def test_regress(stub):
    request = examples_request(regression_pb2.RegressionRequest, "regress", 1, 4)
    assert [r.value for r in stub.Regress(request).result.regressions] == [2.5, 4.0]


def test_examples_may_share_a_context(stub):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "half_plus"
    request.model_spec.signature_name = "regress"
    request.input.example_list_with_context.context.CopyFrom(example(10))
    request.input.example_list_with_context.examples.extend([tf.train.Example()] * 2)
    assert [r.value for r in stub.Regress(request).result.regressions] == [7, 7]


def test_multi_inference_over_signatures_with_inputs_of_their_own(stub):
    """As TF2 SavedModels have them: each gets the same examples."""
    request = inference_pb2.MultiInferenceRequest()
    for method in ("regress", "classify"):
        task = request.tasks.add()
        task.model_spec.name = "two_tasks"
        task.model_spec.signature_name = method
        task.method_name = f"tensorflow/serving/{method}"
    request.input.example_list.examples.extend([example(2), example(4)])
    regressed, classified = stub.MultiInference(request).results
    assert [r.value for r in regressed.regression_result.regressions] == [4, 5]
    scores = [c.classes[0].score for c in classified.classification_result.classifications]
    assert scores == [3, 4]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda r: r.tasks[0].model_spec.ClearField("name"), "with an empty model name"),
        (lambda r: setattr(r.tasks[1].model_spec, "name", "two"), "access the same model name"),
        (
            lambda r: setattr(r.tasks[1].model_spec, "signature_name", "absent"),
            "Requested signature not found in model graph: absent",
        ),
        (
            lambda r: setattr(r.tasks[1], "method_name", "guess"),
            "Unsupported signature method_name: guess",
        ),
        (lambda r: r.ClearField("input"), "Input is empty"),
    ],
)
def test_a_wrong_multi_inference_says_what_is_wrong(stub, change, message):
    request = inference_pb2.MultiInferenceRequest()
    for signature in ("regress", "regress_three"):
        task = request.tasks.add()
        task.model_spec.name = "half_plus"
        task.model_spec.signature_name = signature
        task.method_name = "tensorflow/serving/regress"
    request.input.example_list.examples.add()
    change(request)
    code, details = error_of(stub.MultiInference, request)
    assert code in (Code.INVALID_ARGUMENT, Code.UNIMPLEMENTED)
    assert message in details or "ModelSpec" in details


def test_a_shape_is_for_the_graph_to_judge(stub, rest):
    """A signature declares (N, 1), and its graph computes anything."""
    for x in (2.0, [2.0, 4.0], [[[2.0]], [[4.0]]]):
        message = predict_request(model="two_tasks", x=np.float32(x))
        answer = tf.make_ndarray(stub.Predict(message).outputs["y"])
        np.testing.assert_array_equal(answer, np.float32(x) / 2 + 2)
    answer = rest.post("/v1/models/two_tasks:predict", json={"instances": [2.0, 3.0, 4.0]})
    assert answer.json() == {"predictions": [3.0, 3.5, 4.0]}
    answer = rest.post("/v1/models/two_tasks:predict", json={"inputs": 2.0})
    assert answer.json() == {"outputs": 3.0}


def test_multi_inference_runs_signatures_together(stub):
    request = inference_pb2.MultiInferenceRequest()
    for signature, method in (("regress", "regress"), ("regress_three", "regress")):
        task = request.tasks.add()
        task.model_spec.name = "half_plus"
        task.model_spec.signature_name = signature
        task.method_name = f"tensorflow/serving/{method}"
    task = request.tasks.add()
    task.model_spec.name = "half_plus"
    task.model_spec.signature_name = "classify"
    task.method_name = "tensorflow/serving/classify"
    request.input.example_list.examples.extend([example(4)])
    two, three, classes = stub.MultiInference(request).results
    assert two.regression_result.regressions[0].value == 4
    assert three.regression_result.regressions[0].value == 5
    assert classes.classification_result.classifications[0].classes[0].label == "big"
    assert classes.model_spec.signature_name == "classify"

    request.tasks[1].CopyFrom(request.tasks[0])
    code, details = error_of(stub.MultiInference, request)
    assert (code, details) == (
        Code.INVALID_ARGUMENT,
        "Duplicate evaluation of signature: regress",
    )


@pytest.mark.parametrize(
    ("signature", "values", "message"),
    [
        ("regress", [], "Input is empty"),
        ("absent", [1.0], "No signature was found with the name: absent"),
    ],
)
def test_wrong_example_requests(stub, signature, values, message):
    request = examples_request(regression_pb2.RegressionRequest, signature, *values)
    code, details = error_of(stub.Regress, request)
    assert code == Code.INVALID_ARGUMENT
    assert message in details


# Metadata, status, configuration.


def test_metadata_has_the_signatures(stub):
    request = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
    request.model_spec.name = "denoiser"
    response = stub.GetModelMetadata(request)
    signatures = get_model_metadata_pb2.SignatureDefMap()
    assert response.metadata["signature_def"].Unpack(signatures)
    assert {"serving_default", "predict_pixels", "predict_encoded", "predict_examples"} <= set(
        signatures.signature_def
    )
    image = signatures.signature_def["serving_default"].inputs["image"]
    assert [dim.size for dim in image.tensor_shape.dim] == [-1, *SHAPE]
    assert response.model_spec.version.value == 2

    request.metadata_field[:] = []
    assert error_of(stub.GetModelMetadata, request) == (
        Code.INVALID_ARGUMENT,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    request.metadata_field.append("weights")
    assert error_of(stub.GetModelMetadata, request)[0] == Code.INVALID_ARGUMENT


def test_status_of_versions(model_stub):
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "denoiser"
    states = {
        entry.version: entry.state
        for entry in model_stub.GetModelStatus(request).model_version_status
    }
    available = get_model_status_pb2.ModelVersionStatus.AVAILABLE
    assert states == {1: available, 2: available}
    request.model_spec.version.value = 2
    [entry] = model_stub.GetModelStatus(request).model_version_status
    assert (entry.version, entry.status.error_code) == (2, 0)
    request.model_spec.version.value = 9
    assert error_of(model_stub.GetModelStatus, request) == (
        Code.NOT_FOUND,
        "Could not find version 9 of model denoiser",
    )
    request.model_spec.name = "absent"
    request.model_spec.ClearField("version")
    assert error_of(model_stub.GetModelStatus, request) == (
        Code.NOT_FOUND,
        "Could not find any versions of model absent",
    )


def test_a_config_request_replaces_the_model_set(target, stub, model_stub, models, tmp_path):
    if target.models is None:
        pytest.skip("the server does not see this machine's folders")
    from google.protobuf import text_format

    write_denoiser(tmp_path / "other" / "5", 1.0)
    original = model_management_pb2.ReloadConfigRequest()
    text_format.Parse((models / "models.config").read_text(), original.config)
    changed = model_management_pb2.ReloadConfigRequest()
    changed.CopyFrom(original)
    del changed.config.model_config_list.config[:]
    added = changed.config.model_config_list.config.add()
    added.name, added.base_path = "other", str(tmp_path / "other")

    code, _ = error_of(model_stub.HandleReloadConfigRequest, changed)
    assert code == Code.INVALID_ARGUMENT  # no platform
    stub.Predict(predict_request(image=images()))

    added.model_platform = "tensorflow"
    try:
        response = model_stub.HandleReloadConfigRequest(changed, timeout=60)
        assert response.status.error_code == 0
        answer = stub.Predict(predict_request(model="other", image=images()))
        assert answer.model_spec.version.value == 5
        assert error_of(stub.Predict, predict_request(image=images()))[0] == Code.NOT_FOUND
    finally:
        model_stub.HandleReloadConfigRequest(original, timeout=60)
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            assert stub.Predict(predict_request(image=images())).model_spec.version.value == 2
            break
        except grpc.RpcError:
            time.sleep(0.1)


def test_a_passed_deadline(stub):
    code, _ = error_of(stub.Predict, predict_request(image=images(4_000)), timeout=0.0005)
    assert code == Code.DEADLINE_EXCEEDED
    stub.Predict(predict_request(image=images()))


# REST.

PREDICT = "/v1/models/denoiser:predict"


def post(rest, path: str, body, **kwargs) -> tuple[int, dict]:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = rest.post(path, content=content, **kwargs)
    assert response.headers["content-type"].startswith("application/json")
    return response.status_code, response.json()


def test_row_format_with_several_outputs_is_a_list_of_objects(rest):
    status, answer = post(rest, PREDICT, {"instances": images().tolist()})
    assert status == 200
    assert list(answer) == ["predictions"]
    assert [set(row) for row in answer["predictions"]] == [{"denoised", "mean"}] * 2
    found = np.array([row["denoised"] for row in answer["predictions"]])
    np.testing.assert_allclose(found, images() / 2, rtol=1e-6)


def test_row_format_with_one_output_is_a_plain_list(rest):
    body = {"signature_name": "predict_pixels", "instances": [[8] * PIXELS]}
    assert post(rest, PREDICT, body) == (200, {"predictions": [[4] * PIXELS]})
    body["instances"] = [{"pixels": [8] * PIXELS}]
    assert post(rest, PREDICT, body) == (200, {"predictions": [[4] * PIXELS]})


def test_columnar_format(rest):
    status, answer = post(rest, PREDICT, {"inputs": {"image": images().tolist()}})
    assert status == 200
    assert set(answer["outputs"]) == {"denoised", "mean"}
    body = {"signature_name": "predict_pixels", "inputs": [[8] * PIXELS]}
    assert post(rest, PREDICT, body) == (200, {"outputs": [[4] * PIXELS]})


def test_bytes_are_base64_both_ways(rest):
    encoded = {"b64": base64.b64encode(png(np.full(PIXELS, 100))).decode()}
    for instance in (encoded, {"image_bytes": encoded}):
        body = {"signature_name": "predict_encoded", "instances": [instance]}
        status, answer = post(rest, PREDICT, body)
        assert status == 200
        [prediction] = answer["predictions"]
        image = Image.open(io.BytesIO(base64.b64decode(prediction["b64"])))
        assert (np.array(image) == 50).all()


def test_numbers_that_are_not_finite_are_tokens(rest):
    body = b'{"instances": [[NaN], [Infinity], [-Infinity], [3], [0.2]]}'
    response = rest.post("/v1/models/half_plus:predict", content=body)
    values = json.loads(response.text)["predictions"]
    assert math.isnan(values[0][0])
    assert values[1:] == [[math.inf], [-math.inf], [3.5], [2.1]]
    assert "NaN" in response.text
    assert "-Infinity" in response.text


def test_decimals_are_the_shortest_that_read_back(rest):
    response = rest.post("/v1/models/half_plus:predict", content=b'{"instances":[[0.2],[2]]}')
    text = "".join(response.text.split())
    assert text == '{"predictions":[[2.1],[3.0]]}'


@pytest.mark.parametrize("path", ["/versions/1", "/labels/stable"])
def test_version_and_label_in_the_path(rest, path):
    body = {"signature_name": "predict_pixels", "instances": [[8] * PIXELS]}
    status, answer = post(rest, f"/v1/models/denoiser{path}:predict", body)
    assert (status, answer["predictions"][0][0]) == (200, 2)


def test_a_gzipped_body(rest):
    body = {"signature_name": "predict_pixels", "instances": [[8] * PIXELS]}
    compressed = gzip.compress(json.dumps(body).encode())
    status, answer = post(rest, PREDICT, compressed, headers={"Content-Encoding": "gzip"})
    assert (status, answer["predictions"][0][0]) == (200, 4)


@pytest.mark.parametrize(
    ("path", "body", "status", "message"),
    [
        (PREDICT, b"", 400, "JSON Parse error: The document is empty"),
        (PREDICT, b'{"instances": [', 400, "JSON Parse error"),
        (PREDICT, [1], 400, "Is not object"),
        (PREDICT, {}, 400, "Missing 'inputs' or 'instances' key"),
        (PREDICT, {"instances": []}, 400, "No values in 'instances' array"),
        (PREDICT, {"instances": 3}, 400, "Expecting 'instances' to be an list/array"),
        (PREDICT, {"instances": [1], "inputs": [1]}, 400, "expecting only one of"),
        (
            PREDICT,
            {"signature_name": 3, "instances": [1]},
            400,
            "'signature_name' key must be a string value.",
        ),
        (
            PREDICT,
            {"signature_name": "absent", "instances": [1]},
            400,
            'Serving signature name: "absent" not found in signature def',
        ),
        (PREDICT, {"instances": [[1, 2], [3]]}, 400, "Expecting tensor size: 2 but got: 1"),
        (PREDICT, {"instances": [[1, [2]]]}, 400, "unexpected level"),
        (PREDICT, {"instances": ["x"]}, 400, "is not of expected type: float"),
        (PREDICT, {"instances": [[1], [1, 2]]}, 400, "Expecting tensor size: 1 but got: 2"),
        (PREDICT, {"instances": [[1, 2], [[1], [2]]]}, 400, "Expecting shape [2] but got: [2,1]"),
        (PREDICT, {"instances": [1, [1]]}, 400, "Expecting shape [] but got: [1]"),
        (PREDICT, {"instances": [[True, 1.0]]}, 400, "is not of expected type: float"),
        (PREDICT, {"instances": [{"picture": 1}]}, 400, "does not have named input: picture"),
        (PREDICT, {"instances": [{}]}, 400, "keys must be equal to: image"),
        (PREDICT, {"instances": [[1.0], {"image": 1.0}]}, 400, "got object at item 1"),
        (PREDICT, {"instances": [{"image": 1.0}, [1.0]]}, 400, "got list at item 1"),
        (PREDICT, {"inputs": {"picture": 1}}, 400, "Missing named input: image"),
        (
            PREDICT,
            {"signature_name": "predict_pixels", "instances": [[1.5] * PIXELS]},
            400,
            "is not of expected type: int32",
        ),
        (
            PREDICT,
            {"signature_name": "predict_encoded", "instances": [{"b64": "*"}]},
            400,
            "Unable to base64 decode",
        ),
        (
            "/v1/models/absent:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Latest(absent)",
        ),
        (
            "/v1/models/denoiser/versions/77:predict",
            {"instances": [1]},
            404,
            "Servable not found for request: Specific(denoiser, 77)",
        ),
        (
            "/v1/models/denoiser/labels/nightly:predict",
            {"instances": [1]},
            400,
            "Unrecognized servable version label: nightly",
        ),
        ("/v1/models/denoiser:guess", {}, 400, "Malformed request: POST"),
        ("/v1/models/denoiser", {}, 400, "Malformed request: POST /v1/models/denoiser"),
    ],
)
def test_a_wrong_rest_request_says_what_is_wrong(rest, path, body, status, message):
    got, answer = post(rest, path, body)
    assert list(answer) == ["error"]
    assert message in answer["error"]
    assert got == status


def test_rest_status(rest):
    answer = rest.get("/v1/models/denoiser").json()
    entries = sorted(answer["model_version_status"], key=lambda entry: entry["version"])
    assert entries[0] == {
        "version": "1",
        "state": "AVAILABLE",
        "status": {"error_code": "OK", "error_message": ""},
    }
    assert [entry["version"] for entry in entries] == ["1", "2"]
    one = rest.get("/v1/models/denoiser/versions/1").json()
    assert [entry["version"] for entry in one["model_version_status"]] == ["1"]
    assert rest.get("/v1/models/absent").status_code == 404
    assert rest.get("/v1/models/denoiser/versions/77").status_code == 404
    assert rest.get("/v1/models").status_code == 400


def test_rest_metadata(rest):
    answer = rest.get("/v1/models/denoiser/metadata").json()
    assert answer["model_spec"] == {"name": "denoiser", "signature_name": "", "version": "2"}
    signature = answer["metadata"]["signature_def"]["signature_def"]["predict_pixels"]
    assert signature["inputs"]["pixels"]["dtype"] == "DT_INT32"
    sizes = [dim["size"] for dim in signature["inputs"]["pixels"]["tensor_shape"]["dim"]]
    assert sizes == ["-1", str(PIXELS)]
    assert signature["method_name"] == "tensorflow/serving/predict"


def test_rest_classify_and_regress(rest):
    body = {"signature_name": "classify", "examples": [{"x": [1.0]}, {"x": 4.0}]}
    assert post(rest, "/v1/models/half_plus:classify", body) == (
        200,
        {"results": [[["small", 2.5]], [["big", 4.0]]]},
    )
    body = {"signature_name": "regress", "context": {"x": 10.0}, "examples": [{}, {}]}
    assert post(rest, "/v1/models/half_plus:regress", body) == (200, {"results": [7.0, 7.0]})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"signature_name": "regress"}, "key 'examples' is expected"),
        ({"signature_name": "regress", "examples": []}, "empty array"),
        ({"signature_name": "regress", "examples": [3]}, "Example must be JSON object"),
        (
            {"signature_name": "regress", "examples": [{"x": [1.0, "a"]}]},
            "Unexpected element type in feature: x",
        ),
        ({"signature_name": "regress", "examples": [{"x": None}]}, "unexpected JSON type: Null"),
    ],
)
def test_wrong_rest_examples(rest, body, message):
    status, answer = post(rest, "/v1/models/half_plus:regress", body)
    assert status == 400
    assert message in answer["error"]


def test_cors_is_off(rest):
    response = rest.get("/v1/models/denoiser", headers={"Origin": "http://elsewhere"})
    assert not any(name.startswith("access-control") for name in response.headers)


def test_prometheus_metrics_under_their_names(rest, stub):
    stub.Predict(predict_request(image=images()))
    text = rest.get("/monitoring/prometheus/metrics").text
    assert "# TYPE :tensorflow:serving:request_count counter" in text
    counts = [
        line
        for line in text.splitlines()
        if line.startswith(":tensorflow:serving:request_count{")
        and 'model_name="denoiser"' in line
        and 'status="OK"' in line
    ]
    assert counts
    assert float(counts[0].split()[-1]) >= 1
    assert "# TYPE :tensorflow:serving:request_latency histogram" in text
    assert ':tensorflow:serving:request_latency_bucket{model_name="denoiser",API="Predict"' in text
    assert ":tensorflow:serving:request_example_count_total{" in text
    assert ":tensorflow:cc:saved_model:load_attempt_count{" in text
