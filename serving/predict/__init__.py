"""`denoise predict`: files in, denoised files out; `beam` does it on a cluster."""
