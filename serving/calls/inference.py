"""Predict, Classify, Regress and MultiInference on one servable.

Each call is prepared (its request checked and turned into arrays), run (alone or in a batch
with others, which is not known here), and finished (its response made from the outputs).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    model_pb2,
    regression_pb2,
)

from serving.calls.limits import Limits
from serving.calls.proto_requests import (
    Examples,
    ExamplesRequest,
    MultiInferenceRequest,
    PredictRequest,
)
from serving.models.servable import DEFAULT_SIGNATURE, Loaded
from serving.models.tensors import STRING_BYTES, SentTensor, encoded, to_array
from serving.protocol import wire
from serving.protocol.codes import Code, StatusError, invalid_argument
from serving.protocol.dtypes import DataType, type_name

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"
PREDICT_METHOD = "tensorflow/serving/predict"
METADATA_FIELD = "signature_def"
# tensorflow/cc/saved_model/signature_constants.h
_EXAMPLES = "inputs"
_CLASSES = "classes"
_SCORES = "scores"
_VALUES = "outputs"


@dataclasses.dataclass(frozen=True)
class Invocation:
    """What one call computes."""

    servable: Loaded
    signature_name: str
    inputs: Mapping[str, np.ndarray]
    """Arrays by tensor name."""
    outputs: tuple[str, ...]
    """Tensor names."""
    aliases: tuple[str, ...] = ()
    """The outputs' names in the signature."""
    examples: int = 0
    """Number of tf.Examples in the request."""


def _keys(names: Iterable[str]) -> str:
    return ",".join(sorted(names))


def prepare_predict(
    servable: Loaded,
    request: PredictRequest,
    limits: Limits,
    check_method_name: bool = False,
) -> Invocation:
    """Checks inputs and outputs against a signature, in the order and words of
    PreProcessPrediction (tensorflow_serving/servables/tensorflow/predict_util.cc). Values are
    read when all names, types and sizes are right.

    Raises:
      StatusError: FAILED_PRECONDITION for an unknown signature, RESOURCE_EXHAUSTED for inputs
        of too many bytes, else INVALID_ARGUMENT.
    """
    name = (request.spec.signature_name if request.spec else "") or DEFAULT_SIGNATURE
    signature = servable.signatures.get(name)
    if signature is None:
        raise StatusError(Code.FAILED_PRECONDITION, f'Serving signature key "{name}" not found.')
    _check_predict_method(signature, check_method_name)
    expected, defaults = signature.inputs, signature.defaults
    given = len(request.inputs)
    if given > len(expected) or (given < len(expected) and not defaults):
        given_names, expected_names = set(request.inputs), set(expected)
        raise invalid_argument(
            f"input size does not match signature: {given}!={len(expected)} "
            f"len({{{_keys(given_names)}}}) != len({{{_keys(expected_names)}}}). "
            f"Sent extra: {{{_keys(given_names - expected_names)}}}. "
            f"Missing but required: {{{_keys(expected_names - given_names)}}}."
        )
    sent: dict[str, SentTensor] = {}
    for alias, message in request.inputs.items():
        if alias not in expected:
            raise invalid_argument(
                f"input tensor alias not found in signature: {alias}. "
                f"Inputs expected to be in the set {{{_keys(expected)}}}."
            )
        try:
            sent[alias] = SentTensor.read(message)
        except ValueError as error:
            raise invalid_argument(f"tensor parsing error: {alias}: {error}") from error
    for position, (alias, tensor) in enumerate(sent.items()):
        wanted = servable.input_type(expected[alias].name)
        if tensor.dtype != wanted:
            raise invalid_argument(
                f"input {alias!r}: Expects arg[{position}] to be {type_name(wanted)} but "
                f"{type_name(tensor.dtype)} is provided"
            )
    limits.check(
        {alias: tensor.shape for alias, tensor in sent.items()},
        sum(tensor.bytes for tensor in sent.values()),
    )
    aliases, outputs = _outputs(signature, request.output_filter)
    inputs = {}
    for alias, info in expected.items():
        try:
            if alias in sent:
                inputs[info.name] = sent[alias].array()
            elif alias in defaults:
                inputs[info.name] = to_array(defaults[alias])
            else:
                raise invalid_argument(
                    f"Signature input {alias} should be in either request_inputs or default_inputs."
                )
        except ValueError as error:
            raise invalid_argument(f"tensor parsing error: {alias}: {error}") from error
    return Invocation(servable, name, inputs, outputs, aliases)


def prepare_arrays(
    servable: Loaded,
    name: str,
    arrays: Mapping[str, np.ndarray],
    limits: Limits,
    check_method_name: bool = False,
) -> Invocation:
    """As `prepare_predict`, of arrays by alias that were made for this signature.

    Raises:
      StatusError: the arrays are too large, or the signature is not for Predict.
    """
    signature = servable.signatures[name]
    _check_predict_method(signature, check_method_name)
    limits.check(
        {alias: array.shape for alias, array in arrays.items()},
        sum(
            array.nbytes + (STRING_BYTES * array.size if array.dtype.hasobject else 0)
            for array in arrays.values()
        ),
    )
    aliases, outputs = _outputs(signature, ())
    inputs = {signature.inputs[alias].name: array for alias, array in arrays.items()}
    return Invocation(servable, name, inputs, outputs, aliases)


def _check_predict_method(signature: Any, check_method_name: bool) -> None:
    methods = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if check_method_name and signature.method_name not in methods:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(methods)}}}. "
            f"Was: {signature.method_name}",
        )


def _outputs(
    signature: Any, output_filter: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Aliases and tensor names of the outputs that are asked for, or of all."""
    aliases = tuple(output_filter) or tuple(sorted(signature.outputs))
    for position, alias in enumerate(aliases):
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_keys(signature.outputs)}}}."
            )
        if alias in aliases[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    return aliases, tuple(signature.outputs[alias].name for alias in aliases)


def fill_model_spec(spec: model_pb2.ModelSpec, servable: Loaded, signature_name: str) -> None:
    """Which model, version and signature answered."""
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name


def finish_predict(
    invocation: Invocation, outputs: Sequence[np.ndarray], as_content: bool = False
) -> bytes:
    """The serialised PredictResponse with the outputs by their names in the signature."""
    servable = invocation.servable
    spec = _serialized_spec(servable.name, servable.version, invocation.signature_name)
    parts = [
        wire.field(
            1,
            wire.field(1, alias.encode()),
            wire.field(2, encoded(np.asarray(array), as_content)),
        )
        for alias, array in zip(invocation.aliases, outputs, strict=True)
    ]
    return b"".join([*parts, wire.field(2, spec)])


@functools.lru_cache(maxsize=256)
def _serialized_spec(name: str, version: int, signature_name: str) -> bytes:
    spec = model_pb2.ModelSpec(name=name, signature_name=signature_name)
    spec.version.value = version
    return spec.SerializeToString()


def _example_signature(
    servable: Loaded, signature_name: str, method: str, check_method_name: bool
) -> tuple[str, Any]:
    """The signature, checked as PreProcessClassification and PreProcessRegression do
    (tensorflow_serving/servables/tensorflow/classifier.cc, regressor.cc)."""
    signature_name = signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(signature_name)
    if signature is None:
        raise invalid_argument(f"No signature was found with the name: {signature_name}")
    kind = "classification" if method == CLASSIFY_METHOD else "regression"
    if check_method_name and signature.method_name != method:
        raise invalid_argument(
            f"Expected {kind} signature method_name to be {method}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid_argument("Expected one input Tensor.")
    if _EXAMPLES not in signature.inputs:
        raise StatusError(
            Code.FAILED_PRECONDITION, f"No {kind} inputs found in SignatureDef: {signature}"
        )
    if kind == "classification":
        if len(signature.outputs) not in (1, 2):
            raise invalid_argument(
                f"Expected one or two output Tensors, found {len(signature.outputs)}"
            )
        if not {_CLASSES, _SCORES} & set(signature.outputs):
            raise StatusError(
                Code.FAILED_PRECONDITION,
                "Expected classification signature outputs to contain at least one of "
                f'"{_CLASSES}" or "{_SCORES}". Signature was: {signature}',
            )
    else:
        if len(signature.outputs) != 1:
            raise invalid_argument("Expected one output Tensor.")
        if _VALUES not in signature.outputs:
            raise StatusError(
                Code.FAILED_PRECONDITION,
                f"No regression outputs found in SignatureDef: {signature}",
            )
    return signature_name, signature


def example_signatures(servable: Loaded) -> frozenset[str]:
    """Names of the signatures that take tf.Examples."""
    return frozenset(
        name for name, signature in servable.signatures.items() if _EXAMPLES in signature.inputs
    )


def _output_tensors(signature: Any, method: str) -> tuple[str, ...]:
    aliases = (_CLASSES, _SCORES) if method == CLASSIFY_METHOD else (_VALUES,)
    return tuple(signature.outputs[a].name for a in aliases if a in signature.outputs)


def prepare_examples(
    servable: Loaded,
    request: ExamplesRequest,
    method: str,
    limits: Limits,
    check_method_name: bool = False,
) -> Invocation:
    """Checks a ClassificationRequest or RegressionRequest, then reads its tf.Examples.

    Raises:
      StatusError: INVALID_ARGUMENT or FAILED_PRECONDITION, as TF Serving.
    """
    name = request.spec.signature_name if request.spec else ""
    name, signature = _example_signature(servable, name, method, check_method_name)
    tensor = signature.inputs[_EXAMPLES].name
    examples = _examples(servable, request.input, [tensor], limits)
    return Invocation(
        servable, name, examples, _output_tensors(signature, method), examples=_rows(examples)
    )


def _examples(
    servable: Loaded, examples: Examples, tensors: Sequence[str], limits: Limits
) -> dict[str, np.ndarray]:
    """The same serialised tf.Examples for each of some input tensors."""
    for tensor in tensors:
        wanted = servable.input_type(tensor)
        if wanted != DataType.STRING:
            raise invalid_argument(
                f"Expects arg[0] to be {type_name(wanted)} but string is provided"
            )
    return dict.fromkeys(tensors, examples.serialized(limits.rows))


def _rows(inputs: Mapping[str, np.ndarray]) -> int:
    return len(next(iter(inputs.values())))


def _describe(array: np.ndarray) -> str:
    return "[" + ",".join(str(size) for size in array.shape) + "]"


def classification_result(
    signature: Any, outputs: Mapping[str, np.ndarray], examples: int
) -> classification_pb2.ClassificationResult:
    """PostProcessClassificationResult in classifier.cc.

    Args:
      signature: The SignatureDef.
      outputs: Arrays by tensor name; classes are bytes (N, K), scores float32 (N, K).
      examples: N.

    Raises:
      StatusError: INVALID_ARGUMENT when the model's outputs are not of that form.
    """
    arrays = {}
    for alias, dtype in ((_CLASSES, np.dtype(object)), (_SCORES, np.dtype(np.float32))):
        if alias not in signature.outputs:
            continue
        array = outputs[signature.outputs[alias].name]
        if array.ndim != 2:
            raise invalid_argument(
                f"Expected Tensor shape: [batch_size num_classes] but got {_describe(array)}"
            )
        if array.dtype != dtype:
            wanted = "DT_STRING" if dtype.hasobject else "DT_FLOAT"
            raise invalid_argument(f"Expected {alias} Tensor of {wanted}. Got: {array.dtype}")
        if len(array) != examples:
            raise invalid_argument(
                f"Expected {alias} output batch size of {examples}. Got: {len(array)}"
            )
        arrays[alias] = array
    if len({array.shape[1] for array in arrays.values()}) > 1:
        raise invalid_argument(
            "Tensors class and score should match in dim_size(1). Got "
            f"{arrays[_CLASSES].shape[1]} vs. {arrays[_SCORES].shape[1]}"
        )
    result = classification_pb2.ClassificationResult()
    for row in range(examples):
        classes = result.classifications.add()
        for column in range(next(iter(arrays.values())).shape[1]):
            item = classes.classes.add()
            if _CLASSES in arrays:
                item.label = arrays[_CLASSES][row, column].decode("utf-8", "replace")
            if _SCORES in arrays:
                item.score = arrays[_SCORES][row, column]
    return result


def regression_result(
    signature: Any, outputs: Mapping[str, np.ndarray], examples: int
) -> regression_pb2.RegressionResult:
    """PostProcessRegressionResult in regressor.cc; the output is float32 (N,) or (N, 1).

    Raises:
      StatusError: INVALID_ARGUMENT when the model's output is not of that form.
    """
    array = outputs[signature.outputs[_VALUES].name]
    if array.ndim not in (1, 2) or (array.ndim == 2 and array.shape[1] != 1):
        raise invalid_argument(
            "Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got "
            + _describe(array)
        )
    if len(array) != examples:
        raise invalid_argument(
            f"Input batch size did not match output batch size: {examples} vs. {len(array)}"
        )
    if array.dtype != np.float32:
        raise invalid_argument(f"Expected output Tensor of DT_FLOAT.  Got: {array.dtype}")
    result = regression_pb2.RegressionResult()
    for value in array.ravel():
        result.regressions.add().value = value
    return result


def finish_examples(
    invocation: Invocation, outputs: Sequence[np.ndarray], method: str
) -> classification_pb2.ClassificationResponse | regression_pb2.RegressionResponse:
    """The response to Classify or Regress."""
    arrays = dict(zip(invocation.outputs, outputs, strict=True))
    signature = invocation.servable.signatures[invocation.signature_name]
    response: Any
    if method == CLASSIFY_METHOD:
        response = classification_pb2.ClassificationResponse(
            result=classification_result(signature, arrays, invocation.examples)
        )
    else:
        response = regression_pb2.RegressionResponse(
            result=regression_result(signature, arrays, invocation.examples)
        )
    fill_model_spec(response.model_spec, invocation.servable, invocation.signature_name)
    return response


def prepare_multi(
    servable: Loaded,
    request: MultiInferenceRequest,
    limits: Limits,
    check_method_name: bool = False,
) -> Invocation:
    """Checks the tasks of a MultiInferenceRequest, which are computed in one run
    (tensorflow_serving/servables/tensorflow/multi_inference.cc). Signatures of a TF2
    SavedModel have each an input tensor of its own: each gets the same tf.Examples.

    Raises:
      StatusError: INVALID_ARGUMENT, UNIMPLEMENTED for another method than classify or regress.
    """
    inputs: set[str] = set()
    outputs: set[str] = set()
    seen: set[str] = set()
    for task in request.tasks:
        if not task.spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.spec.name != servable.name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = task.spec.signature_name or DEFAULT_SIGNATURE
        if name in seen:
            raise invalid_argument(f"Duplicate evaluation of signature: {name}")
        seen.add(name)
        if name not in servable.signatures:
            raise invalid_argument(f"Requested signature not found in model graph: {name}")
        if task.method_name not in (CLASSIFY_METHOD, REGRESS_METHOD):
            raise StatusError(
                Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}"
            )
        _, signature = _example_signature(servable, name, task.method_name, check_method_name)
        inputs.add(signature.inputs[_EXAMPLES].name)
        outputs.update(_output_tensors(signature, task.method_name))
    examples = _examples(servable, request.input, sorted(inputs), limits)
    return Invocation(servable, "", examples, tuple(sorted(outputs)), examples=_rows(examples))


def finish_multi(
    invocation: Invocation,
    outputs: Sequence[np.ndarray],
    request: MultiInferenceRequest,
) -> inference_pb2.MultiInferenceResponse:
    """A result for each task, in order."""
    arrays = dict(zip(invocation.outputs, outputs, strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        name = task.spec.signature_name or DEFAULT_SIGNATURE
        signature = invocation.servable.signatures[name]
        result = response.results.add()
        fill_model_spec(result.model_spec, invocation.servable, name)
        if task.method_name == CLASSIFY_METHOD:
            result.classification_result.CopyFrom(
                classification_result(signature, arrays, invocation.examples)
            )
        else:
            result.regression_result.CopyFrom(
                regression_result(signature, arrays, invocation.examples)
            )
    return response


def model_metadata(
    servable: Loaded, fields: Sequence[str]
) -> get_model_metadata_pb2.GetModelMetadataResponse:
    """The signatures (tensorflow_serving/servables/tensorflow/get_model_metadata_impl.cc).

    Raises:
      StatusError: INVALID_ARGUMENT for no field, or one other than signature_def.
    """
    if not fields:
        raise invalid_argument("GetModelMetadataRequest must specify at least one metadata_field")
    for field in fields:
        if field != METADATA_FIELD:
            raise invalid_argument(f"Metadata field {field} is not supported")
    response = get_model_metadata_pb2.GetModelMetadataResponse()
    response.model_spec.name = servable.name
    response.model_spec.version.value = servable.version
    signatures = get_model_metadata_pb2.SignatureDefMap()
    for name, signature in servable.signatures.items():
        signatures.signature_def[name].CopyFrom(signature)
    response.metadata[METADATA_FIELD].Pack(signatures)
    return response
