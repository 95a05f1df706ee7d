"""Hostile protobuf: valid messages, mangled ones, and fields of any number and wire type."""

from __future__ import annotations

import struct

from hypothesis import strategies as st
from tensorflow.core.framework import tensor_pb2, types_pb2
from tensorflow_serving.apis import predict_pb2

from serving.protocol.wire import varint

DTYPES = [
    types_pb2.DT_FLOAT,
    types_pb2.DT_DOUBLE,
    types_pb2.DT_INT32,
    types_pb2.DT_UINT8,
    types_pb2.DT_INT8,
    types_pb2.DT_STRING,
    types_pb2.DT_INT64,
    types_pb2.DT_BOOL,
    types_pb2.DT_HALF,
    types_pb2.DT_UINT32,
    types_pb2.DT_UINT64,
]
_int32, _int64 = st.integers(-(2**31), 2**31 - 1), st.integers(-(2**63), 2**63 - 1)
_VALUES = {
    "float_val": st.floats(width=32, allow_nan=False),
    "double_val": st.floats(allow_nan=False),
    "int_val": _int32,
    "string_val": st.binary(max_size=5),
    "int64_val": _int64,
    "bool_val": st.booleans(),
    "half_val": st.integers(0, 2**16 - 1),
    "uint32_val": st.integers(0, 2**32 - 1),
    "uint64_val": st.integers(0, 2**64 - 1),
}


@st.composite
def tensors(draw: st.DrawFn) -> tensor_pb2.TensorProto:
    """TensorProtos whose shape, type and values need not fit."""
    message = tensor_pb2.TensorProto(dtype=draw(st.sampled_from(DTYPES)))
    for size in draw(st.lists(st.integers(-1, 4), max_size=3)):
        message.tensor_shape.dim.add().size = size
    message.tensor_shape.unknown_rank = draw(st.integers(0, 9)) == 0
    for field in draw(st.lists(st.sampled_from(sorted(_VALUES)), max_size=2)):
        getattr(message, field).extend(draw(st.lists(_VALUES[field], max_size=5)))
    if draw(st.integers(0, 4)) == 0:
        message.tensor_content = draw(st.binary(max_size=20))
    return message


@st.composite
def requests(draw: st.DrawFn) -> predict_pb2.PredictRequest:
    """PredictRequests for anything."""
    message = predict_pb2.PredictRequest()
    message.model_spec.name = draw(st.sampled_from(["denoiser", "half_plus", "", "é"]))
    message.model_spec.signature_name = draw(
        st.sampled_from(["", "serving_default", "predict_pixels", "predict_encoded", "absent"])
    )
    for alias in draw(
        st.lists(st.sampled_from(["image", "pixels", "image_bytes", ""]), max_size=2)
    ):
        message.inputs[alias].CopyFrom(draw(tensors()))
    message.output_filter.extend(draw(st.lists(st.sampled_from(["denoised", "x"]), max_size=2)))
    return message


@st.composite
def fields(draw: st.DrawFn) -> bytes:
    """Any fields, of which some are cut short."""
    parts = []
    for _ in range(draw(st.integers(0, 4))):
        number, kind = draw(st.integers(0, 20)), draw(st.sampled_from([0, 1, 2, 2, 2, 3, 4, 5, 6]))
        content = draw(st.one_of(st.binary(max_size=12), tensors().map(_serialized)))
        value = {
            0: varint(draw(st.integers(0, 2**64 - 1))),
            1: struct.pack("<d", 1.0),
            2: varint(len(content)) + content,
            3: varint(number << 3 | 4),
            5: struct.pack("<f", 1.0),
        }.get(kind, b"")
        parts.append(varint(number << 3 | kind) + value)
    whole = b"".join(parts)
    return whole[: draw(st.integers(0, len(whole)))] if draw(st.booleans()) else whole


def _serialized(message: tensor_pb2.TensorProto) -> bytes:
    return message.SerializeToString()


@st.composite
def mangled(draw: st.DrawFn, messages: st.SearchStrategy) -> bytes:
    """Serialised messages, some with bytes changed, taken away or put in, or two of them joined
    (which protobuf merges)."""
    content = bytearray(draw(messages).SerializeToString())
    how = draw(st.integers(0, 5))
    if how == 0:
        content += draw(messages).SerializeToString()
    elif how == 1:
        content += draw(fields())
    elif how == 2 and content:
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    elif how == 3:
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(content)
