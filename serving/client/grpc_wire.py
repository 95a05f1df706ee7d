"""The calls over gRPC: TF Serving's messages and what they answer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.client.target import Call, Shapes, Signature, Signatures, Target, VersionStatus
from serving.protocol import messages

# tensorflow.DataType of tensorflow/core/framework/types.proto, and the field values are in.
_DTYPES: dict[int, tuple[Any, str]] = {
    1: (np.float32, "float_val"),
    2: (np.float64, "double_val"),
    3: (np.int32, "int_val"),
    4: (np.uint8, "int_val"),
    5: (np.int16, "int_val"),
    6: (np.int8, "int_val"),
    7: (object, "string_val"),
    9: (np.int64, "int64_val"),
    10: (np.bool_, "bool_val"),
    17: (np.uint16, "int_val"),
    22: (np.uint32, "uint32_val"),
    23: (np.uint64, "uint64_val"),
}
_ENUMS = {np.dtype(dtype): enum for enum, (dtype, _) in _DTYPES.items()}
_STATES = {10: "START", 20: "LOADING", 30: "AVAILABLE", 40: "UNLOADING", 50: "END"}
_PREDICTION = "/tensorflow.serving.PredictionService"
_MODEL = "/tensorflow.serving.ModelService"


def predict(
    target: Target, signature: str, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]
) -> Call:
    """Asks for arrays by output name.

    Args:
      outputs: Those wanted; empty: all.

    Raises:
      TypeError: an array is of a type that no tensor has.
    """
    request = messages.PredictRequest()
    _name(request, target, signature)
    request.output_filter.extend(outputs)
    for name, array in inputs.items():
        tensor = request.inputs[name]
        if array.dtype not in _ENUMS:
            raise TypeError(f"{name}: {array.dtype} is not the type of a tensor")
        tensor.dtype = _ENUMS[array.dtype]
        tensor.tensor_shape.SetInParent()
        for size in array.shape:
            tensor.tensor_shape.dim.add().size = size
        if array.dtype.hasobject:
            tensor.string_val.extend(array.ravel().tolist())
        else:
            tensor.tensor_content = array.tobytes()

    def read(answer: bytes) -> dict[str, np.ndarray]:
        response = messages.PredictResponse.FromString(answer)
        # Of the answer's own bytes, which may not be written to.
        return {name: _array(tensor).copy() for name, tensor in response.outputs.items()}

    return Call(f"{_PREDICTION}/Predict", request.SerializeToString(), read, signature)


def status(target: Target) -> Call:
    """Asks for a list of VersionStatus, the newest version first."""

    def read(answer: bytes) -> list[VersionStatus]:
        response = messages.GetModelStatusResponse.FromString(answer)
        versions = [
            VersionStatus(
                entry.version, _STATES.get(entry.state, "UNKNOWN"), entry.status.error_message
            )
            for entry in response.model_version_status
        ]
        return sorted(versions, key=lambda status: -status.version)

    request = messages.GetModelStatusRequest()
    _name(request, target)
    return Call(f"{_MODEL}/GetModelStatus", request.SerializeToString(), read)


def signatures(target: Target) -> Call:
    """Asks for the shapes of inputs and outputs."""

    def read(answer: bytes) -> Signatures:
        response = messages.GetModelMetadataResponse.FromString(answer)
        value = response.metadata["signature_def"].value
        return {
            name: Signature(_shapes(signature.inputs), _shapes(signature.outputs))
            for name, signature in messages.SignatureDefMap.FromString(value).signature_def.items()
        }

    request = messages.GetModelMetadataRequest(metadata_field=["signature_def"])
    _name(request, target)
    return Call(f"{_PREDICTION}/GetModelMetadata", request.SerializeToString(), read)


def _shapes(tensors: Mapping[str, Any]) -> Shapes:
    return {
        name: tuple(dim.size for dim in info.tensor_shape.dim) for name, info in tensors.items()
    }


def _name(request: Any, target: Target, signature: str = "") -> None:
    spec = request.model_spec
    spec.name = target.model
    spec.signature_name = signature
    if isinstance(target.version, str):
        spec.version_label = target.version
    elif target.version is not None:
        spec.version.value = target.version


def _array(tensor: Any) -> np.ndarray:
    """The values of a TensorProto.

    Raises:
      ValueError: it is not a tensor of a type this client knows.
    """
    if tensor.dtype not in _DTYPES:
        raise ValueError(f"the answer is a tensor of type {tensor.dtype}")
    dtype, field = _DTYPES[tensor.dtype]
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, dtype).reshape(shape)
    values = getattr(tensor, field)
    if field in ("float_val", "double_val"):
        array = np.frombuffer(values, np.dtype(dtype).newbyteorder("<"))
    elif dtype is object:
        array = np.empty(len(values), dtype)
        array[:] = list(values)
    else:
        array = np.fromiter(values, dtype, len(values))
    if len(array) == 1:
        return np.broadcast_to(array, math.prod(shape)).reshape(shape)
    return array.reshape(shape)
