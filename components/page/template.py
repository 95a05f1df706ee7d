"""Templates of a page: the environment they are rendered in, and its style sheet."""

from __future__ import annotations

import datetime
import json
import pathlib
import re
from typing import Any

import jinja2
import markupsafe

_FOLDER = pathlib.Path(__file__).parent


def environment(*folders: pathlib.Path) -> jinja2.Environment:
    """Renders the templates of `folders` and of the kit.

    Its filters: `number` (1,234), `db`, `percent`, `figure` (a metric's value), `breakable` (a
    noise or path that may be broken over lines), `setting` (a setting's value).
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, _FOLDER]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["db"] = lambda value: f"{value:.2f}"
    environment.filters["percent"] = lambda value: f"{100 * value:.1f} %"
    environment.filters["figure"] = _figure
    environment.filters["breakable"] = _breakable
    environment.filters["setting"] = _setting
    return environment


def style() -> str:
    """The style sheet, page.css."""
    return (_FOLDER / "page.css").read_text(encoding="utf-8")


def made() -> str:
    """The time, as it stands at the foot of a page."""
    return datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC")


def _breakable(name: str) -> markupsafe.Markup:
    """A noise or path that may be broken where it is read apart, not inside a word."""
    return markupsafe.Markup(re.sub(r"(?=\()|(?<=/)", "<wbr>", str(markupsafe.escape(name))))


def _setting(value: Any) -> str:
    """A setting's value with the digits that mean something."""
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value)


def _figure(value: float, metric: str) -> str:
    """A metric's value with the digits that mean something."""
    return f"{value:.2f}" if metric.startswith("psnr") else f"{value:.4f}"
