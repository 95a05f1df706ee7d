"""What a training leaves: names of its files."""

from __future__ import annotations

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
