"""The figures of a page: small ones, legible on a phone, which take the page's colours.

Each is drawn once with matplotlib and written twice: as a PNG on white, and as an SVG inside the
page, where every colour is a CSS variable, so that it follows the reader's light or dark mode.
"""

from __future__ import annotations

import dataclasses
import io
import re
from typing import Any

INK, MUTED, GRID = "#1f2329", "#636c76", "#d8dee5"
DENOISED, NOISY, BASELINE = "#2a78d7", "#c2571b", "#8a6fd1"
VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    GRID: "--grid",
    DENOISED: "--denoised",
    NOISY: "--noisy",
    BASELINE: "--baseline",
}
"""The colours of the PNGs, and the CSS variables that stand for them in the page."""

STYLE = {
    "axes.edgecolor": MUTED,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "font.size": 9.5,
    "font.sans-serif": ["DejaVu Sans"],
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 4,
    "svg.fonttype": "none",
    "svg.hashsalt": "denoise",
    "text.color": INK,
    # Names of classes and files may hold dollars.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
}
"""matplotlib's settings while a figure is drawn."""
_SIZE = (4.6, 2.9)


@dataclasses.dataclass(frozen=True)
class Plot:
    """One figure."""

    name: str
    """File name of the PNG, without its suffix."""
    title: str
    description: str
    """Alternative text, for screen readers."""
    svg: str
    """An inline element."""
    png: bytes


def new_axes(size: tuple[float, float] = _SIZE) -> tuple[Any, Any]:
    """A figure of a size in inches, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_axisbelow(True)
    return figure, axes


def finished(figure: Any, name: str, title: str, description: str) -> Plot:
    """A drawn figure, as `Plot` describes it."""
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=160, facecolor="white", metadata={"Software": None})
    # Laid out once: to do it again takes as long as to draw.
    figure.set_layout_engine("none")
    return Plot(name, title, description, inline_svg(figure, name), png.getvalue())


def transparent_png(figure: Any) -> bytes:
    """A matplotlib figure as a PNG without a ground."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=160, transparent=True, metadata={"Software": None})
    return file.getvalue()


def inline_svg(figure: Any, name: str) -> str:
    """A figure as an SVG element with the page's colours and font and ids of its own.

    Args:
      figure: A matplotlib figure in the colours of VARIABLES.
      name: Unique in the page; the element with the id `name`-caption describes the figure.
    """
    file = io.StringIO()
    none = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(file, format="svg", transparent=True, metadata=none)
    svg = file.getvalue()
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"', r"\1\2", svg)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"([^>]*?) height="[^"]*"', r"\1\2", svg)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = re.sub(r"'DejaVu Sans'[^;\"]*", "var(--font)", svg)
    for colour, variable in VARIABLES.items():
        svg = svg.replace(colour, f"var({variable})")
    return svg.replace("<svg", f'<svg role="img" aria-labelledby="{name}-caption"', 1)
