"""Growth of time and memory with the data: `python -m benchmarks.scale`."""
