"""Predict, Classify, Regress and MultiInference on one servable.

Each call is prepared (its request checked and turned into arrays), run (alone or in a batch
with others, which is not known here), and finished (its response made from the outputs).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    predict_pb2,
    regression_pb2,
)

from serving.models.servable import DEFAULT_SIGNATURE, Servable
from serving.models.tensors import fill_tensor, to_array
from serving.protocol.codes import Code, StatusError, invalid_argument

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

    servable: Servable
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


def prepare_arrays(
    servable: Servable,
    signature_name: str,
    arrays: Mapping[str, np.ndarray],
    output_filter: Sequence[str] = (),
    check_method_name: bool = False,
) -> Invocation:
    """Checks inputs and outputs against a signature, in the order and words of
    PreProcessPrediction (tensorflow_serving/servables/tensorflow/predict_util.cc).

    Raises:
      StatusError: FAILED_PRECONDITION for an unknown signature, else INVALID_ARGUMENT.
    """
    signature_name = signature_name or DEFAULT_SIGNATURE
    signature = servable.signatures.get(signature_name)
    if signature is None:
        raise StatusError(
            Code.FAILED_PRECONDITION, f'Serving signature key "{signature_name}" not found.'
        )
    methods = (PREDICT_METHOD, CLASSIFY_METHOD, REGRESS_METHOD)
    if check_method_name and signature.method_name not in methods:
        raise StatusError(
            Code.INTERNAL,
            f"Expected prediction signature method_name to be one of {{{', '.join(methods)}}}. "
            f"Was: {signature.method_name}",
        )
    expected = signature.inputs
    if len(arrays) != len(expected):
        raise invalid_argument(
            f"input size does not match signature: {len(arrays)}!={len(expected)} "
            f"len({{{_keys(arrays)}}}) != len({{{_keys(expected)}}}). "
            f"Sent extra: {{{_keys(set(arrays) - set(expected))}}}. "
            f"Missing but required: {{{_keys(set(expected) - set(arrays))}}}."
        )
    inputs = {}
    for alias, array in arrays.items():
        if alias not in expected:
            raise invalid_argument(
                f"input tensor alias not found in signature: {alias}. "
                f"Inputs expected to be in the set {{{_keys(expected)}}}."
            )
        tensor = expected[alias].name
        servable.check_input(alias, tensor, array)
        inputs[tensor] = array
    aliases = tuple(output_filter) or tuple(sorted(signature.outputs))
    for alias in aliases:
        if alias not in signature.outputs:
            raise invalid_argument(
                f"output tensor alias not found in signature: {alias} "
                f"Outputs expected to be in the set {{{_keys(signature.outputs)}}}."
            )
    for position, alias in enumerate(aliases):
        if alias in aliases[:position]:
            raise invalid_argument(f"duplicate output tensor alias: {alias}")
    outputs = tuple(signature.outputs[alias].name for alias in aliases)
    return Invocation(servable, signature_name, inputs, outputs, aliases)


def prepare_predict(
    servable: Servable, request: predict_pb2.PredictRequest, check_method_name: bool = False
) -> Invocation:
    """Checks a PredictRequest; see `prepare_arrays`."""
    arrays = {}
    for alias, tensor in request.inputs.items():
        try:
            arrays[alias] = to_array(tensor)
        except ValueError as error:
            raise invalid_argument(f"tensor parsing error: {alias}: {error}") from error
    return prepare_arrays(
        servable,
        request.model_spec.signature_name,
        arrays,
        request.output_filter,
        check_method_name,
    )


def fill_model_spec(spec: model_pb2.ModelSpec, servable: Servable, signature_name: str) -> None:
    """Which model, version and signature answered."""
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature_name


def finish_predict(
    invocation: Invocation, outputs: Sequence[np.ndarray], as_content: bool = False
) -> predict_pb2.PredictResponse:
    """The response with the outputs by their names in the signature."""
    response = predict_pb2.PredictResponse()
    fill_model_spec(response.model_spec, invocation.servable, invocation.signature_name)
    for alias, array in zip(invocation.aliases, outputs, strict=True):
        fill_tensor(response.outputs[alias], np.asarray(array), as_content)
    return response


def serialized_examples(examples: input_pb2.Input) -> np.ndarray:
    """The tf.Examples of a request as bytes, (N,), each behind the shared context if any.

    Serialised messages merge when they are joined
    (InputToSerializedExampleTensor in tensorflow_serving/servables/tensorflow/util.cc).

    Raises:
      StatusError: INVALID_ARGUMENT when there is none.
    """
    kind = examples.WhichOneof("kind")
    context = b""
    if kind == "example_list_with_context":
        context = examples.example_list_with_context.context.SerializeToString()
    items = getattr(examples, kind).examples if kind else ()
    if not items:
        raise invalid_argument("Input is empty.")
    array = np.empty(len(items), dtype=object)
    array[:] = [context + item.SerializeToString() for item in items]
    return array


def _example_signature(
    servable: Servable, signature_name: str, method: str, check_method_name: bool
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


def _output_tensors(signature: Any, method: str) -> tuple[str, ...]:
    aliases = (_CLASSES, _SCORES) if method == CLASSIFY_METHOD else (_VALUES,)
    return tuple(signature.outputs[a].name for a in aliases if a in signature.outputs)


def prepare_examples(
    servable: Servable,
    request: classification_pb2.ClassificationRequest | regression_pb2.RegressionRequest,
    method: str,
    check_method_name: bool = False,
) -> Invocation:
    """Checks a ClassificationRequest or RegressionRequest.

    Raises:
      StatusError: INVALID_ARGUMENT or FAILED_PRECONDITION, as TF Serving.
    """
    name, signature = _example_signature(
        servable, request.model_spec.signature_name, method, check_method_name
    )
    examples = serialized_examples(request.input)
    tensor = signature.inputs[_EXAMPLES].name
    servable.check_input(_EXAMPLES, tensor, examples)
    return Invocation(
        servable,
        name,
        {tensor: examples},
        _output_tensors(signature, method),
        examples=len(examples),
    )


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
    servable: Servable, request: inference_pb2.MultiInferenceRequest, check_method_name: bool
) -> Invocation:
    """Checks the tasks of a MultiInferenceRequest, which are computed in one run
    (tensorflow_serving/servables/tensorflow/multi_inference.cc).

    Raises:
      StatusError: INVALID_ARGUMENT, UNIMPLEMENTED for another method than classify or regress.
    """
    inputs: set[str] = set()
    outputs: set[str] = set()
    seen: set[str] = set()
    for task in request.tasks:
        if not task.model_spec.name:
            raise invalid_argument("Found ModelSpec with an empty model name.")
        if task.model_spec.name != servable.name:
            raise invalid_argument(
                "All ModelSpecs in a MultiInferenceRequest must access the same model name."
            )
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
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
    if len(inputs) > 1:
        raise invalid_argument("Input tensor must be the same for all Signatures.")
    examples = serialized_examples(request.input)
    return Invocation(
        servable,
        "",
        {inputs.pop(): examples},
        tuple(sorted(outputs)),
        examples=len(examples),
    )


def finish_multi(
    invocation: Invocation,
    outputs: Sequence[np.ndarray],
    request: inference_pb2.MultiInferenceRequest,
) -> inference_pb2.MultiInferenceResponse:
    """A result for each task, in order."""
    arrays = dict(zip(invocation.outputs, outputs, strict=True))
    response = inference_pb2.MultiInferenceResponse()
    for task in request.tasks:
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
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
    servable: Servable, fields: Sequence[str]
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
