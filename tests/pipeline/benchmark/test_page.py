"""The page: self-contained, every method and noise in it, nothing taken for markup."""

import html.parser
import re

import pytest

from pipeline.benchmark import page, plots
from tests.pipeline.benchmark.conftest import NOISES, PSNR


@pytest.fixture
def rendered(found):
    return page.render(found, plots.plots(found))


class _Tags(html.parser.HTMLParser):
    """Checks that tags close in the order they opened."""

    VOID = ("meta", "img", "br", "wbr", "path", "use", "rect")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def test_it_is_well_formed_and_needs_nothing_else(rendered):
    tags = _Tags()
    tags.feed(rendered)
    assert tags.open == []
    assert "<script" not in rendered
    sources = re.findall(r'(?:src|href)="([^"]*)"', rendered)
    assert all(source.startswith(("data:image/png", "#")) for source in sources)


def test_every_method_has_its_figures(rendered, found):
    for values in PSNR.values():
        for value in values:
            assert f"{value:.2f}" in rendered
    for noise in NOISES:
        assert noise.replace("(", "<wbr>(") in rendered
    assert "0.01255" in rendered
    assert "Not measured here" in rendered
    assert "wavelet: not installed" in rendered
    assert "321 from epoch 4 on" in rendered
    assert "18.00" in rendered, "the median's figure by class"


def test_photographs_have_their_section_and_tile(rendered, found):
    assert "Photographs in grey: means over 2" in rendered
    assert "<dt>photographs in grey</dt><dd>26.9 dB<small>photo_grey" in rendered
    gain = "+0.50 dB under gaussian(sd=0.5) (median +0.50, better on 1 of 2)."
    assert f"photo_grey less BM3D, told the noise: {gain}" in rendered
    assert "28.50" in rendered, "a photograph's own"
    without = found.model_copy(update={"photographs": []})
    assert 'id="photographs"' not in page.render(without, plots.plots(without))


def test_names_are_not_taken_for_markup(rendered):
    assert "<b>one</b>" not in rendered
    assert "unet, &lt;b&gt;one&lt;/b&gt;" in rendered
    assert "Shirt &amp; co" in rendered


def test_the_sentence_names_the_best_and_by_how_much(found):
    told = page.sentence(found)
    assert told.startswith("unet, blind is best over 2 noises: 24.5 dB")
    assert "6.5 dB more than ridge" in told
    pairs = found.model_copy(
        update={
            "noises": ["given"],
            "results": [result.model_copy(update={"noise": "given"}) for result in found.results],
        }
    )
    assert "is best over the noise that the images were given with: 20.0 dB" in page.sentence(pairs)
    assert "with the noise that they were given with: the same" in page.render(
        pairs, {"bars": [], "robustness": []}
    )


def test_pictures_end_with_the_best_model(found):
    titles = [title for title, _ in page.pictured(found, NOISES[1])]
    assert titles == ["noisy input", "median", "ridge", "unet, blind", "unet, <b>one</b>"]


def test_without_models_classifier_and_curves_there_is_a_page(found):
    clean = found.clean.model_copy(update={"accuracy": None, "accuracy_by_label": {}})
    bare = found.model_copy(
        update={
            "clean": clean,
            "classifier": None,
            "methods": found.methods[:3],
            "results": [r for r in found.results if not r.method.startswith("model")],
            "robustness": [],
        }
    )
    rendered = page.render(bare, plots.plots(bare))
    assert "None was trained in this workspace" in rendered
    assert "recognised" not in rendered
    assert 'id="robustness"' not in rendered


def test_figures_follow_the_readers_colours(found):
    drawn = plots.plots(found)
    assert [plot.name for plot in drawn["bars"]] == ["psnr-1", "psnr-2"]
    assert [plot.name for plot in drawn["robustness"]] == ["robustness-1"]
    for plot in (*drawn["bars"], *drawn["robustness"]):
        assert "var(--ink)" in plot.svg
        assert plot.png.startswith(b"\x89PNG")
    assert "Best model: unet, blind, 20.0 dB." in drawn["bars"][0].description
    assert "Noisy input: 9.0 dB." in drawn["bars"][0].description
    assert "40.0 to 20.0 dB" in drawn["robustness"][0].description


def test_without_classes_there_is_no_section_on_them(found):
    assert "By class" in page.render(found, plots.plots(found))
    without = found.model_copy(update={"classes": []})
    assert without.class_name("-1") == ""
    assert "By class" not in page.render(without, plots.plots(without))
