"""The benchmark: models, classical filters and the noisy input on the same noisy test images.

`run` puts it in order; `contents` is what it finds out, `images` measures denoised images,
`models` finds the trained models of a workspace, `severity` says at which strengths the
robustness curve is taken, `workers` is what its worker processes run, `published` what the
predecessors reported, `plots` and `page` make one self-contained HTML file of it.
"""
