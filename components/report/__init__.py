"""The report: one self-contained HTML file on a run, with the figures as PNGs and JSON beside it.

`classifier` is the step that trains a small classifier on clean images, to see whether denoised
ones are recognised. `component` and `executor` are the step that makes the report: `contents`
gathers what the other steps wrote, `pictures` picks and draws images, `plots` draws figures,
`page` puts them into report.html.j2.
"""

from __future__ import annotations

REPORT_FILE = "report.html"
"""In the report: the page. It needs no network and no other file."""
CONTENTS_FILE = "report.json"
"""In the report: `contents.Contents`, for machines."""
FIGURES_FOLDER = "figures"
"""In the report: each figure of the page as a PNG."""
BEFORE_AFTER_FILE = "before_after.png"
"""In FIGURES_FOLDER: a typical image of each class, clean, noisy and denoised."""
