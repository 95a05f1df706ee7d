from __future__ import annotations

from components.report import contents


def test_contents_survive_json(small_contents):
    text = small_contents.model_dump_json()
    assert contents.Contents.model_validate_json(text) == small_contents


def test_class_names_fall_back_to_the_label(small_contents):
    assert small_contents.class_name("1") == "Bag & co"
    assert small_contents.class_name("7") == "7"
