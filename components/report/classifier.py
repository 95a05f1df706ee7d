"""ReferenceClassifier: a small classifier of clean images, which shows what a denoiser is worth.

A denoised image that looks right but is taken for something else has lost what mattered. The
classifier depends on the Examples and its settings alone, so while those stay, it is answered
from the cache however often the denoiser is trained.
"""

# The component decorator reads annotations as objects: no `from __future__ import annotations`.
import json
import pathlib
import time

from tfx.dsl.component.experimental.annotations import InputArtifact, OutputArtifact, Parameter
from tfx.dsl.component.experimental.decorators import component
from tfx.types import artifact_utils, standard_artifacts

CLASSIFIER_FILE = "classifier.keras"
"""In the model: takes float32 (N, H, W, C) in [0, 1], gives logits (N, classes)."""
FIGURES_FILE = "classifier.json"
"""In the model: images trained on, parameters, seconds, accuracy on the validation split."""

MAX_TRAINING_IMAGES = 60_000
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
_READ_BATCH = 512


def build(shape, classes: int):
    """Strided 3x3 convolutions down to 8 pixels or less, a hidden layer of 128, logits.

    Args:
      shape: (H, W, C).
      classes: How many there are.

    Returns:
      An untrained keras.Model.
    """
    import keras

    height, width, _ = shape
    images = keras.Input(shape, name="images")
    hidden, filters = images, 32
    while filters == 32 or max(height, width) > 8:
        hidden = keras.layers.Conv2D(filters, 3, strides=2, padding="same", activation="relu")(
            hidden
        )
        height, width, filters = -(-height // 2), -(-width // 2), 64
    hidden = keras.layers.Dropout(0.3)(keras.layers.Flatten()(hidden))
    hidden = keras.layers.Dense(128, activation="relu")(hidden)
    return keras.Model(images, keras.layers.Dense(classes)(hidden), name="reference_classifier")


def load(folder: str, shape, limit: int):
    """Images and labels of one split of ingested Examples.

    Args:
      folder: The split's folder.
      shape: (H, W, C).
      limit: Of more images than this, every n-th is taken.

    Returns:
      uint8 (N, H, W, C) and int64 (N,).

    Raises:
      DataError: the split is empty.
    """
    import numpy as np
    import tensorflow as tf

    from components.csv_ingestion.examples import IMAGE, LABEL
    from components.training import input as training_input

    files = [f"{folder}/*.gz"]
    spec = {
        IMAGE: tf.io.FixedLenFeature(shape, tf.int64),
        LABEL: tf.io.FixedLenFeature((), tf.int64),
    }

    def parse(serialised):
        example = tf.io.parse_example(serialised, spec)
        return tf.cast(example[IMAGE], tf.uint8), example[LABEL]

    every = max(1, -(-training_input.count(files) // limit))
    batches = training_input.records(files).shard(every, 0).batch(_READ_BATCH)
    parsed = list(batches.map(parse, num_parallel_calls=2).prefetch(2).as_numpy_iterator())
    images, labels = (np.concatenate(parts) for parts in zip(*parsed))  # noqa: B905
    return images, labels


def train(images, labels, classes: int, epochs: int, seed: int):
    """Trains the classifier with Adam on a cosine schedule.

    Args:
      images: uint8 (N, H, W, C).
      labels: int64 (N,), 0 to classes - 1.
      classes: How many there are.
      epochs: Over the images.
      seed: Of the weights and the shuffling.

    Returns:
      The trained keras.Model.
    """
    import keras
    import numpy as np

    from components.pixels import normalise
    from pipeline.progress import report

    keras.utils.set_random_seed(seed)
    model = build(images.shape[1:], classes)
    batch_size = min(BATCH_SIZE, len(images))
    steps = len(images) // batch_size
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, max(1, steps * epochs))
    model.compile(
        optimizer=keras.optimizers.Adam(schedule),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        jit_compile=False,
        steps_per_execution=min(16, steps),
    )
    progress = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: report("train the classifier", epoch + 1, epochs)
    )
    # What is left of the last batch is left out: a batch of another size is another graph.
    number = steps * batch_size
    model.fit(
        np.asarray(normalise(images[:number], images.shape[1:])),
        labels[:number],
        batch_size=batch_size,
        epochs=epochs,
        callbacks=[progress],
        verbose=0,
    )
    return model


def predict(model):
    """A trained classifier as a function: float32 (N, H, W, C) in [0, 1] to labels, int64 (N,)."""
    import tensorflow as tf

    return tf.function(
        lambda images: tf.argmax(model(images, training=False), axis=-1), reduce_retracing=True
    )


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

    from components.pixels import normalise
    from pipeline.config import ImageSettings, ReportSettings

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
        classify(normalise(held_out[at : at + _READ_BATCH], shape)).numpy()
        == expected[at : at + _READ_BATCH]
        for at in range(0, len(expected), _READ_BATCH)
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
    (folder / FIGURES_FILE).write_text(json.dumps(figures, indent=2) + "\n")
