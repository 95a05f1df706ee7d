from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import pytest

from components.page.figures import VARIABLES
from components.report import plots


@pytest.fixture(scope="module")
def figures(small_contents):
    return [plot for section in plots.plots(small_contents).values() for plot in section]


def test_names_are_drawn_as_they_are_written(small_contents):
    settings = {**small_contents.settings, "data": {"classes": ["$HOME_$PATH", "a$b$"]}}
    contents = small_contents.model_copy(update={"settings": settings})
    drawn = "".join(plot.svg for each in plots.plots(contents).values() for plot in each)
    assert "$HOME_$PATH" in drawn
    assert "a$b$" in drawn


def test_every_figure_is_an_inline_svg_and_a_png(figures):
    assert len(figures) == 3 + 2 + 2 + 2
    for plot in figures:
        assert ElementTree.fromstring(plot.svg).tag.endswith("svg")
        assert plot.png.startswith(b"\x89PNG")


def test_colours_of_the_page_are_variables_so_that_dark_mode_reaches_them(figures):
    for plot in figures:
        for colour in VARIABLES:
            assert colour not in plot.svg
        # What is left is black, white or none: glyphs and clip paths, which are not painted.
        assert "var(--ink)" in plot.svg
        assert "var(--grid)" in plot.svg


def test_ids_are_unique_in_the_page_and_references_find_them(figures):
    ids = [name for plot in figures for name in re.findall(r'\bid="([^"]*)"', plot.svg)]
    assert len(ids) == len(set(ids))
    references = [
        name
        for plot in figures
        for name in re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', plot.svg)
    ]
    assert references
    assert {one or other for one, other in references} <= set(ids)


def test_figures_scale_with_the_page(figures):
    for plot in figures:
        opening = plot.svg[: plot.svg.index(">")]
        assert "viewBox" in opening
        assert " width=" not in opening
        assert " height=" not in opening


def test_a_training_that_noted_no_schedule_has_the_other_figures(small_contents, figures):
    contents = small_contents.model_copy(update={"learning_rate": []})
    names = [plot.name for section in plots.plots(contents).values() for plot in section]
    assert names == [each.name for each in figures if each.name != "training-learning-rate"]


def test_drawing_twice_gives_the_same(small_contents, figures):
    again = [plot for section in plots.plots(small_contents).values() for plot in section]
    assert [plot.svg for plot in again] == [plot.svg for plot in figures]
