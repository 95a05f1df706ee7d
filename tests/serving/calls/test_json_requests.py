"""REST bodies: to arrays and tf.Examples, or to an error that says what is wrong."""

from __future__ import annotations

import contextlib
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tensorflow_serving.apis import input_pb2

from serving.calls import json_answers, json_requests
from serving.calls.limits import NO_LIMITS, Limits
from serving.protocol.codes import Code, StatusError
from serving.protocol.dtypes import DataType

scalars = st.one_of(
    st.integers(-(2**70), 2**70),
    st.integers(-3, 300),
    st.floats(),
    st.floats(width=32),
    st.booleans(),
    st.none(),
    st.text(max_size=3),
)
nested = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4), max_leaves=20)


def read(body: bytes | str, dtype: DataType = DataType.FLOAT, limits: Limits = NO_LIMITS):
    content = body if isinstance(body, bytes) else body.encode()
    return json_requests.read_predict(content, {"s": {"x": dtype}}, "s", limits).arrays["x"]


def outcome(body: str, dtype: DataType):
    try:
        array = read(body, dtype)
    except StatusError as error:
        return error.code, error.message
    return array.dtype, array.shape, array.tolist()


@settings(max_examples=400)
@given(
    st.one_of(nested, npst.arrays(np.float32, (2, 3)).map(np.ndarray.tolist)),
    st.sampled_from(["instances", "inputs"]),
    st.sampled_from(
        [DataType.FLOAT, DataType.DOUBLE, DataType.INT32, DataType.INT64, DataType.UINT8]
    ),
)
def test_the_fast_way_and_the_walk_give_the_same(value, key, dtype):
    """Numbers are looked at one by one where `true` is anywhere in the text."""
    text = json.dumps({key: value})
    walked = json.dumps({key: value, "more": True})
    fast, slow = outcome(text, dtype), outcome(walked, dtype)
    # Messages that tell the whole body differ by it.
    if not (isinstance(fast[1], str) and "JSON Value: {" in fast[1]):
        assert repr(fast) == repr(slow)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # json_tensor.cc takes them since 2021: the nearest float32, or an infinite one.
        ("1435774380", 1435774380.0),
        ("1435774380.0", 1435774380.0),
        ("16777217", 16777216.0),
        ("1.7976931348623157e308", np.inf),
        ("-1.7976931348623157e308", -np.inf),
        ("2.2250738585072014e-308", 0.0),
        ("99999999999999999999", 1e20),
        ("NaN", np.nan),
        ("-Infinity", -np.inf),
    ],
)
@pytest.mark.parametrize("more", ["", ', "more": true'])
def test_a_number_is_the_nearest_float(text, value, more):
    np.testing.assert_array_equal(read(f'{{"instances": [{text}]{more}}}'), np.float32([value]))


@pytest.mark.parametrize(
    "body",
    [
        b'{"signature_name":"\xed\xa0\x80","instances":["a"]}',
        b'{"signature_name":"\\ud800","instances":["a"]}',
        b'{"signature_name":"predict_pixels","instances":[{"\\ud800":1}]}',
        b'{"instances":[NaN,"\\udfff"]}',
        b'{"instances":["\\ud83d\\u0041"]}',
    ],
)
def test_a_lone_surrogate_is_no_text(body):
    with pytest.raises(StatusError, match="JSON Parse error") as raised:
        read(body, DataType.STRING)
    assert raised.value.code == Code.INVALID_ARGUMENT


def test_a_pair_of_surrogates_is_a_character():
    assert read(r'{"instances": ["\ud83d\ude00"]}', DataType.STRING).tolist() == ["😀".encode()]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"instances":' + "[" * 70 + "1" + "]" * 70 + "}", "32 dimensions"),
        ('{"inputs":' + "[" * 70 + "1" + "]" * 70 + "}", "70 deep"),
        ('{"instances":' + "[" * 990 + "1" + "]" * 990 + "}", "deep"),
        ('{"instances":' + "[" * 9000 + "1" + "]" * 9000 + "}", "deep"),
        ('{"instances":' + "[" * 100_000, "JSON Parse error"),
        ("[" * 100_000, "JSON Parse error"),
        ('{"instances": [' + "9" * 5000 + "]}", "Number too big to be stored in double"),
        ('{"instances": [' + "9" * 350 + "]}", "Number too big to be stored in double"),
        ('{"instances": [1e400]}', "Number too big to be stored in double"),
        ('{"instances": [1.5, -1.0e309]}', "Number too big to be stored in double"),
    ],
)
def test_what_python_or_numpy_cannot_hold_is_an_error(body, message):
    for text in (body, body.replace("{", '{"more": true, ', 1)):
        with pytest.raises(StatusError, match=message) as raised:
            read(text)
        assert raised.value.code == Code.INVALID_ARGUMENT


def test_what_follows_the_object_is_not_read():
    assert read('{"instances": [1]} and more').tolist() == [1]


def test_names_are_checked_before_values():
    absent = '{"signature_name": "t", "instances": [[1], [2, 3]]}'
    with pytest.raises(StatusError, match='"t" not found in signature def'):
        read(absent)
    body = b'{"signature_name": "t", "examples": [[1]]}'
    assert json_requests.read_examples(body, {"s"}, "s", NO_LIMITS).input == b""


def test_rows_are_counted_before_they_are_read():
    with pytest.raises(StatusError, match=r"Task size 3 is larger than maximum .* 2") as raised:
        read('{"instances": [1, "a", [2]]}', limits=Limits(rows=2, bytes=100))
    assert raised.value.code == Code.INVALID_ARGUMENT
    with pytest.raises(StatusError, match="Task size 3"):
        json_requests.read_examples(b'{"examples": [1, 2, 3]}', {"s"}, "s", Limits(2, 100))


@given(npst.arrays(np.float32, npst.array_shapes(max_dims=3)))
def test_float32_come_back_exactly(array):
    body = json_answers.predict_response({"y": array}, "columnar")
    values = np.array(json.loads(body)["outputs"], np.float32)
    np.testing.assert_array_equal(values, array)


@pytest.mark.parametrize("shape", [(70_000, 3), (3, 70_000), (2, 5, 20_000)])
@pytest.mark.parametrize("response_format", ["row", "columnar"])
def test_a_large_answer_in_pieces_is_the_answer(shape, response_format):
    array = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    answer = json.loads(json_answers.predict_response({"y": array}, response_format))
    [values] = answer.values()
    np.testing.assert_array_equal(values, array)


@given(st.binary(max_size=60))
def test_any_body_is_an_object_or_an_error(body):
    with contextlib.suppress(StatusError):
        assert isinstance(json_requests.parse(body), dict)


# tf.Examples.


def examples_of(body: str) -> list[tf.train.Example]:
    found = json_requests.read_examples(body.encode(), {"s"}, "s", NO_LIMITS)
    return list(input_pb2.Input.FromString(found.input).example_list.examples)


def test_features_are_of_the_type_of_their_values():
    body = r'{"examples": [{"a": 1, "b": [1.5, NaN], "c": ["é", {"b64": "/w=="}], "d": []}]}'
    [example] = examples_of(body)
    feature = example.features.feature
    assert list(feature["a"].int64_list.value) == [1]
    np.testing.assert_array_equal(feature["b"].float_list.value, [1.5, np.nan])
    assert list(feature["c"].bytes_list.value) == ["é".encode(), b"\xff"]
    assert feature["d"].WhichOneof("kind") is None
    assert set(feature) == {"a", "b", "c", "d"}


def test_integers_of_features():
    [example] = examples_of(f'{{"examples": [{{"a": [{-(2**63)}, -1, 0, {2**63 - 1}, true]}}]}}')
    assert list(example.features.feature["a"].int64_list.value) == [-(2**63), -1, 0, 2**63 - 1, 1]
    [example] = examples_of('{"examples": [{"a": -99999999999999999999}]}')
    assert list(example.features.feature["a"].float_list.value) == [np.float32(-1e20)]


def test_a_context_is_kept_apart():
    body = b'{"context": {"c": 2}, "examples": [{"a": 1}]}'
    found = json_requests.read_examples(body, {"s"}, "s", NO_LIMITS)
    message = input_pb2.Input.FromString(found.input).example_list_with_context
    assert message.context.features.feature["c"].int64_list.value[0] == 2
    assert message.examples[0].features.feature["a"].int64_list.value[0] == 1


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"signature_name": ["a"]}', "'signature_name' key must be a string"),
        ('{"context": [{}], "examples": [{}]}', "Example must be JSON object"),
        ('{"examples": {}}', "list/array"),
        ('{"examples": [[{}]]}', "Example must be JSON object"),
        ('{"examples": [{"n": [10, null]}]}', "n has element with unexpected JSON type: Null"),
        ('{"examples": [{"n": [10, 10.0]}]}', "feature: n expecting type: int64"),
        ('{"examples": [{"n": [10, {"t": 1}]}]}', "n has element with unexpected JSON type: Obj"),
        ('{"examples": [{"n": [[10], 20]}]}', "n has element with unexpected JSON type: Array"),
        ('{"examples": [{"n": [20, 18446744073709551603]}]}', "Only int64_t is supported"),
    ],
)
def test_a_wrong_example_says_what_is_wrong(body, message):
    with pytest.raises(StatusError, match=message) as raised:
        examples_of(body)
    assert raised.value.code == Code.INVALID_ARGUMENT
