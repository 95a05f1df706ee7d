"""How time and memory grow with the data: `python -m benchmarks.scale`."""
