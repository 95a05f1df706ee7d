"""YAML 1.2's core schema, each key once, and what is written is read again, by 1.1 too."""

import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.base import yaml_text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("~", None),
        ("Null", None),
        ("[true, False, yes, on, y]", [True, False, "yes", "on", "y"]),
        ("[010, 0x1F, 0o17, -3, +3, 1_000]", [10, 31, 15, -3, 3, "1_000"]),
        ("[1:30, 2026-01-02, 0b1]", ["1:30", "2026-01-02", "0b1"]),
        ("[1e3, 1., .5, -1.5E-2, 1.0e+3]", [1000.0, 1.0, 0.5, -0.015, 1000.0]),
        ("[.inf, -.inf]", [math.inf, -math.inf]),
        ("{<<: {a: 1, b: 2}, a: 3}", {"a": 3, "b": 2}),
        ("'1e3'", "1e3"),
        ("{x: {b: &b {<<: {a: 1}, a: 2}}, c: {<<: *b}}", {"x": {"b": {"a": 2}}, "c": {"a": 2}}),
    ],
)
def test_it_is_the_core_schema(text, value):
    assert yaml_text.read(text) == value


def test_there_is_a_number_that_is_none():
    assert math.isnan(yaml_text.read(".nan"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{a: 1, a: 1}", r"the key 'a' is given twice(?s:.*)line 1, column 8"),
        ("a: {b: 1}\nc: {b: 1, 'b': 2}", "'b' is given twice"),
        ("[", "while parsing"),
        ("[" * 5000, "nested too deeply"),
        ("9" * 5000, "digits"),
        ("{[a]: 1}", "unhashable"),
        ("!!python/object:os.system {}", "could not determine a constructor"),
        ("a\0b", "special characters"),
        ("!!bool x", "x"),
        ("!!float ''", "index"),
        ("!!timestamp abc", "group"),
        ("!!map ab", "mapping"),
    ],
)
def test_what_is_no_plain_value_is_refused(text, said):
    with pytest.raises(ValueError, match=said):
        yaml_text.read(text)


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")))
    | st.sampled_from(["1e3", "yes", "1:30", "010", "2026-01-02", "0o17", "~", "<<", "1_000", "="])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text("abc1e"), inner), max_leaves=8
)


@given(values)
def test_what_is_written_is_read_again(value):
    for options in ({}, {"default_flow_style": True, "width": 10**9}):
        text = yaml_text.written(value, **options)
        assert yaml_text.read(text) == value
        assert yaml.safe_load(text) == value
