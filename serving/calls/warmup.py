"""Replaying a SavedModel's warm-up requests before it is served.

tensorflow_serving/servables/tensorflow/saved_model_warmup.cc: the requests are PredictionLogs
in a TFRecord file in the SavedModel; one that fails makes the load fail.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from tensorflow_serving.apis import prediction_log_pb2

from components.export.requests import WARMUP_FILE
from serving.calls import inference
from serving.calls.limits import NO_LIMITS
from serving.calls.proto_requests import (
    ExamplesRequest,
    MultiInferenceRequest,
    PredictRequest,
)
from serving.models.servable import Loaded
from serving.models.tensors import to_array
from serving.protocol.codes import Code, StatusError

_MAX_RECORDS = 1000  # WarmupConsts::kMaxNumRecords
SAMPLES_SIGNATURE = "predict_pixels"


def warmup_records(servable: Loaded) -> Iterator[prediction_log_pb2.PredictionLog]:
    """The recorded requests; none when the SavedModel has no such file.

    Raises:
      StatusError: INVALID_ARGUMENT for more than 1000.
      tf.errors.DataLossError: the file is damaged.
    """
    import tensorflow as tf

    path = servable.path / WARMUP_FILE
    if not path.is_file():
        return
    for number, record in enumerate(tf.data.TFRecordDataset(str(path)).as_numpy_iterator()):
        if number >= _MAX_RECORDS:
            raise StatusError(
                Code.INVALID_ARGUMENT,
                f"Number of warmup records exceeds the maximum ({_MAX_RECORDS}) at {path}",
            )
        yield prediction_log_pb2.PredictionLog.FromString(record)


def warm_up(servable: Loaded, iterations: int = 1) -> int:
    """Runs each recorded request, whatever model name it was recorded for.

    Returns:
      The number of requests.

    Raises:
      StatusError: a request does not fit the model.
      tf.errors.OpError: a request failed.
    """
    number = 0
    for log in warmup_records(servable):
        for _ in range(iterations):
            _replay(servable, log)
        number += 1
    return number


def _replay(servable: Loaded, log: prediction_log_pb2.PredictionLog) -> None:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        message = log.predict_log.request.SerializeToString()
        invocation = inference.prepare_predict(servable, PredictRequest.read(message), NO_LIMITS)
    elif kind in ("classify_log", "regress_log"):
        message = getattr(log, kind).request.SerializeToString()
        method = inference.CLASSIFY_METHOD if kind == "classify_log" else inference.REGRESS_METHOD
        invocation = inference.prepare_examples(
            servable, ExamplesRequest.read(message), method, NO_LIMITS
        )
    elif kind == "multi_inference_log":
        request = log.multi_inference_log.request
        for task in request.tasks:
            task.model_spec.name = servable.name
        invocation = inference.prepare_multi(
            servable, MultiInferenceRequest.read(request.SerializeToString()), NO_LIMITS
        )
    else:
        raise StatusError(Code.UNIMPLEMENTED, f"Unsupported log_type for warmup: {kind}")
    servable.run(invocation.inputs, invocation.outputs)


def sample_pixels(servable: Loaded) -> np.ndarray | None:
    """Images recorded for warm-up, uint8 (N, H*W*C); None without a predict_pixels record."""
    best: np.ndarray | None = None
    for log in warmup_records(servable):
        request = log.predict_log.request
        if request.model_spec.signature_name == SAMPLES_SIGNATURE:
            pixels = to_array(request.inputs["pixels"]).astype(np.uint8)
            if best is None or len(pixels) > len(best):
                best = pixels
    return best
