"""Models that come with this package, and those that `denoise keep` made of others.

Each is three files: `NAME.keras`, the Keras model; `NAME.png`, images it has never seen; and
`NAME.yaml`, its card, which is written last. `card` is what the card says, `kept` finds and
exports them.
"""
