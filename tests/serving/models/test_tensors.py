from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from tensorflow.core.framework import tensor_pb2, types_pb2

from serving.models import tensors

DTYPES = [
    np.float16,
    np.float32,
    np.float64,
    np.int8,
    np.int16,
    np.int32,
    np.int64,
    np.uint8,
    np.uint16,
    np.uint32,
    np.uint64,
    np.bool_,
]
arrays = st.sampled_from(DTYPES).flatmap(
    lambda dtype: npst.arrays(dtype, npst.array_shapes(min_dims=0, max_dims=3, min_side=0))
)


@settings(max_examples=200)
@given(arrays, st.booleans())
def test_arrays_survive_and_tensorflow_reads_them(array, as_content):
    message = tensor_pb2.TensorProto()
    tensors.fill_tensor(message, array, as_content)
    assert bool(message.tensor_content) <= as_content
    for found in (tensors.to_array(message), tf.make_ndarray(message)):
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


@given(arrays)
def test_what_tensorflow_writes_is_read(array):
    np.testing.assert_array_equal(tensors.to_array(tf.make_tensor_proto(array)), array)


@given(st.lists(st.integers(0, 2**14 - 1), min_size=1))
def test_small_integers_are_packed_as_protobuf_packs_them(values):
    message = tensor_pb2.TensorProto()
    tensors.fill_tensor(message, np.array(values, np.int32))
    assert list(message.int_val) == values


def test_strings():
    message = tensor_pb2.TensorProto()
    tensors.fill_tensor(message, np.array([[b"a", b"\xff\x00"]], dtype=object))
    assert message.dtype == types_pb2.DT_STRING
    assert tensors.to_array(message).tolist() == [[b"a", b"\xff\x00"]]


def message(**values) -> tensor_pb2.TensorProto:
    shape = values.pop("shape")
    result = tensor_pb2.TensorProto(**values)
    for size in shape:
        result.tensor_shape.dim.add().size = size
    return result


@pytest.mark.parametrize(
    "wrong",
    [
        message(dtype=types_pb2.DT_FLOAT, shape=[2], tensor_content=b"123"),
        message(dtype=types_pb2.DT_FLOAT, shape=[1], float_val=[1, 2]),
        message(dtype=types_pb2.DT_FLOAT, shape=[-1], float_val=[1]),
        message(dtype=types_pb2.DT_FLOAT, shape=[1] * 33, float_val=[1]),
        message(dtype=types_pb2.DT_FLOAT, shape=[1] * 300, float_val=[1]),
        message(dtype=types_pb2.DT_FLOAT, shape=[2**32, 2**32], float_val=[1]),
        message(dtype=types_pb2.DT_STRING, shape=[1], tensor_content=b"1"),
        message(dtype=types_pb2.DT_INVALID, shape=[1]),
        message(dtype=types_pb2.DT_VARIANT, shape=[1]),
    ],
)
def test_what_is_no_tensor_is_refused(wrong):
    with pytest.raises(ValueError):
        tensors.to_array(wrong)


def test_what_a_tensor_takes_is_known_before_it_is_read():
    small = message(dtype=types_pb2.DT_FLOAT, shape=[2**20, 2**20], float_val=[1])
    sent = tensors.SentTensor.read(memoryview(small.SerializeToString()))
    assert sent.shape == (2**20, 2**20)
    assert sent.bytes == 4 * 2**40
    texts = message(dtype=types_pb2.DT_STRING, shape=[2**25], string_val=[b"x"])
    sent = tensors.SentTensor.read(memoryview(texts.SerializeToString()))
    assert sent.bytes > 2**31


def test_a_single_value_that_fills_a_shape_takes_no_memory():
    array = tensors.to_array(message(dtype=types_pb2.DT_FLOAT, shape=[2**20], float_val=[0.5]))
    assert array.strides == (0,)
    assert (array[:10] == 0.5).all()


@settings(max_examples=100)
@given(arrays, st.booleans())
def test_an_encoded_tensor_is_the_filled_one(array, as_content):
    filled = tensor_pb2.TensorProto()
    tensors.fill_tensor(filled, array, as_content)
    read = tensor_pb2.TensorProto.FromString(tensors.encoded(array, as_content))
    # As bytes: a NaN is not equal to itself.
    assert read.SerializeToString(deterministic=True) == filled.SerializeToString(
        deterministic=True
    )


@pytest.mark.timeout(20)
@pytest.mark.parametrize("field", [b"\x42\x00", b"\x2d\x00\x00\x00\x00", b"\xf8\x01\x00"])
def test_a_flood_of_fields_is_left_unread(field):
    """Empty strings, floats that are not packed, and unknown fields, for a shape of one."""
    head = message(dtype=types_pb2.DT_STRING, shape=[1]).SerializeToString()
    with pytest.raises(ValueError, match="more fields than values"):
        tensors.SentTensor.read(memoryview(head + field * 2_000_000))
