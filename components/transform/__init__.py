"""Transform: validated Examples become clean and noisy images, and the graph that made them."""

from components.transform.preprocessing import preprocessing_fn

__all__ = ["preprocessing_fn"]
