"""Training: batches of transformed images become a model, the model a SavedModel.

`input` reads the transformed Examples, `recipe` says how a model is trained
(backend-agnostic Keras), `start` what it may start from, `workers` how several machines train it
together, `trainer` is what TFX's Trainer calls.
"""

from __future__ import annotations

from typing import Any

KERAS_FILE = "assets.extra/model.keras"
"""Inside the SavedModel: the Keras model, for warm starts."""
HISTORY_FILE = "history.csv"
"""In the model run: loss, PSNR and learning rate by epoch."""
TRAINING_FILE = "training.json"
"""In the model run: how long it took, on what, how fast."""
REFERENCE_FILE = "reference.npz"
"""In the model run: `pixels` uint8 (N, H*W*C) and the trainer's `denoised` float32 (N, H, W, C)."""
WORKERS_FILE = "workers.json"
"""In the Trainer's folder while it trains with other machines: what they are to train."""
LOGS_FOLDER = "logs"
"""In the model run: for TensorBoard."""


def run_fn(fn_args: Any) -> None:
    """What TFX's Trainer calls, by this import path; see `trainer.train`."""
    from components.training import trainer

    trainer.run_fn(fn_args)
