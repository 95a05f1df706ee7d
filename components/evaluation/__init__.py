"""Evaluation: every noise on every test image, by TFMA, against thresholds and the pushed model.

`measure` computes per-image figures, `metric` averages them per slice in TFMA,
`eval_config` says what is required, `component` and `executor` are the TFX step,
`result` reads what they wrote.
"""
