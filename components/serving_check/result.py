"""What the serving check leaves."""

from __future__ import annotations

CHECK_FILE = "check.json"
"""In the blessing: what components.serving_check.check printed."""
