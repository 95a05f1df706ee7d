"""What is tried before a run begins."""

from __future__ import annotations

import pytest

from components.base.errors import UsageError
from pipeline import config, dag

SMALL = "model.arguments={widths: [4], blocks: 0, mixer_blocks: 0}"


@pytest.mark.parametrize(
    ("override", "named"),
    [
        ("noise.training=hiss(sd=1)", "hiss"),
        ("model={name: nosuch}", "nosuch"),
        ("model.arguments.depth=3", "no argument depth"),
        (
            "tuner.search_space={model.arguments.depth: {choices: [3]}}",
            "tuner.search_space: model.arguments.depth cannot be 3: .*no argument depth",
        ),
        (
            "tuner.search_space={model.arguments.widths: {choices: [[4], [0]]}}",
            r"tuner.search_space: model.arguments.widths cannot be \[0\]",
        ),
    ],
)
def test_what_is_not_known_is_refused_before_the_run(override, named):
    settings = config.load("default", [SMALL, "tuner.enabled=true", override])
    with pytest.raises(UsageError, match=named):
        dag.check_names(settings)


def test_a_search_space_that_is_not_used_is_not_tried():
    space = "tuner.search_space={model.arguments.depth: {choices: [3]}}"
    dag.check_names(config.load("default", [SMALL, space]))
