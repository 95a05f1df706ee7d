"""components.noise.parse: what it reads, and what it refuses."""

from __future__ import annotations

import contextlib

import keras
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.base.errors import UsageError
from components.base.settings import Settings
from components.noise import NOISES, Noise, parse
from components.noise.base import number


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("salt_pepper", "salt_pepper(rate=0.1)"),
        ("salt_pepper()", "salt_pepper(rate=0.1)"),
        ("salt_pepper:0.2", "salt_pepper(rate=0.2)"),
        (" gaussian ( 5e-1 ) ", "gaussian(sd=0.5)"),
        ("gaussian(sd=1)", "gaussian(sd=1)"),
        ("gaussian(sd=1.0)", "gaussian(sd=1)"),
        ("gaussian((0.1, 0.6))", "gaussian(sd=(0.1, 0.6))"),
        ("gaussian(sd=[0.1, 0.6])", "gaussian(sd=(0.1, 0.6))"),
        ("salt_pepper(0.1, binary=True)", "salt_pepper(rate=0.1, binary=True)"),
        ("salt_pepper(0.1, binary=False)", "salt_pepper(rate=0.1)"),
        ("gaussian:0.2+salt_pepper:0.05", "gaussian(sd=0.2) + salt_pepper(rate=0.05)"),
        ("none + (none + none)", "none + none + none"),
        ("chain(none, dropout)", "none + dropout(rate=0.3)"),
        ("mixture(none, speckle, weights=(1, 1))", "mixture(none, speckle(sd=0.2))"),
        (
            "mixture(none, none + none, weights=(1, 2.5))",
            "mixture(none, none + none, weights=(1, 2.5))",
        ),
    ],
)
def test_what_is_written_has_one_canonical_form(written, canonical):
    assert str(parse(written)) == canonical
    assert str(parse(canonical)) == canonical


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("pepper(0.1)", "no noise 'pepper'.*salt_pepper"),
        ("gaussian(sigma=0.1)", r"gaussian\(sd=0.5 \[0-10\]\) has no parameter sigma"),
        ("gaussian(sd=-0.1)", "from 0 to 10.*-0.1"),
        ("gaussian(sd=nan)", "no noise 'nan'"),
        ("gaussian(sd=1e999)", "from 0 to 10"),
        ("gaussian(sd='0.1')", "from 0 to 10"),
        ("gaussian(sd=True)", "from 0 to 10"),
        ("gaussian(sd=(0.6, 0.1))", "from low to high"),
        ("gaussian(sd=(0.1, 0.2, 0.3))", "range"),
        ("gaussian(sd=none)", "from 0 to 10"),
        ("gaussian(0.1, 0.2)", "at most 1"),
        ("gaussian(0.1, sd=0.2)", "twice"),
        ("gaussian(sd=0.1, sd=0.2)", "gaussian: sd is given twice"),
        ("gaussian({[]: 1})", "expected a number"),
        ("gaussian({[]})", "expected a number"),
        ("mixture(none, none, weights={[]: 1})", "expected a number"),
        ("gaussian(**{'sd': 1})", r"\*\*"),
        ("salt_pepper(binary=1)", "True or False"),
        ("poisson(peak=0)", "from 0.1 to 1000"),
        ("gaussian - none", "expected a noise"),
        ("gaussian + 0.1", "expected a noise"),
        ("0.1", "expected a noise"),
        ("mixture(gaussian)", "two or more"),
        ("mixture(gaussian, 0.1)", "two or more"),
        ("mixture(none, none, weights=(1,))", "2 positive weights"),
        ("mixture(none, none, weights=(1, 0))", "positive"),
        ("mixture(none, none, weights=(1, True))", "positive"),
        ("mixture(none, none, sd=1)", "no parameter sd"),
        ("gaussian(sd=open('x'))", "no noise 'open'"),
        ("__import__('os').system('true')", "expected a noise"),
        ("(lambda: none)()", "expected a noise"),
        ("gaussian(", "is not a noise"),
        ("", "is not a noise"),
        ("gaussian; none", "is not a noise"),
        ("\0", "is not a noise"),
        ("(" * 500, "is not a noise"),
    ],
)
def test_an_error_names_the_expression_and_what_is_known(written, said):
    with pytest.raises(UsageError, match=f"(?s){said}") as error:
        parse(written)
    assert repr(written) in str(error.value)


@given(st.text(alphabet="abgn_:+-*/()=.,[]{}'\"0123456789 \n\0é", max_size=40))
@settings(max_examples=300)
def test_any_text_is_a_noise_or_a_usage_error(text):
    with contextlib.suppress(UsageError):
        assert isinstance(parse(text), Noise)


def severities(parameter):
    low, high = max(parameter.low, 0.0), min(parameter.high, 1000.0)
    single = st.floats(low, high)
    ranges = st.lists(single, min_size=2, max_size=2, unique=True).map(lambda ends: sorted(ends))
    return single.map(number) | ranges.map(lambda ends: number(tuple(ends)))


def simple_noises():
    choices = []
    for kind, noise in NOISES.items():
        if not noise.combines:
            named = {
                parameter.name: (
                    st.sampled_from(["True", "False"])
                    if parameter.is_switch
                    else severities(parameter)
                )
                for parameter in noise.parameters
            }
            written = st.fixed_dictionaries({}, optional=named)
            choices.append(
                written.map(
                    lambda values, kind=kind: (
                        f"{kind}({', '.join(f'{name}={value}' for name, value in values.items())})"
                    )
                )
            )
    return st.one_of(choices)


def combined(parts):
    several = st.lists(parts, min_size=2, max_size=3)
    return several.map(" + ".join) | several.map(lambda noises: f"mixture({', '.join(noises)})")


@given(st.recursive(simple_noises(), combined, max_leaves=5))
@settings(max_examples=100)
def test_every_valid_expression_survives_printing_and_serialisation(expression):
    noise = parse(expression)
    assert str(parse(str(noise))) == str(noise)
    copied = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(noise))
    assert str(copied) == str(noise)


def test_the_default_settings_name_known_noises():
    for expression in (Settings().noise.training, *Settings().noise.evaluation):
        assert str(parse(expression)) == expression
