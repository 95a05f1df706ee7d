"""The output of the classifier step, and its readers."""

from __future__ import annotations

import json
import pathlib
from typing import Any

import numpy as np

CLASSIFIER_FILE = "classifier.keras"
"""The Keras model: takes float32 (N, H, W, C) in [0, 1], gives logits (N, classes)."""
FIGURES_FILE = "classifier.json"
"""Figures beside the model: images trained on, parameters, seconds, validation accuracy."""


def predict(model: Any) -> Any:
    """A trained classifier as a function: float32 (N, H, W, C) in [0, 1] to labels, int64 (N,)."""
    import tensorflow as tf

    return tf.function(
        lambda images: tf.argmax(model(images, training=False), axis=-1), reduce_retracing=True
    )


def load_classifier(folder: str) -> Any:
    """The classifier in a folder: float32 (N, H, W, C) in [0, 1] to labels, int64 (N,)."""
    import keras

    return predict(keras.saving.load_model(pathlib.Path(folder, CLASSIFIER_FILE)))


def figures(folder: str) -> dict[str, Any]:
    """The contents of FIGURES_FILE."""
    return json.loads(pathlib.Path(folder, FIGURES_FILE).read_text(encoding="utf-8"))


def confusion(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Counts of predicted labels by true label: int64 (classes, classes), true by predicted."""
    return np.bincount(labels * classes + predicted, minlength=classes**2).reshape(classes, classes)
