"""The benchmark: models, classical filters and the noisy input on the same noisy test images.

`contents` is what it finds out, `images` measures denoised images, `models` finds the trained
models of a workspace, `severity` says at which strengths the robustness curve is taken, `plots`
and `page` make one self-contained HTML file of it. `denoise benchmark` (pipeline/benchmarking.py)
puts them in order.
"""

from __future__ import annotations

BENCHMARK_FILE = "benchmark.json"
"""In the benchmark's folder: `contents.Benchmark`."""
PAGE_FILE = "benchmark.html"
"""In the benchmark's folder: the page. It needs no network and no other file."""
FIGURES_FOLDER = "figures"
"""In the benchmark's folder: each figure of the page as a PNG."""
