"""Keeps what TensorFlow and its companions say of themselves from whoever called us."""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib.abc
import importlib.machinery
import logging
import os
import pathlib
import re
import sys
import tempfile
import types
import warnings
from collections.abc import Iterator, Sequence

_ERROR = re.compile(rb"(\S+ \S+: )?[EF]\d* ")
"""Begin of a line: `2026-01-01 00:00:00.000000: E file.cc:1] …`, or absl's `E0000 00:00:… `."""

_ALLOCATIONS = 50_000
"""Objects made between two searches for garbage; Python's own number is 700."""

_IN_VAIN = ("IPython", "matplotlib", "pandas", "scipy", "sklearn")
"""Packages that TensorFlow and Keras import where they are there, for what nothing here uses: to be
shown in a notebook, plots, data frames and sparse matrices to train on, scikit-learn's estimators.
"""


def spare_processor() -> None:
    """Has libraries take less processor time. Call it before NumPy, TensorFlow or TFX is imported.

    Imports make a million objects and no garbage; to search them again and again took 1.4 of the
    5.2 CPU seconds that TFX, TensorFlow and Beam need to be imported. When a process ends, Python
    searches them twice more: another 1.9 CPU seconds, for memory that goes with the process.

    OpenBLAS's threads, which NumPy computes with, ask for work without a pause for 2^26 clock
    ticks after each product: 2.3 CPU seconds of a small run. Now 2^4, the fewest it takes.

    TensorFlow takes oneDNN of itself only on processors with AVX512_VNNI and the like (notes of
    TensorFlow 2.9); without it a training step took 1.5 times as long on one that has AVX2.

    TensorFlow and Keras import whole packages that they can do without, and that can be imported
    after them: a third of their own CPU seconds.
    """
    if not any(isinstance(finder, _InVain) for finder in sys.meta_path):
        sys.meta_path.insert(0, _InVain())
    gc.set_threshold(_ALLOCATIONS)
    atexit.register(gc.freeze)
    os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def calm(heard: bool = False) -> None:
    """Turns off, at the source, what nobody can act on. Call it before TensorFlow is imported.

    Args:
      heard: What TFX, TensorFlow and gRPC tell of their work is kept: in a container's log it is
        all there is.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Else this process takes all of a GPU's memory, and one that trains for it has none.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    # TFX's proto and beam modules warn of their own internals.
    warnings.filterwarnings("ignore")
    if not heard:
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        logging.getLogger("absl").setLevel(logging.ERROR)
        logging.getLogger("tensorflow").setLevel(logging.WARNING)
    if os.path.expanduser("~") == "~":
        # No HOME, and a user that no passwd file knows, as in some containers: a library that Keras
        # imports raises then. Docker gives such users this HOME.
        os.environ["HOME"] = "/"


def load_tensorflow() -> None:
    """Imports TensorFlow, and lets it look for devices, without its greetings and without Keras.

    TensorFlow imports Keras, and with it pandas, Matplotlib and scikit-learn, only to register its
    optimizers for models that are trained on: half of the seconds, for nothing where one serves.
    Keras can still be imported afterwards.

    TensorFlow 2.21 never calls absl::InitializeLog, and before that absl writes to standard error
    whatever level is set. Errors are shown on a machine with a GPU, where one can act on them.
    """
    with _greetings_held_back(), _left_out("keras"), _left_out("tf_keras"):
        import tensorflow as tf

        tf.config.list_physical_devices()


def untouched() -> bool:
    """Whether TensorFlow has computed nothing yet in this process, nor looked at a GPU.

    Only then the process may fork, and variables that its libraries read once can be set: a GPU's
    driver does not answer a process that was forked after the driver's start. Asking starts
    nothing, which tf.config would: it lists the devices to say how many threads there may be.
    """
    if "tensorflow" not in sys.modules:
        return True
    from tensorflow.python.eager import context

    state = context.context()
    if state._context_handle is not None:
        return False
    return state._physical_devices is None or not state.list_physical_devices("GPU")


class _InVain(importlib.abc.MetaPathFinder):
    """Leaves out `_IN_VAIN` while TensorFlow or Keras is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in ("keras", "tensorflow"):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        found = (finder.find_spec(name, path, target) for finder in others)
        spec = next(filter(None, found), None)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def execute_sparingly(module: types.ModuleType) -> None:
            with contextlib.ExitStack() as stack:
                for package in _IN_VAIN:
                    stack.enter_context(_left_out(package))
                execute(module)

        spec.loader.exec_module = execute_sparingly  # type: ignore[method-assign]
        return spec


@contextlib.contextmanager
def _left_out(package: str) -> Iterator[None]:
    """An optional package cannot be imported meanwhile, unless it was before."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


@contextlib.contextmanager
def _greetings_held_back() -> Iterator[None]:
    sys.stderr.flush()
    with tempfile.TemporaryFile() as held, os.fdopen(os.dup(2), "wb") as stderr:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr.fileno(), 2)
            if any(pathlib.Path("/dev").glob("nvidia[0-9]*")):
                held.seek(0)
                stderr.writelines(line for line in held if _ERROR.match(line))
