"""The kit of an HTML page of ours: one file with its style, figures and pictures inside."""
