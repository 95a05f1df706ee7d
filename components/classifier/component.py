"""ReferenceClassifier: a small classifier of clean images, which shows what a denoiser is worth.

A denoised image that looks right but is taken for something else has lost what mattered. The
classifier depends on the Examples and its settings alone, so while those stay, it is answered
from the cache however often the denoiser is trained.
"""

# The component decorator reads annotations as objects: no `from __future__ import annotations`.
import json
import pathlib
import time
from typing import Any

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts

from components.base import code
from components.base.settings import Settings
from components.classifier.result import CLASSIFIER_FILE, FIGURES_FILE, predict


@component
def ReferenceClassifier(  # a component is named as a class
    examples: InputArtifact[standard_artifacts.Examples],
    model: OutputArtifact[standard_artifacts.Model],
    sections: Parameter[str],
) -> None:
    """Trains a small classifier on the clean images of the train split.

    Args:
      examples: What ingestion wrote.
      model: CLASSIFIER_FILE and FIGURES_FILE.
      sections: JSON: the setting sections `image` and `report`, the number of `classes`, the
        `seed`, and the fingerprint of the `code`.
    """
    import numpy as np

    from components.base.settings import ImageSettings, ReportSettings
    from components.classifier.classifier import (
        MAX_TRAINING_IMAGES,
        READ_BATCH,
        load,
        train,
    )
    from components.image.pixels import normalise

    values = json.loads(sections)
    shape = ImageSettings.model_validate(values["image"]).shape
    settings = ReportSettings.model_validate(values["report"])
    split = {
        name: artifact_utils.get_split_uri([examples], name) for name in ("train", "validation")
    }
    started = time.perf_counter()
    images, labels = load(split["train"], shape, MAX_TRAINING_IMAGES)
    trained = train(images, labels, values["classes"], settings.classifier_epochs, values["seed"])
    seconds = time.perf_counter() - started
    held_out, expected = load(split["validation"], shape, MAX_TRAINING_IMAGES)
    classify = predict(trained)
    right = [
        classify(normalise(held_out[at : at + READ_BATCH], shape)).numpy()
        == expected[at : at + READ_BATCH]
        for at in range(0, len(expected), READ_BATCH)
    ]
    folder = pathlib.Path(model.uri)
    folder.mkdir(parents=True, exist_ok=True)
    trained.save(folder / CLASSIFIER_FILE)
    figures = {
        "images": len(images),
        "epochs": settings.classifier_epochs,
        "parameters": trained.count_params(),
        "seconds": seconds,
        "validation_accuracy": float(np.concatenate(right).mean()),
    }
    (folder / FIGURES_FILE).write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


def step(settings: Settings, ingestion: Any, after: Any) -> Any | None:
    """The classifier, as the DAG has it. None: `report.classifier` is not set, or there are no two
    classes.

    Args:
      settings: The run's.
      ingestion: Its Examples are trained on.
      after: A step to wait for: only the report needs the classifier.
    """
    if not settings.report.classifier or len(settings.data.classes) < 2:
        return None
    sections = {
        **settings.sections("image", "report", "seed"),
        "classes": len(settings.data.classes),
        "code": code.fingerprint(__name__),
    }
    classifier = ReferenceClassifier(
        examples=ingestion.outputs["examples"], sections=json.dumps(sections, sort_keys=True)
    )
    classifier.add_upstream_node(after)
    return classifier
