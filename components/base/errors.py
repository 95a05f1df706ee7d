"""Every error this project raises on purpose.

DenoiseError
├── UsageError            exit status 2: a flag, setting or preset is wrong
├── DataError             a file or row of the data is wrong, or there is no data
│   └── AnomalyError      the data is readable but TFDV found it is not what the schema says
├── ModelError            a model, its signatures or its SavedModel is not what was expected
├── WorkspaceError        the workspace is in use, or holds what it should not
└── RunError              a step of the pipeline failed
    └── NotBlessedError   the pipeline ran, but the model missed a threshold and was not pushed

A message names the file, row, field or flag, what was expected, and what to do.
The serving client has a tree of its own (serving/client), since it is installed alone.
"""

from __future__ import annotations

from collections.abc import Iterator


class DenoiseError(Exception):
    """Base of every error a user can cause or cure; shown without a traceback.

    Attributes:
      exit_status: What the command ends with.
      step: Name of the step of the pipeline that raised it, if one did.
    """

    exit_status = 1
    step: str | None = None


class UsageError(DenoiseError):
    """A flag, setting or preset is wrong."""

    exit_status = 2


class DataError(DenoiseError):
    """A file or row of the data is wrong, or there is no data."""


class AnomalyError(DataError):
    """The data is readable, but not what the schema says."""


class ModelError(DenoiseError):
    """A model, its signatures or its SavedModel is not what was expected."""


class WorkspaceError(DenoiseError):
    """The workspace is in use, or holds what it should not."""


class RunError(DenoiseError):
    """A step of the pipeline failed."""


class NotBlessedError(RunError):
    """The model missed a threshold and was not pushed."""


_FULL = ("No space left on device", "Disk quota exceeded", "database or disk is full")
"""Words for a full disk: Python's, TensorFlow's and Beam's, SQLite's, each in its own error."""


def causes(error: BaseException) -> Iterator[BaseException]:
    """An error, what caused it, what caused that, and so on."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


def explained(error: BaseException) -> DenoiseError | None:
    """The error a user can cure, inside whatever TFX, Beam or Python wrapped it in.

    None if there is none."""
    for cause in causes(error):
        if isinstance(cause, DenoiseError):
            return cause
        if any(words in str(cause) for words in _FULL):
            file = getattr(cause, "filename", None)
            where = f" ({file})" if file else ""
            return RunError(
                f"the disk is full{where}. Make room and call it again: what is finished stays, "
                "and nothing half written is taken for whole."
            )
    return None
