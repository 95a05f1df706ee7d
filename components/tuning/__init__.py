"""Tuning: which settings train best, found by trials on a part of the training images.

`entry` is what TFX's Tuner calls, `search` makes the trials, `trials` is what it found,
`component` and `executor` are the step around it. The best settings go to the Trainer
(components/training/hyperparameters.py).
"""
