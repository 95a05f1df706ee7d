"""The benchmark: models, classical filters and the noisy input on the same noisy test images.

`run` puts it in order: `subject` is what everything is measured on, `contender` a method that is
measured, of which `models`, `filters` and `linear` give some; `recognition` is the classifier of
clean images, `robustness` measures some methods again at the strengths of `severity`. `findings`
keeps what is known, `contents` says what of it is told, and `tables`, `plots` and `page` tell it;
`images` measures denoised images, `workers` is what the worker processes run, `published` what
the predecessors reported.
"""
