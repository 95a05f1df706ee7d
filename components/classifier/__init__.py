"""The classifier: shows whether denoised images are still recognised.

`classifier` builds and trains it, `component` is the step, `result` reads what it wrote.
"""
