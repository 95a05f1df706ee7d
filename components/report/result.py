"""What the report leaves: names of its files."""

from __future__ import annotations

REPORT_FILE = "report.html"
"""In the report: the page. It needs no network and no other file."""
CONTENTS_FILE = "report.json"
"""In the report: `contents.Contents`, for machines."""
FIGURES_FOLDER = "figures"
"""In the report: each figure of the page as a PNG."""
BEFORE_AFTER_FILE = "before_after.png"
"""In FIGURES_FOLDER: a typical image of each class, clean, noisy and denoised."""
