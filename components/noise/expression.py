"""Noise expressions: `gaussian(sd=0.2) + salt_pepper(rate=0.05)`, read without evaluating them."""

from __future__ import annotations

import ast
from typing import Any

from components.base.errors import UsageError
from components.base.settings import noise_tree
from components.noise.base import NOISES, Noise
from components.noise.chain import Chain


def parse(expression: str) -> Noise:
    """Reads a noise expression.

    | written                                        | means                                  |
    |------------------------------------------------|----------------------------------------|
    | `gaussian(sd=0.5)`, `gaussian(0.5)`            | a noise with its parameters            |
    | `gaussian`                                     | with its defaults                      |
    | `gaussian:0.5`                                 | short for `gaussian(0.5)`              |
    | `gaussian(sd=(0.1, 0.6))`                      | each image its own sd, drawn uniformly |
    | `gaussian(0.2) + salt_pepper(0.05)`            | one after the other                    |
    | `mixture(gaussian(0.5), none, weights=(3, 1))` | each image one of them, at random      |

    Returns:
      The noise; `str()` of it is the canonical expression, which parses to an equal noise.

    Raises:
      UsageError: not such an expression, or an unknown noise, parameter or value; names what
        is known.
    """
    try:
        return _noise(noise_tree(expression))
    except UsageError as error:
        raise UsageError(f"{expression!r}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise UsageError(
            f"{expression!r} is not a noise: write name(parameter=value), joined by + to apply one "
            f"after the other. Known: {_known()}."
        ) from error


def _noise(node: ast.expr) -> Noise:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return Chain(_noise(node.left), _noise(node.right))
    if isinstance(node, ast.Name):
        return _make(node.id, [], {})
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        named = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                raise UsageError("** is not part of a noise expression.")
            if keyword.arg in named:
                raise UsageError(f"{node.func.id}: {keyword.arg} is given twice.")
            named[keyword.arg] = _argument(keyword.value)
        return _make(node.func.id, [_argument(argument) for argument in node.args], named)
    raise UsageError(
        f"expected a noise, found {ast.unparse(node)!r}. Write name(parameter=value). "
        f"Known: {_known()}."
    )


def _argument(node: ast.expr) -> Any:
    if isinstance(node, (ast.Call, ast.BinOp, ast.Name)):
        return _noise(node)
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError):
        raise UsageError(
            f"expected a number, a range (low, high) or a noise, found {ast.unparse(node)!r}."
        ) from None


def _make(kind: str, positional: list[Any], named: dict[str, Any]) -> Noise:
    if kind not in NOISES:
        raise UsageError(
            f"there is no noise {kind!r}. Known: {_known()}. One of your "
            "own is known where `plugins` names its module."
        )
    noise: Any = NOISES[kind]
    names = [parameter.name for parameter in noise.parameters]
    if noise.combines:
        return noise(*positional, **_only({"weights"}, kind, named))
    if len(positional) > len(names):
        raise UsageError(f"{noise.usage()} takes at most {len(names)} values.")
    given = dict(zip(names, positional, strict=False))
    twice = given.keys() & named.keys()
    if twice:
        raise UsageError(f"{noise.usage()}: {', '.join(sorted(twice))} is given twice.")
    return noise(**given, **_only(set(names), kind, named))


def _only(allowed: set[str], kind: str, named: dict[str, Any]) -> dict[str, Any]:
    unknown = named.keys() - allowed
    if unknown:
        raise UsageError(f"{NOISES[kind].usage()} has no parameter {', '.join(sorted(unknown))}.")
    return named


def _known() -> str:
    return ", ".join(NOISES[kind].usage() for kind in sorted(NOISES))
