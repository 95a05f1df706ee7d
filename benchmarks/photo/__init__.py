"""A model for photographs beside BM3D, on the same noisy photographs in one run."""
