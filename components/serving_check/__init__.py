"""Serving check: the exported model must answer, in a process of its own, as the trainer's did.

`component` is the step, `check` the process it starts, `result` names what is written.
"""
