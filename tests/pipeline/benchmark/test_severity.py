"""The severities of the robustness curve."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.noise import NOISES, parse
from pipeline.benchmark.severity import axis, severities


def test_the_default_noises_are_varied_over_what_is_of_use():
    assert [point.value for point in severities("salt_pepper(rate=0.1)")] == [
        0.02,
        0.05,
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
    ]
    assert [point.value for point in severities("gaussian(sd=0.5)")] == [
        0.05,
        0.1,
        0.2,
        0.3,
        0.5,
        0.7,
        1.0,
    ]
    both = severities("gaussian(sd=0.2) + salt_pepper(rate=0.05)")
    assert both[0].noise == "gaussian(sd=0.04) + salt_pepper(rate=0.01)"
    assert both[2].noise == "gaussian(sd=0.2) + salt_pepper(rate=0.05)"
    assert both[-1].noise == "gaussian(sd=1) + salt_pepper(rate=0.25)"
    assert axis("salt_pepper(rate=0.1)").startswith("rate: ")
    assert "gaussian(sd=0.2)" in axis("gaussian(sd=0.2) + salt_pepper(rate=0.05)")


def test_another_parameter_stays_as_it_is():
    assert all(
        "binary=True" in point.noise for point in severities("salt_pepper(0.1, binary=True)")
    )


@pytest.mark.parametrize("noise", ["none", "mixture(gaussian(0.5), none)", "gaussian((0.1, 0.2))"])
def test_a_noise_without_one_severity_has_no_curve(noise):
    assert severities(noise) == []


@pytest.mark.parametrize("kind", [kind for kind in NOISES if NOISES[kind].parameters])
@given(share=st.floats(0.01, 1))
def test_every_noise_is_varied_within_what_it_allows(kind, share):
    severity = NOISES[kind].parameters[0]
    value = severity.low + share * (min(severity.high, 50) - severity.low)
    points = severities(f"{kind}({value})")
    assert [point.value for point in points] == sorted({point.value for point in points})
    for point in points:
        assert str(parse(point.noise)) == point.noise
