"""YAML as it is meant today: the core schema of YAML 1.2, and every key once.

PyYAML reads YAML 1.1, where `no` is false, `1:30` is 90, `2026-01-02` a date and `1e-3` a text,
and of two equal keys it takes the last without a word.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

import yaml

_TAG = "tag:yaml.org,2002:"
_CORE = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
    ("merge", r"<<", ["<"]),
)
"""YAML 1.2.2, 10.3.2: tags of plain scalars, the first that fits; `<<` is of 1.1, and usual."""


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        # Before `<<` is followed, which puts keys beside those that are written.
        node = super().compose_mapping_node(anchor)
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.tag == f"{_TAG}merge":
                continue
            if (key.tag, key.value) in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key.value!r} is given twice", key.start_mark
                )
            seen.add((key.tag, key.value))
        return node

    def construct_number(self, node: yaml.ScalarNode) -> int:
        return int(node.value, 0 if node.value[:2] in ("0o", "0x") else 10)


class _Dumper(yaml.SafeDumper):
    """Puts in quotes what either of the two versions would take for something else than a text."""


for _name, _pattern, _first in _CORE:
    _resolves = re.compile(rf"(?:{_pattern})\Z")
    _Loader.add_implicit_resolver(f"{_TAG}{_name}", _resolves, _first)
    _Dumper.add_implicit_resolver(f"{_TAG}{_name}", _resolves, _first)
_Loader.add_constructor(f"{_TAG}int", _Loader.construct_number)


def read(text: str) -> Any:
    """The plain value of a YAML document.

    Raises:
      ValueError: it is none; says where and why.
    """
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def written(value: Any, **options: Any) -> str:
    """A plain value as YAML, in the order it has.

    Args:
      value: Of dicts, lists, texts, numbers, truth values and None.
      **options: Of `yaml.dump`.
    """
    text: str = yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, **options)
    return text
