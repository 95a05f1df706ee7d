"""Which classifier says what is recognised."""

from __future__ import annotations

import json
import types

import numpy as np
import pytest

from components.base.settings import Settings
from components.classifier.result import CLASSIFIER_FILE
from pipeline.benchmark import recognition
from pipeline.benchmark.images import Images
from pipeline.benchmark.subject import Subject
from pipeline.history import lineage
from pipeline.history.lineage import Output, Step, Steps
from pipeline.workspace import Workspace

KEYS = np.array([-(2**62), 5, 2**62 + 1], np.int64)


@pytest.mark.parametrize(("number", "taken"), [(6, True), (7, False)])
def test_a_runs_classifier_is_taken_for_the_data_it_was_trained_on(
    tmp_path, monkeypatch, number, taken
):
    folder = tmp_path / "classifier"
    folder.mkdir()
    (folder / CLASSIFIER_FILE).touch()
    settings = Settings()
    sections = {
        "image": settings.image.model_dump(mode="json"),
        "classes": len(settings.data.classes),
    }
    examples = Output(1, "examples", "Examples", str(tmp_path), {})
    model = Output(2, "model", "Model", str(folder), {})
    ran = ("run", "done", 0, 1)
    steps = Steps(
        [
            Step(1, "CsvIngestion", *ran, {}, {}, {"examples": [examples]}),
            Step(
                *(2, "ReferenceClassifier", *ran, {"sections": json.dumps(sections)}),
                *({"examples": [1]}, {"model": [model]}),
            ),
        ]
    )
    monkeypatch.setattr(lineage, "Lineage", lambda _: types.SimpleNamespace(steps=lambda: steps))
    ingested = types.SimpleNamespace(fingerprint=f"{number:016x}")
    monkeypatch.setattr(recognition, "read_summary", lambda _: ingested)
    workspace = Workspace(tmp_path)
    workspace.metadata.touch()
    images = Images(np.zeros(3), np.zeros((3, 784), np.uint8), KEYS, (28, 28, 1))
    subject = Subject(settings, images, images)
    found = recognition._of_a_run(subject, workspace)
    assert found == (folder if taken else None)
