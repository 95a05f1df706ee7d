"""Ours against the stock components and against what the machine allows: `make benchmark`."""
