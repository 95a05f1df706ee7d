from __future__ import annotations

import html.parser
import itertools

import numpy as np
import pytest

from components.image import png
from components.page import figures
from components.report import page, plots
from components.report.result import StepTime
from components.tuning.trials import Trial, Tuning

PIXEL = png.data_uri(png.encoded(np.zeros((1, 1, 4), np.uint8)))
VOID = {"meta", "img", "br", "wbr", "link", "input", "hr"}


class Outline(html.parser.HTMLParser):
    """Elements in order, and whether they nest."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def rendered(small_contents) -> str:
    strips = [(picture, PIXEL) for picture in small_contents.pictures]
    return page.render(small_contents, plots.plots(small_contents), strips, PIXEL)


@pytest.fixture(scope="module")
def outline(rendered) -> Outline:
    return Outline(rendered)


def test_elements_nest(outline):
    assert outline.open == []


def test_nothing_is_fetched(outline):
    for tag, attributes in outline.elements:
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            target = attributes.get(name) or ""
            assert target == "" or target.startswith(("#", "data:")), (tag, target)
        assert tag not in ("script", "link", "iframe", "object")
    assert "url(http" not in outline.text
    assert "@import" not in outline.text


def test_every_picture_and_figure_has_words(outline):
    for image in outline.all("img"):
        assert len(image["alt"] or "") > 20
    ids = {attributes.get("id") for _, attributes in outline.elements}
    figures = outline.all("svg")
    assert figures
    for figure in figures:
        assert figure["role"] == "img"
        assert figure["aria-labelledby"] in ids


def test_links_within_the_page_lead_somewhere(outline):
    ids = {attributes.get("id") for _, attributes in outline.elements}
    for link in outline.all("a"):
        assert (link["href"] or "").removeprefix("#") in ids


def test_headings_go_down_one_level_at_a_time(outline):
    levels = [int(tag[1]) for tag, _ in outline.elements if tag in ("h1", "h2", "h3", "h4")]
    assert levels.count(1) == 1
    assert levels[0] == 1
    # A figure's title, h4, may stand right under a section's heading.
    assert all(after - before <= 2 for before, after in itertools.pairwise(levels))


def test_every_table_has_a_caption_and_scrolls_in_a_box_of_its_own(outline):
    tables = outline.all("table")
    assert len(tables) > 10
    assert len(outline.all("caption")) == len(tables)
    scrolling = [box for box in outline.all("div") if box.get("class") == "scroll"]
    assert all(box["tabindex"] == "0" and box["aria-label"] for box in scrolling)
    assert len(scrolling) >= len(tables)


def test_what_data_says_is_text_not_markup(rendered):
    assert "<script" not in rendered
    assert "&lt;script&gt;" in rendered
    assert "<b>Shirt</b>" not in rendered
    assert "/data/&lt;clothing&gt;" in rendered


def test_both_colour_schemes(rendered):
    assert "prefers-color-scheme: dark" in rendered
    for variable in figures.VARIABLES.values():
        assert rendered.count(f"{variable}: #") == 2


def test_missed_threshold_is_named_and_outcome_says_so(outline):
    assert "missed one threshold and was not pushed" in outline.text
    assert "3.0000 dB below the threshold 25.0000 dB" in outline.text
    assert "≥ 25.00 missed" in outline.text
    assert "≥ 1.00 kept" in outline.text
    assert "≤ 0.1000 kept" in outline.text
    assert "pushed before" in outline.text


@pytest.mark.parametrize(
    ("outcome", "version", "says"),
    [
        ("pushed", "17", "was pushed as version 17"),
        ("not servable", None, "failed the serving check"),
    ],
)
def test_other_outcomes(small_contents, outcome, version, says):
    contents = small_contents.model_copy(update={"outcome": outcome, "version": version})
    assert says in page.sentence(contents)


def test_without_classifier_baseline_and_transformed_statistics(small_contents):
    contents = small_contents.model_copy(
        update={
            "classifier": None,
            "transformed": None,
            "quarantine": [],
            "metrics": [
                row.model_copy(update={"baseline": None}) for row in small_contents.metrics
            ],
        }
    )
    outline = Outline(page.render(contents, plots.plots(contents), [], PIXEL))
    assert "Downstream classifier" not in outline.text
    assert "No model had been pushed before" in outline.text


def test_a_warm_start_is_told_of(small_contents, outline):
    assert "started from the weights" not in outline.text
    training = {**small_contents.training, "started_from": "1700000000"}
    contents = small_contents.model_copy(update={"training": training})
    with_start = Outline(page.render(contents, plots.plots(contents), [], PIXEL))
    assert "It started from the weights of version 1700000000." in with_start.text


def test_trials_are_shown_with_the_best_and_the_failed_marked(small_contents, outline):
    assert "Tuning" not in outline.text
    tuning = Tuning(
        algorithm="random",
        images=20_000,
        trials=[
            Trial(number=1, settings=_tried(6e-3, [16]), epochs=2, psnr=24.0, seconds=10.0),
            Trial(number=2, settings=_tried(0.0123456, [32]), epochs=2, psnr=24.5, seconds=11.0),
            Trial(number=3, settings=_tried(9e-3, "<b>"), epochs=2, error="no <such> widths"),
        ],
        best=2,
    )
    contents = small_contents.model_copy(update={"tuning": tuning})
    rendered = page.render(contents, plots.plots(contents), [], PIXEL)
    with_trials = Outline(rendered)
    assert with_trials.open == []
    assert "3 trials (random search) on 20,000 training images" in with_trials.text
    assert "The best was trial 2 with 24.50 dB" in with_trials.text
    assert "training.learning_rate=0.0123, model.arguments.widths=[32]" in with_trials.text
    assert "no &lt;such&gt; widths" in rendered
    (best,) = [line for line in rendered.splitlines() if ">best<" in line]
    assert "24.50" in best
    assert 'class="total"' in best


def _tried(learning_rate, widths):
    return {"training.learning_rate": learning_rate, "model.arguments.widths": widths}


def test_runner_adds_its_run_and_step_times_and_may_do_so_again(rendered):
    steps = [
        StepTime(name="Trainer", state="done", began=1.5, seconds=12.25),
        StepTime(name="Report", state="cached", began=9, seconds=0.02),
    ]
    once = page.with_run(rendered, "2026-run", steps)
    assert "2026-run" in once
    assert "12.2" in once
    assert '<td class="n">13.8</td></tr></tfoot>' in once
    assert "unchanged" in once
    assert page.with_run(once, "2026-run", steps) == once
    assert Outline(once).open == []


def test_smaller_is_better_for_errors(small_contents):
    row = small_contents.row("gaussian(sd=0.5)")
    assert page.verdict(row, "mse") is True
    tight = row.model_copy(update={"bounds": {"mse": 0.001}})
    assert page.verdict(tight, "mse") is False
    assert page.verdict(row, "ssim") is None


def test_the_precisions_that_were_tried_are_told(outline):
    text = " ".join(outline.text.split())
    assert "float32 402 images/s; mixed_bfloat16 with ISA=LOW (ended by SIGILL" in text
