"""The fast way through numpy and the walk through every value agree."""

from __future__ import annotations

import contextlib
import json
import types

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tensorflow.core.framework import types_pb2

from serving.calls import json_tensor
from serving.protocol.codes import StatusError

FLOAT = types_pb2.DT_FLOAT
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


def outcome(document, dtype, may_have_bool):
    inputs = {"x": types.SimpleNamespace(dtype=dtype)}
    try:
        array = json_tensor.predict_arrays(document, inputs, may_have_bool)["x"]
    except StatusError as error:
        return error.code, error.message
    return array.dtype, array.shape, array.tolist()


@settings(deadline=None, max_examples=400)
@given(
    st.one_of(nested, npst.arrays(np.float32, (2, 3)).map(np.ndarray.tolist)),
    st.sampled_from(["instances", "inputs"]),
    st.sampled_from(
        [FLOAT, types_pb2.DT_DOUBLE, types_pb2.DT_INT32, types_pb2.DT_INT64, types_pb2.DT_UINT8]
    ),
)
def test_both_ways_give_the_same(value, key, dtype):
    document = {key: value}
    text = json.dumps(document)
    fast = outcome(document, dtype, "true" in text or "false" in text)
    assert repr(fast) == repr(outcome(document, dtype, True))


@given(npst.arrays(np.float32, npst.array_shapes(max_dims=3)))
def test_float32_come_back_exactly(array):
    body = json_tensor.predict_response({"y": array}, "columnar")
    values = np.array(json.loads(body)["outputs"], np.float32)
    np.testing.assert_array_equal(values, array)


@given(st.binary(max_size=60))
def test_any_body_is_an_object_or_an_error(body):
    with contextlib.suppress(StatusError):
        assert isinstance(json_tensor.parse(body), dict)


def test_deep_nesting_is_an_error_and_no_crash():
    for body in (b"[" * 100_000, b'{"instances":' + b"[" * 100_000 + b"]" * 100_000 + b"}"):
        outcomes = []
        try:
            document = json_tensor.parse(body)
            outcomes.append(outcome(document, FLOAT, True))
        except StatusError as error:
            outcomes.append(error.message)
        assert outcomes
