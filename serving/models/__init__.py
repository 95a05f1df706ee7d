"""Models: from version folders to memory. `manager` loads and unloads, `servable` is one version,
`tensors` are its inputs and outputs.
"""
