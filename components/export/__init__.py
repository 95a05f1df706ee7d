"""Export: the model becomes a SavedModel with the signatures of a servable."""
