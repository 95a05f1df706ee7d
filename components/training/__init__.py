"""Training: batches of transformed images become a model, the model a SavedModel.

`entry` is what TFX's Trainer calls, `trainer` the training itself. `images` reads the transformed
Examples, `recipe` says how a model is trained (backend-agnostic Keras), `start` what it may start
from, `workers` how several machines train it together, `result` names what is written.
"""
