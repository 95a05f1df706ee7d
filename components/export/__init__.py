"""Export: the model becomes a SavedModel with the signatures of a servable.

`signatures` writes it, `requests` has a request for each signature.
"""
