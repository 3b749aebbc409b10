"""Programs that follow a network where it leaves the rule: a few whole words looked up first."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dsl.claim import Refuted, Target
from dsl.domain import single
from dsl.program import Call, Expr, Literal, Program, Variable

MOST = 6
"""More exceptions than this are no program that a person would read."""


def with_words(program: Program, target: Target, refuted: Refuted) -> Program | None:
    """The program with the words on which a refutation says that it differs from the network
    answered as the network does; None where they are not few, or not all known."""
    words = refuted.evidence.get("beginnings")
    if not words or refuted.evidence.get("differing_beginnings") != len(words) > 0:
        return None
    if len(words) > MOST or not all(target.domain.contains(**word) for word in words):
        return None
    result = program.result
    for word in words:
        value = target.evaluate(single(target.domain, dict(word))).values[0]
        answer = value.tolist() if hasattr(value, "tolist") else value
        result = Call("ite", (_equals(word), _written(answer), result))
    return replace(program, result=result)


def _equals(word: Mapping[str, Any]) -> Expr:
    tests: list[Expr] = [
        Call("eq", (Variable(name), _written(items))) for name, items in word.items()
    ]
    return functools.reduce(lambda a, b: Call("and", (a, b)), tests)


def _written(value: Any) -> Expr:
    if isinstance(value, (list, tuple)):
        return Call("list", tuple(_written(item) for item in value))
    return Literal(value)
