"""TF Serving's requests on the wire, read as far as a call needs them.

Names, types and shapes are there at once; values stay bytes until a signature has been found to
take them.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import model_pb2

from serving.calls.limits import too_many_rows
from serving.protocol import wire
from serving.protocol.codes import Code, StatusError, invalid_argument

_MAX_SPEC = 64 * 1024
_MAX_NAMES = 10_000


def _not_parsed(error: Exception) -> StatusError:
    return StatusError(Code.INTERNAL, f"The request is not the message it should be: {error}")


def _spec(parts: list[memoryview]) -> model_pb2.ModelSpec | None:
    if not parts:
        return None
    content = b"".join(parts)
    if len(content) > _MAX_SPEC:
        raise invalid_argument(f"ModelSpec of {len(content)} bytes, more than {_MAX_SPEC}")
    try:
        return model_pb2.ModelSpec.FromString(content)
    except DecodeError as error:
        raise _not_parsed(error) from error


@dataclasses.dataclass(frozen=True)
class PredictRequest:
    """tensorflow_serving/apis/predict.proto."""

    spec: model_pb2.ModelSpec | None
    inputs: dict[str, memoryview]
    """A TensorProto for each alias."""
    output_filter: tuple[str, ...]

    @classmethod
    def read(cls, message: bytes) -> PredictRequest:
        """Reads names and leaves values.

        Raises:
          StatusError: INTERNAL when it is no such message, as gRPC answers; INVALID_ARGUMENT
            for thousands of names.
        """
        specs: list[memoryview] = []
        inputs: dict[str, memoryview] = {}
        output_filter: list[str] = []
        try:
            for count, (number, kind, value) in enumerate(wire.fields(memoryview(message))):
                if count > _MAX_NAMES:
                    raise invalid_argument(f"more than {_MAX_NAMES} inputs and output names")
                if kind != wire.BYTES:
                    continue
                if number == 1:
                    specs.append(value)
                elif number == 2:
                    alias, tensor = wire.map_entry(value)
                    inputs[alias] = tensor
                elif number == 3:
                    output_filter.append(wire.text(value))
        except wire.WireError as error:
            raise _not_parsed(error) from error
        return cls(_spec(specs), inputs, tuple(output_filter))


@dataclasses.dataclass(frozen=True)
class Examples:
    """tensorflow_serving.Input: tf.Examples, each behind the shared context if there is one."""

    kind: int
    """1: ExampleList, 2: ExampleListWithContext, 0: neither was sent."""
    parts: tuple[memoryview, ...]

    @classmethod
    def read(cls, parts: list[memoryview]) -> Examples:
        """From the parts of an Input, whose last kind counts.

        Raises:
          WireError: it is no Input.
        """
        kind = 0
        lists: list[memoryview] = []
        for part in parts:
            for number, wire_type, value in wire.fields(part):
                if number not in (1, 2) or wire_type != wire.BYTES:
                    continue
                if number != kind:
                    kind, lists = number, []
                lists.append(value)
        return cls(kind, tuple(lists))

    @property
    def bytes(self) -> int:
        """Of all examples."""
        return sum(map(len, self.parts))

    def serialized(self, most: int) -> np.ndarray:
        """Serialised tf.Examples, objects (N,). Serialised messages merge when they are joined
        (InputToSerializedExampleTensor in tensorflow_serving/servables/tensorflow/util.cc).

        Raises:
          StatusError: INVALID_ARGUMENT when there is none, or there are more than `most`.
        """
        found: list[bytes] = []
        context = b""
        try:
            for part in self.parts:
                for number, wire_type, value in wire.fields(part):
                    if wire_type != wire.BYTES:
                        continue
                    if number == 1:
                        found.append(bytes(value))
                        if len(found) > most:
                            raise too_many_rows(len(found), most)
                    elif number == 2 and self.kind == 2:
                        context += bytes(value)
        except wire.WireError as error:
            raise _not_parsed(error) from error
        if not found:
            raise invalid_argument("Input is empty.")
        array = np.empty(len(found), dtype=object)
        array[:] = [context + example for example in found] if context else found
        return array


@dataclasses.dataclass(frozen=True)
class ExamplesRequest:
    """classification.proto and regression.proto, which are the same on the wire."""

    spec: model_pb2.ModelSpec | None
    input: Examples

    @classmethod
    def read(cls, message: bytes) -> ExamplesRequest:
        """See `PredictRequest.read`."""
        parts = _parts(message, (1, 2))
        try:
            return cls(_spec(parts[1]), Examples.read(parts[2]))
        except wire.WireError as error:
            raise _not_parsed(error) from error


@dataclasses.dataclass(frozen=True)
class Task:
    """InferenceTask in tensorflow_serving/apis/inference.proto."""

    spec: model_pb2.ModelSpec
    method_name: str


@dataclasses.dataclass(frozen=True)
class MultiInferenceRequest:
    """tensorflow_serving/apis/inference.proto."""

    tasks: tuple[Task, ...]
    input: Examples

    @classmethod
    def read(cls, message: bytes) -> MultiInferenceRequest:
        """See `PredictRequest.read`."""
        parts = _parts(message, (1, 2))
        tasks = []
        try:
            for task in parts[1]:
                inner = _parts(task, (1, 2))
                method = wire.text(inner[2][-1]) if inner[2] else ""
                tasks.append(Task(_spec(inner[1]) or model_pb2.ModelSpec(), method))
            return cls(tuple(tasks), Examples.read(parts[2]))
        except wire.WireError as error:
            raise _not_parsed(error) from error


def _parts(message: bytes | memoryview, numbers: tuple[int, ...]) -> dict[int, list[memoryview]]:
    """The values of some fields."""
    parts: dict[int, list[Any]] = {number: [] for number in numbers}
    try:
        for count, (number, kind, value) in enumerate(wire.fields(memoryview(message))):
            if count > _MAX_NAMES:
                raise invalid_argument(f"more than {_MAX_NAMES} parts of a request")
            if kind == wire.BYTES and number in parts:
                parts[number].append(value)
    except wire.WireError as error:
        raise _not_parsed(error) from error
    return parts
