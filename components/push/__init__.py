"""Push: a blessed model becomes a version of the served folder.

`pusher` copies it there whole or not at all; `versions` says what lies there; `pushed_model` brings
a pushed model back, as the Evaluator's baseline and as the start of a training.
"""
