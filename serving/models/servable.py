"""One version of one model: a SavedModel in a session of its own.

TensorFlow Serving runs a SavedModel with Session::Run on the tensors its signatures name
(tensorflow_serving/servables/tensorflow/predict_util.cc), and so does this: any signature,
any subset of outputs, signatures combined in one run, and all memory freed with the session.
A session's callable also costs less for each call than a concrete function (0.40 against
0.67 ms for one 28x28 image through four convolutions on two CPUs).
"""

from __future__ import annotations

import abc
import contextlib
import ctypes
import gc
import pathlib
import threading
import time
import weakref
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2

from components.base.files import plainly_named
from components.export.signatures import SIGNATURES
from serving.protocol.codes import Code, StatusError, invalid_argument

DEFAULT_SIGNATURE = "serving_default"
_INIT_OPERATION = "__saved_model_init_op"


def return_memory() -> None:
    """Gives freed memory back to the system, where the C library is glibc.

    It keeps what threads free in an arena for each, which would grow with every version.
    """
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Loaded(abc.ABC):
    """A version of a model in memory. Safe to use from several threads."""

    def __init__(
        self,
        name: str,
        version: int,
        path: pathlib.Path,
        signatures: Mapping[str, meta_graph_pb2.SignatureDef],
    ) -> None:
        self.name = name
        self.version = version
        self.path = path
        self.signatures = signatures
        self._types = {
            info.name: info.dtype
            for signature in signatures.values()
            for info in signature.inputs.values()
        }
        # The rows of a denoiser's calls are independent, so a call of many can be computed in
        # parts; of another model's nothing is known.
        self.independent_rows = set(SIGNATURES) <= set(signatures)
        # The event loop takes the first: nothing is computed under it.
        self._lock = threading.Lock()
        self._computing = threading.Lock()
        self._in_use = 0
        self._idle = threading.Condition(self._lock)

    def retain(self) -> None:
        """Keeps the model loaded until `release`."""
        with self._lock:
            self._in_use += 1

    def release(self) -> None:
        """Ends a `retain`."""
        with self._lock:
            self._in_use -= 1
            if not self._in_use:
                self._idle.notify_all()

    def input_type(self, tensor: str) -> int:
        """The tensorflow.DataType of a signature's input tensor."""
        return self._types[tensor]

    @abc.abstractmethod
    def run(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> list[np.ndarray]:
        """Computes tensors by name.

        Args:
          inputs: Arrays by tensor name, as SignatureDef.inputs gives it.
          outputs: Tensor names.

        Returns:
          An array for each of `outputs`, in that order; strings as objects.

        Raises:
          tf.errors.OpError: what the graph raised.
          StatusError: INVALID_ARGUMENT, the model does not take these.
        """

    def close(self, timeout: float = 60.0) -> None:
        """Waits for the calls in progress, then frees the model's memory."""
        deadline = time.monotonic() + timeout
        with self._lock:
            while self._in_use and time.monotonic() < deadline:
                self._idle.wait(deadline - time.monotonic())
        self._free()
        # A graph is full of reference cycles: left to the collector's own time, twenty
        # megabytes of each version would stay for many swaps.
        gc.collect()
        return_memory()

    @abc.abstractmethod
    def _free(self) -> None:
        """Lets go of what takes memory."""


class Servable(Loaded):
    """A loaded SavedModel."""

    def __init__(
        self,
        name: str,
        version: int,
        path: pathlib.Path,
        tags: Sequence[str] = ("serve",),
        config: config_pb2.ConfigProto | None = None,
    ) -> None:
        """Loads the SavedModel.

        Raises:
          StatusError: it cannot be loaded.
          tf.errors.OpError: restoring or initialising failed.
        """
        # tensorflow.python.util.deprecation: the loader of v1 is what TF Serving does, and
        # its deprecation is no business of whoever runs the server.
        from tensorflow.python.util import deprecation

        self._graph: Any = tf.Graph()
        self._session: Any = tf.compat.v1.Session(graph=self._graph, config=config)
        try:
            with self._graph.as_default(), deprecation.silence(), plainly_named(path) as plain:
                self._meta_graph: Any = tf.compat.v1.saved_model.load(
                    self._session, list(tags), str(plain)
                )
        except (RuntimeError, OSError, ValueError) as error:
            self._session.close()
            raise StatusError(Code.NOT_FOUND, str(error)) from error
        except BaseException:
            self._session.close()
            raise
        signatures = {
            name: signature
            for name, signature in sorted(self._meta_graph.signature_def.items())
            if name != _INIT_OPERATION
        }
        super().__init__(name, version, path, signatures)
        self._callables: dict[tuple[tuple[str, ...], tuple[str, ...]], Any] = {}
        # A callable frees itself through modules that are gone when the interpreter ends.
        weakref.finalize(self, self._callables.clear)

    def run(self, inputs: Mapping[str, np.ndarray], outputs: tuple[str, ...]) -> list[np.ndarray]:
        key = (tuple(inputs), outputs)
        call = self._callables.get(key)
        if call is None:
            with self._computing:
                call = self._callables.setdefault(key, self._make_callable(*key))
        try:
            return call(*inputs.values())
        except UnicodeDecodeError as error:
            # TensorFlow's message quotes bytes of the request, and Python cannot make an
            # exception of it.
            message = error.object.decode("utf-8", "replace")
            raise invalid_argument(message) from None

    def _make_callable(self, feeds: tuple[str, ...], fetches: tuple[str, ...]) -> Any:
        options = config_pb2.CallableOptions(feed=feeds, fetch=fetches)
        with self._graph.as_default():
            return self._session._make_callable_from_options(options)

    def _free(self) -> None:
        self._callables.clear()
        self._session.close()
        self._session = self._graph = self._meta_graph = None
