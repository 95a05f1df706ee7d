"""Training: batches of transformed images become a model, the model a SavedModel.

`entry` is what TFX's Trainer calls, `trainer` the training itself, `job` what it is given. `images`
reads the transformed Examples, `recipe` says how a model is trained (backend-agnostic Keras),
`precision` tries which one trains fastest on this CPU, `start` what it may start from, `resume`
takes up a killed one, `workers` how several machines train it together, `result` is what is left.
"""
