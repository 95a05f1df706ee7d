"""TF Serving's messages, without TensorFlow.

`tensorflow_serving.apis` imports all of TensorFlow (seconds), and the package on PyPI has
no stubs for the batching, TLS and monitoring files. The messages below are declared by
hand, field numbers and types as in the .proto files named beside them, in a descriptor
pool of their own so that they never clash with TensorFlow's in the same process.

Enums are declared int32, which is the same on the wire.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_SCALARS = {
    "double": descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE,
    "float": descriptor_pb2.FieldDescriptorProto.TYPE_FLOAT,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "uint32": descriptor_pb2.FieldDescriptorProto.TYPE_UINT32,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}
_PACKAGE = "tensorflow.serving"

# message: {field: (number, type)}; `repeated T` and `map T` (keyed by string) as in .proto.
_MESSAGES: dict[str, dict[str, tuple[int, str]]] = {
    # google/protobuf/wrappers.proto and any.proto
    "Int64Value": {"value": (1, "int64")},
    "BoolValue": {"value": (1, "bool")},
    "StringValue": {"value": (1, "string")},
    "Any": {"type_url": (1, "string"), "value": (2, "bytes")},
    # tensorflow/core/framework/tensor_shape.proto, tensor.proto
    "Dim": {"size": (1, "int64"), "name": (2, "string")},
    "TensorShapeProto": {"dim": (2, "repeated Dim"), "unknown_rank": (3, "bool")},
    "TensorProto": {
        "dtype": (1, "int32"),
        "tensor_shape": (2, "TensorShapeProto"),
        "tensor_content": (4, "bytes"),
        # `repeated float [packed = true]` is its values' bytes behind one length, which is
        # what `bytes` is: read as such, an answer of 50,000 floats costs one copy.
        "float_val": (5, "bytes"),
        "double_val": (6, "bytes"),
        "int_val": (7, "repeated int32"),
        "string_val": (8, "repeated bytes"),
        "int64_val": (10, "repeated int64"),
        "bool_val": (11, "repeated bool"),
        "uint32_val": (16, "repeated uint32"),
        "uint64_val": (17, "repeated uint64"),
    },
    # tensorflow/core/protobuf/meta_graph.proto
    "TensorInfo": {
        "name": (1, "string"),
        "dtype": (2, "int32"),
        "tensor_shape": (3, "TensorShapeProto"),
    },
    "SignatureDef": {
        "inputs": (1, "map TensorInfo"),
        "outputs": (2, "map TensorInfo"),
        "method_name": (3, "string"),
    },
    # tensorflow_serving/apis/model.proto, predict.proto
    "ModelSpec": {
        "name": (1, "string"),
        "version": (2, "Int64Value"),
        "signature_name": (3, "string"),
        "version_label": (4, "string"),
    },
    "PredictRequest": {
        "model_spec": (1, "ModelSpec"),
        "inputs": (2, "map TensorProto"),
        "output_filter": (3, "repeated string"),
    },
    "PredictResponse": {"outputs": (1, "map TensorProto"), "model_spec": (2, "ModelSpec")},
    # tensorflow_serving/apis/get_model_status.proto, tensorflow_serving/util/status.proto
    "StatusProto": {"error_code": (1, "int32"), "error_message": (2, "string")},
    "GetModelStatusRequest": {"model_spec": (1, "ModelSpec")},
    "ModelVersionStatus": {
        "version": (1, "int64"),
        "state": (2, "int32"),
        "status": (3, "StatusProto"),
    },
    "GetModelStatusResponse": {"model_version_status": (1, "repeated ModelVersionStatus")},
    # tensorflow_serving/apis/get_model_metadata.proto
    "GetModelMetadataRequest": {
        "model_spec": (1, "ModelSpec"),
        "metadata_field": (2, "repeated string"),
    },
    "GetModelMetadataResponse": {"model_spec": (1, "ModelSpec"), "metadata": (2, "map Any")},
    "SignatureDefMap": {"signature_def": (1, "map SignatureDef")},
    # tensorflow_serving/servables/tensorflow/session_bundle_config.proto
    "BatchingParameters": {
        "max_batch_size": (1, "Int64Value"),
        "batch_timeout_micros": (2, "Int64Value"),
        "max_enqueued_batches": (3, "Int64Value"),
        "num_batch_threads": (4, "Int64Value"),
        "thread_pool_name": (5, "StringValue"),
        "allowed_batch_sizes": (6, "repeated int64"),
        "pad_variable_length_inputs": (7, "bool"),
        "enable_large_batch_splitting": (8, "BoolValue"),
        "max_execution_batch_size": (9, "Int64Value"),
    },
    # tensorflow_serving/config/ssl_config.proto
    "SSLConfig": {
        "server_key": (1, "string"),
        "server_cert": (2, "string"),
        "custom_ca": (3, "string"),
        "client_verify": (4, "bool"),
    },
    # tensorflow_serving/config/monitoring_config.proto
    "PrometheusConfig": {"enable": (1, "bool"), "path": (2, "string")},
    "MonitoringConfig": {"prometheus_config": (1, "PrometheusConfig")},
}


def _set_type(field: Any, kind: str) -> None:
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


def _declare(file: Any, name: str, fields: dict[str, tuple[int, str]]) -> None:
    message = file.message_type.add(name=name)
    for field_name, (number, kind) in fields.items():
        modifier, _, kind = kind.rpartition(" ")
        field = message.field.add(name=field_name, number=number)
        field.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
        if modifier:
            field.label = descriptor_pb2.FieldDescriptorProto.LABEL_REPEATED
        if modifier != "map":
            _set_type(field, kind)
            continue
        entry_name = "".join(part.title() for part in field_name.split("_")) + "Entry"
        entry = message.nested_type.add(name=entry_name)
        entry.options.map_entry = True
        for part, part_number, part_kind in (("key", 1, "string"), ("value", 2, kind)):
            part_field = entry.field.add(name=part, number=part_number)
            part_field.label = descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
            _set_type(part_field, part_kind)
        field.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{name}.{entry_name}"


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(
        name="serving/messages.proto", package=_PACKAGE, syntax="proto3"
    )
    for name, fields in _MESSAGES.items():
        _declare(file, name, fields)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    descriptors = {name: pool.FindMessageTypeByName(f"{_PACKAGE}.{name}") for name in _MESSAGES}
    if hasattr(message_factory, "GetMessageClass"):
        return {name: message_factory.GetMessageClass(value) for name, value in descriptors.items()}
    factory: Any = message_factory.MessageFactory(pool)  # protobuf before 4.22
    return {name: factory.GetPrototype(value) for name, value in descriptors.items()}


_CLASSES = _build()

BatchingParameters = _CLASSES["BatchingParameters"]
GetModelMetadataRequest = _CLASSES["GetModelMetadataRequest"]
GetModelMetadataResponse = _CLASSES["GetModelMetadataResponse"]
GetModelStatusRequest = _CLASSES["GetModelStatusRequest"]
GetModelStatusResponse = _CLASSES["GetModelStatusResponse"]
MonitoringConfig = _CLASSES["MonitoringConfig"]
PredictRequest = _CLASSES["PredictRequest"]
PredictResponse = _CLASSES["PredictResponse"]
SSLConfig = _CLASSES["SSLConfig"]
SignatureDefMap = _CLASSES["SignatureDefMap"]
TensorProto = _CLASSES["TensorProto"]
