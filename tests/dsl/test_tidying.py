"""Programs in fewer nodes, with the same values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsl.domain import Domain
from dsl.evaluate import run
from dsl.parser import parse
from dsl.printer import to_python
from dsl.program import Assign, Call, Expr, Literal, Program, Variable, size
from dsl.tidying import tidied

DOMAIN = Domain("a: int[-3..3], b: int[-3..3], c: int[0..3]")
REALS = Domain("a: real[-3,3], b: real[-3,3], c: real[0,3]")


def program(result: str, *lines: str) -> Program:
    body = "".join(f"    {line}\n" for line in (*lines, f"return {result}"))
    return parse(f"def program(a, b, c):\n{body}")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("b + (c - a) > 0", "b + c > a"),
        ("a % 5 - b % 3 >= 1", "a % 5 > b % 3"),
        ("a + b - c < 1", "a + b <= c"),
        ("a - b - c <= -1", "a < b + c"),
        ("a + 2 - b == 2", "a == b"),
        ("0 < a - 2 * b", "2 * b < a"),
        ("-a > -b", "b > a"),
        ("a - b < 25", "a - b < 25"),
        ("(a - b) % 14 == 0", "a == b"),
        ("(a - b) % 5 == 0", "(a - b) % 5 == 0"),
        ("c % 4 == 3", "c == 3"),
        ("a + (b + (c + a)) > 1", "a + b + c + a > 1"),
        ("a + (b - c) < 7", "a + b - c < 7"),
        ("a // (10 * 5) < 1", "a // 50 < 1"),
        ("a < b", "a < b"),
    ],
)
def test_terms_stand_where_they_are_added(before: str, after: str) -> None:
    found = tidied(program(before), DOMAIN)
    assert to_python(found) == to_python(program(after))


def test_real_numbers_stay_where_they_are() -> None:
    given_ = program("a + b - c > 0")
    assert tidied(given_, REALS) == given_
    halves = program("a / 2 - b / 2 > 0")
    assert tidied(halves, DOMAIN) == halves


def test_a_name_that_is_used_once_gives_way() -> None:
    found = tidied(program("int(score >= 1)", "score = a % 5 - b % 3"), DOMAIN)
    assert to_python(found) == to_python(program("int(a % 5 > b % 3)"))
    twice = program("score * score", "score = a % 5 - b % 3")
    assert tidied(twice, DOMAIN) == twice
    repeated = program("sum([score for i in range(c)])", "score = a % 5")
    assert tidied(repeated, DOMAIN) == repeated


terms = st.recursive(
    st.sampled_from([Variable("a"), Variable("b"), Variable("c")])
    | st.builds(Literal, st.integers(-3, 3)),
    lambda inner: (
        st.builds(
            lambda name, x, y: Call(name, (x, y)),
            st.sampled_from(["add", "sub", "mul", "max"]),
            inner,
            inner,
        )
        | st.builds(lambda x: Call("neg", (x,)), inner)
    ),
    max_leaves=6,
)


@given(st.sampled_from(["lt", "le", "gt", "ge", "eq", "ne"]), terms, terms)
def test_values_stay_the_same(name: str, left: Expr, right: Expr) -> None:
    inputs = (("a", None), ("b", None), ("c", None))
    score = Assign(("score",), (left,))
    before = Program("program", inputs, (score,), Call(name, (Variable("score"), right)))
    after = tidied(before, DOMAIN)
    assert size(after) <= size(before)
    for batch in DOMAIN.batches():
        np.testing.assert_array_equal(run(after, batch), run(before, batch))
