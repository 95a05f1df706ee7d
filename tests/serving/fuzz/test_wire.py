"""The reader of the wire format against protobuf's own: what that takes is read the same."""

from __future__ import annotations

import contextlib
import math
import warnings
from typing import Any

import hypothesis
import numpy as np
import pytest
from google.protobuf.internal import api_implementation
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import classification_pb2, predict_pb2

from serving.calls.proto_requests import ExamplesRequest, PredictRequest
from serving.models.tensors import _VALUES, SentTensor, numpy_dtype
from serving.protocol import wire
from serving.protocol.codes import StatusError
from tests.serving.fuzz import messages

QUICK = settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
THOROUGH = settings(QUICK, max_examples=3000)
LONG = settings(QUICK, max_examples=1_000_000)
MOST_VALUES = 2**24
"""Far more than any message here holds. A shape may claim more, which the server's limits refuse by
`SentTensor.bytes`, before there is an array."""


def parsed(kind: Any, content: bytes) -> Any:
    """A message as gRPC would have it.

    Raises:
      DecodeError: it is none.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        message = kind.FromString(content)
    # protobuf 3.20 for Python warns where C++ refuses: "Not all data was converted".
    if any("Not all data" in str(warning.message) for warning in caught):
        raise DecodeError(str(caught[0].message))
    return message


def reference(message: tensor_pb2.TensorProto) -> np.ndarray:
    """Tensor::FromProto, value by value.

    Raises:
      ValueError: it is refused.
      MemoryError: the shape claims more than `MOST_VALUES`.
    """
    if message.dtype not in _VALUES or message.tensor_shape.unknown_rank:
        raise ValueError
    shape = [dim.size for dim in message.tensor_shape.dim]
    size, dtype = math.prod(shape), numpy_dtype(message.dtype)
    if any(dim < 0 for dim in shape) or len(shape) > 32 or size >= 2**63:
        raise ValueError
    if message.tensor_content:
        if dtype.hasobject or len(message.tensor_content) != size * dtype.itemsize:
            raise ValueError
        return np.frombuffer(message.tensor_content, dtype).reshape(shape)
    if size > MOST_VALUES:
        raise MemoryError
    field, _ = _VALUES[message.dtype]
    values = list(getattr(message, field))
    if len(values) > size:
        raise ValueError
    values += [values[-1] if values else (b"" if dtype.hasobject else 0)] * (size - len(values))
    array = np.empty(size, object if dtype.hasobject else None)
    if field == "half_val":
        array = np.array([value % 2**16 for value in values], np.uint16).view(dtype)
    elif dtype.hasobject:
        array[:] = values
    elif dtype.kind in "iu":
        bits = 8 * dtype.itemsize
        array = np.array([value % 2**bits for value in values], f"u{dtype.itemsize}").view(dtype)
    else:
        array = np.array(values, dtype)
    return array.reshape(shape)


def same_tensor(content: bytes) -> None:
    try:
        message = parsed(tensor_pb2.TensorProto, content)
    except DecodeError:
        # Ours may not have looked at what is wrong; but then it says so, or has an array.
        with contextlib.suppress(ValueError):
            SentTensor.read(memoryview(content)).array()
        return
    try:
        expected = reference(message)
    except MemoryError:
        sent = SentTensor.read(memoryview(content))
        assert sent.shape == tuple(dim.size for dim in message.tensor_shape.dim)
        assert sent.bytes >= sent.size > MOST_VALUES
        return
    except ValueError:
        with pytest.raises(ValueError):
            SentTensor.read(memoryview(content)).array()
        return
    sent = SentTensor.read(memoryview(content))
    found = sent.array()
    assert (sent.dtype, found.dtype, found.shape) == (message.dtype, expected.dtype, expected.shape)
    assert found.tobytes() == expected.tobytes() or found.tolist() == expected.tolist()


def plain_entries(content: bytes) -> bool:
    """Whether the entries of `inputs` hold keys and values alone."""
    return all(
        number in (1, 2) and kind == wire.BYTES
        for field, field_kind, entry in wire.fields(memoryview(content))
        if field == 2 and field_kind == wire.BYTES
        for number, kind, _ in wire.fields(entry)
    )


def same_request(content: bytes) -> None:
    try:
        message = parsed(predict_pb2.PredictRequest, content)
    except DecodeError:
        with contextlib.suppress(StatusError):
            PredictRequest.read(content)
        return
    if api_implementation.Type() == "upb" and not plain_entries(content):
        return  # it leaves such entries out, and C++ does not
    found = PredictRequest.read(content)
    assert (found.spec is not None) == message.HasField("model_spec")
    if found.spec is not None:
        assert found.spec == message.model_spec
    assert list(found.output_filter) == list(message.output_filter)
    assert set(found.inputs) == set(message.inputs)
    for alias, tensor in found.inputs.items():
        sent = tensor_pb2.TensorProto.FromString(bytes(tensor))
        assert as_bytes(sent) == as_bytes(message.inputs[alias])


def as_bytes(message: Any) -> bytes:
    """Messages to compare: a NaN, which mangled bytes may hold, does not equal itself."""
    return message.SerializeToString(deterministic=True)


def same_examples(content: bytes) -> None:
    try:
        message = parsed(classification_pb2.ClassificationRequest, content)
    except DecodeError:
        with contextlib.suppress(StatusError):
            ExamplesRequest.read(content).input.serialized(100)
        return
    found = ExamplesRequest.read(content)
    kind = message.input.WhichOneof("kind")
    examples = getattr(message.input, kind).examples if kind else []
    if not examples:
        with pytest.raises(StatusError, match="empty"):
            found.input.serialized(100)
        return
    serialized = found.input.serialized(100)
    assert len(serialized) == len(examples)
    context = (
        message.input.example_list_with_context.context.SerializeToString()
        if kind == "example_list_with_context"
        else b""
    )
    for one, example in zip(serialized, examples, strict=True):
        merged = type(example).FromString(context + example.SerializeToString())
        assert as_bytes(type(example).FromString(one)) == as_bytes(merged)


def of_shape(*sizes: int) -> bytes:
    tensor = tensor_pb2.TensorProto(dtype=types_pb2.DT_FLOAT)
    for size in sizes:
        tensor.tensor_shape.dim.add(size=size)
    return tensor.SerializeToString()


tensor_bytes = st.one_of(messages.mangled(messages.tensors()), messages.fields())
request_bytes = st.one_of(messages.mangled(messages.requests()), messages.fields())


@QUICK
@hypothesis.example(of_shape(2, 2**61))
@hypothesis.example(of_shape(2, 2**63 - 1))
@given(tensor_bytes)
def test_tensors(content):
    same_tensor(content)


@QUICK
@given(request_bytes)
def test_requests(content):
    same_request(content)


@st.composite
def classifications(draw: st.DrawFn) -> classification_pb2.ClassificationRequest:
    message = classification_pb2.ClassificationRequest()
    message.model_spec.name = "half_plus"
    for kind in draw(st.lists(st.sampled_from(["example_list", "example_list_with_context"]))):
        target = getattr(message.input, kind)
        target.SetInParent()
        for value in draw(st.lists(st.floats(width=32, allow_nan=False), max_size=2)):
            example = target.examples.add()
            example.features.feature["x"].float_list.value.append(value)
        if kind.endswith("context"):
            target.context.features.feature["c"].int64_list.value.append(1)
    return message


_NOT_A_NUMBER = classification_pb2.ClassificationRequest()
_NOT_A_NUMBER.input.example_list.examples.add().features.feature["x"].float_list.value.append(
    float("nan")
)


@QUICK
@hypothesis.example(_NOT_A_NUMBER.SerializeToString())
@given(messages.mangled(classifications()))
def test_examples(content):
    same_examples(content)


every_message = given(tensor_bytes, request_bytes, messages.mangled(classifications()))


def all_the_same(tensor: bytes, request: bytes, examples: bytes) -> None:
    same_tensor(tensor)
    same_request(request)
    same_examples(examples)


@pytest.mark.ci
@THOROUGH
@every_message
def test_all_of_them(tensor, request, examples):
    all_the_same(tensor, request, examples)


@pytest.mark.slow
@pytest.mark.timeout(0)
@LONG
@every_message
def test_all_of_them_for_hours(tensor, request, examples):
    all_the_same(tensor, request, examples)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_packed_integers(values):
    packed = b"".join(map(wire.varint, values))
    found = [value for block in wire.packed_varints(memoryview(packed)) for value in block.tolist()]
    assert found == values


def test_packed_integers_over_the_end_of_a_block():
    values = [2**40, 1, 300] * 200_000
    packed = b"".join(map(wire.varint, values))
    assert len(packed) > 2**20
    blocks = list(wire.packed_varints(memoryview(packed)))
    assert len(blocks) > 1
    assert np.concatenate(blocks).tolist() == values


@pytest.mark.parametrize("wrong", [b"\x80", b"\x01\xff", b"\x80" * 10 + b"\x01"])
def test_packed_integers_that_are_none(wrong):
    with pytest.raises(wire.WireError):
        list(wire.packed_varints(memoryview(wrong)))
