"""A small classifier of clean images: reading images for it, training it, asking it."""

MAX_TRAINING_IMAGES = 60_000
BATCH_SIZE = 128
LEARNING_RATE = 2e-3
READ_BATCH = 512


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

    from components.base import records
    from components.csv_ingestion.examples import IMAGE, LABEL

    files = [f"{folder}/*.gz"]
    spec = {
        IMAGE: tf.io.FixedLenFeature(shape, tf.int64),
        LABEL: tf.io.FixedLenFeature((), tf.int64),
    }

    def parse(serialised):
        example = tf.io.parse_example(serialised, spec)
        return tf.cast(example[IMAGE], tf.uint8), example[LABEL]

    every = max(1, -(-records.count(files) // limit))
    batches = records.records(files).shard(every, 0).batch(READ_BATCH)
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

    from components.base.progress import tell
    from components.image.pixels import normalise

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
    # As in components/training/recipe.py: else the step is traced twice.
    model.optimizer.build(model.trainable_variables)
    progress = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: tell("train the classifier", epoch + 1, epochs)
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
