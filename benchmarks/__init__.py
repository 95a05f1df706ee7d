"""Benchmarks: their processes have the environment of the pipeline's own."""

from components.base import libraries

libraries.spare_processor()
