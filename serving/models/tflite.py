"""A version of a model as TensorFlow Lite, with --prefer_tflite_model
(tensorflow_serving/servables/tensorflow/tflite_session.cc)."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2

from serving.models.servable import DEFAULT_SIGNATURE, Loaded
from serving.protocol.codes import Code, StatusError, invalid_argument

FILE = "model.tflite"
_SIGNATURES = b"signature_defs_metadata"


class TfliteServable(Loaded):
    """A loaded model.tflite, which computes one call at a time."""

    def __init__(self, name: str, version: int, path: pathlib.Path) -> None:
        """Loads it.

        Raises:
          StatusError: it cannot be loaded.
        """
        try:
            self._interpreter: Any = tf.lite.Interpreter(str(path / FILE))
        except (RuntimeError, OSError, ValueError) as error:
            raise StatusError(Code.NOT_FOUND, f"{path / FILE}: {error}") from error
        self._inputs = {d["name"]: d for d in self._interpreter.get_input_details()}
        self._outputs = {d["name"]: d["index"] for d in self._interpreter.get_output_details()}
        self.path = path
        super().__init__(name, version, path, dict(self._signatures()))

    def _signatures(self) -> Iterator[tuple[str, meta_graph_pb2.SignatureDef]]:
        """The file's own, in its metadata or its runners, else one whose aliases are the tensors'
        names."""
        interpreter = self._interpreter
        noted = _noted_signatures((self.path / FILE).read_bytes())
        for key, signature in noted.items():
            for infos, tensors in (
                (signature.inputs, self._inputs),
                (signature.outputs, self._outputs),
            ):
                for alias, info in infos.items():
                    info.name = _known(info.name, tensors, f"{self.path / FILE}: {key}: {alias}")
            yield key, signature
        if noted:
            return
        keys = interpreter.get_signature_list()
        for key in keys:
            runner = interpreter.get_signature_runner(key)
            yield key, _signature(runner.get_input_details(), runner.get_output_details())
        if not keys:
            outputs = {detail["name"]: detail for detail in interpreter.get_output_details()}
            yield DEFAULT_SIGNATURE, _signature(self._inputs, outputs)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> list[np.ndarray]:
        with self._computing:
            try:
                for tensor, array in inputs.items():
                    index = self._inputs[tensor]["index"]
                    self._interpreter.resize_tensor_input(index, array.shape)
                self._interpreter.allocate_tensors()
                for tensor, array in inputs.items():
                    self._interpreter.set_tensor(self._inputs[tensor]["index"], array)
                self._interpreter.invoke()
            except (RuntimeError, ValueError) as error:
                raise invalid_argument(str(error)) from error
            return [self._interpreter.get_tensor(self._outputs[tensor]) for tensor in outputs]

    def _free(self) -> None:
        self._interpreter = None


def _noted_signatures(content: bytes) -> dict[str, meta_graph_pb2.SignatureDef]:
    """Those that a tool wrote into a model's metadata
    (tensorflow/lite/tools/signature/signature_def_util.cc).

    Raises:
      StatusError: they are no SignatureDefs.
    """
    from flatbuffers import flexbuffers
    from tensorflow.lite.python import schema_py_generated

    model = schema_py_generated.Model.GetRootAsModel(content, 0)
    for number in range(model.MetadataLength()):
        entry = model.Metadata(number)
        if entry.Name() != _SIGNATURES:
            continue
        try:
            noted = flexbuffers.GetRoot(bytes(model.Buffers(entry.Buffer()).DataAsNumpy())).AsMap
            return {
                key.AsKey: meta_graph_pb2.SignatureDef.FromString(value.AsStringBytes)
                for key, value in zip(noted.Keys, noted.Values, strict=True)
            }
        except Exception as error:  # a damaged flexbuffer raises anything
            raise invalid_argument(
                f"Invalid SignatureDefs found in TfLite model: {error}"
            ) from error
    return {}


def _known(name: str, tensors: Mapping[str, Any], where: str) -> str:
    """A tensor's name, with the `:0` of TensorFlow's or without.

    Raises:
      StatusError: there is no such tensor.
    """
    for candidate in (name, name.removesuffix(":0")):
        if candidate in tensors:
            return candidate
    raise invalid_argument(f"{where} references an unknown tensor {name}")


def _signature(
    inputs: Mapping[str, Any], outputs: Mapping[str, Any]
) -> meta_graph_pb2.SignatureDef:
    signature = meta_graph_pb2.SignatureDef(method_name="tensorflow/serving/predict")
    for details, infos in ((inputs, signature.inputs), (outputs, signature.outputs)):
        for alias, detail in details.items():
            info = infos[alias]
            info.name = detail["name"]
            info.dtype = tf.as_dtype(detail["dtype"]).as_datatype_enum
            for size in detail["shape_signature"]:
                info.tensor_shape.dim.add().size = int(size)
    return signature
