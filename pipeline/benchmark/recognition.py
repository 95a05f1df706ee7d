"""The classifier of clean images: which denoised images it recognises."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from typing import Any

import numpy as np

from components.base.code import fingerprint
from components.base.files import write_json
from components.classifier.result import CLASSIFIER_FILE, FIGURES_FILE, figures, load_classifier
from components.csv_ingestion.result import STEPS as INGESTIONS
from components.csv_ingestion.result import read_summary
from pipeline.benchmark.images import Classify
from pipeline.benchmark.subject import Subject
from pipeline.workspace import Workspace


@dataclasses.dataclass(frozen=True)
class Recognition:
    """A classifier of clean images."""

    fingerprint: str
    figures: dict[str, Any]
    """Facts of its training, and its accuracy."""
    classify: Classify


def find(subject: Subject, workspace: Workspace) -> Recognition:
    """The classifier of the workspace's last run that had one, or one that is trained now."""
    folder = _of_a_run(subject, workspace) or _trained(subject, workspace)
    content = (folder / CLASSIFIER_FILE).read_bytes()
    classify = load_classifier(str(folder))
    return Recognition(
        hashlib.sha256(content).hexdigest()[:16],
        figures(str(folder)),
        lambda images: np.asarray(classify(images)),
    )


def _of_a_run(subject: Subject, workspace: Workspace) -> pathlib.Path | None:
    if not workspace.metadata.exists():
        return None
    from pipeline.history.lineage import DONE, Lineage

    rows = subject.train.summed_keys()
    steps = Lineage(workspace).steps()
    for step in reversed(steps):
        model = step.output("model")
        if step.component != "ReferenceClassifier" or step.state not in DONE or model is None:
            continue
        ingestion = steps.maker(step, INGESTIONS)
        examples = ingestion.output("examples") if ingestion else None
        if examples is None or not pathlib.Path(examples.uri).is_dir():
            continue
        given = json.loads(step.parameters["sections"])
        if (
            read_summary(examples.uri).fingerprint == rows
            and given["image"] == subject.settings.image.model_dump(mode="json")
            and given["classes"] == len(subject.settings.data.classes)
            and pathlib.Path(model.uri, CLASSIFIER_FILE).is_file()
        ):
            return pathlib.Path(model.uri)
    return None


def _trained(subject: Subject, workspace: Workspace) -> pathlib.Path:
    from components.classifier import classifier

    settings = subject.settings
    epochs = settings.report.classifier_epochs
    key = [subject.train.fingerprint(), settings.image.shape, epochs, settings.seed]
    key.append(len(settings.data.classes))
    key.append(fingerprint("components.classifier.classifier"))
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    folder = workspace.benchmark / "classifier" / name
    if (folder / FIGURES_FILE).is_file():
        return folder
    images = subject.train.first(classifier.MAX_TRAINING_IMAGES)
    trained = classifier.train(
        images.pixels.reshape(-1, *images.shape),
        images.labels,
        len(settings.data.classes),
        epochs,
        settings.seed,
    )
    folder.mkdir(parents=True, exist_ok=True)
    trained.save(folder / CLASSIFIER_FILE)
    # The last: with it the folder is complete.
    write_json(
        folder / FIGURES_FILE,
        {"images": len(images), "epochs": epochs, "parameters": trained.count_params()},
    )
    return folder
