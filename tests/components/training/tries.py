"""Tries every precision, in a process where TensorFlow has computed nothing."""

from __future__ import annotations

import json
import pathlib
import sys


def main() -> None:
    """Prints, as JSON, what came of the job that the arguments tell, and its folder."""
    from components.training import precision
    from components.training.job import Job

    assert precision.untouched()
    precision._SECONDS = 0.1
    folder = pathlib.Path(sys.argv[1])
    tried = precision.measured(Job.model_validate_json(sys.argv[2]), folder)
    assert precision.untouched()
    import tensorflow as tf

    tf.constant(1)
    assert not precision.untouched()
    print(json.dumps([each.model_dump(mode="json") for each in tried]))
