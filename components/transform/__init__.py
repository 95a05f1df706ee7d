"""Transform: validated Examples become clean and noisy images, and the graph that made them."""
