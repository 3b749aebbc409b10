"""Networks that write words for themselves, for tests of closed loops."""

from __future__ import annotations

from typing import Any

from dsl.claim import Claim, Decode, Target
from dsl.domain import Domain
from dsl.parser import parse_expression


def brackets(runtime: Any, longest: int = 30) -> Target:
    """Words over `a` and `b`, with a runtime that says after each prefix what may come next."""
    return Target(
        Domain(f's: seq(tokens("ab"), 0..{longest})'),
        Claim(
            parse_expression('[2] + [["a", "b"].index(c) for c in s]', "pack"),
            "int64",
            decode=Decode("threshold", labels=("a", "b", "<eos>")),
            closed_loop=True,
        ),
        runtime,
    )
