"""Domains: text, size, enumeration, sampling, membership and the Z3 condition tell one story."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl.domain import Domain, single
from dsl.errors import DistillError

SMALL = [
    "a: int[0..4]",
    "a: int[-3..3], b: int[0..2] where a < b",
    'x: tokens(["a  b", " where ", "\\"q\\\\", "é"]), p: bool',
    's: seq(tokens("ab"), 0..3)',
    "s: seq(int[0..1], 1..3), n: int[0..3] where sum(s) == n",
    "s: seq(int[0..1], 0), t: seq(bool, 2)",
    "m: array(int[0..1], 2x2) where m[0][0] == 1",
    "x: real[0.5, 0.5], a: int[7..7]",
    "a: int[9223372036854775806..9223372036854775807]",
    "b: int[-9223372036854775808..-9223372036854775807]",
    "a: int[0..9] where a % 0 == 1",
    "k: tokens([10, -3, 7])",
]


def rows(domain: Domain) -> list[dict[str, Any]]:
    return [
        domain.row(batch, i)
        for batch in domain.batches(3)
        for i in range(len(next(iter(batch.values()))))
    ]


@pytest.mark.parametrize("text", SMALL)
def test_size_enumeration_and_membership_agree(text: str) -> None:
    domain = Domain(text)
    found = rows(domain)
    assert domain.size() == len(found)
    assert len({repr(row) for row in found}) == len(found)
    assert all(domain.contains(**row) for row in found)


@pytest.mark.parametrize("text", SMALL)
def test_samples_lie_in_the_domain_and_reach_all_of_it(text: str) -> None:
    domain = Domain(text)
    drawn = {
        repr(domain.row(batch, i))
        for batch in domain.sample(600, np.random.default_rng(0))
        for i in range(len(next(iter(batch.values()))))
    }
    every = {repr(row) for row in rows(domain)}
    assert drawn <= every
    assert len(drawn) >= min(len(every), 20)


@pytest.mark.parametrize("text", SMALL)
def test_the_text_of_a_domain_is_read_as_it_was_printed(text: str) -> None:
    domain = Domain(text)
    kinds = ", ".join(f"{name}: {kind}" for name, kind in domain.fields)
    where = text.partition(") where ")[2] if " where " in text and '" where "' not in text else ""
    again = Domain(str(domain))
    assert again == domain and again.fields == domain.fields and again.where == domain.where
    assert Domain(kinds).fields == domain.fields
    assert (domain.where is None) == ("where" not in text.replace('" where "', ""))
    assert isinstance(where, str)


@pytest.mark.parametrize("text", [t for t in SMALL if "array" not in t])
def test_z3_has_as_many_solutions_as_there_are_inputs(text: str) -> None:
    import z3

    from dsl.smt import constraint, literal, symbols

    domain = Domain(text)
    count = 0
    for shape in domain.shapes():
        inputs = symbols(domain, shape)
        solver = z3.Solver()
        solver.add(constraint(domain, inputs))
        terms = [x for v in inputs.values() for x in (v if isinstance(v, list) else [v])]
        while solver.check() == z3.sat:
            model = solver.model()
            values = [model.eval(term, model_completion=True) for term in terms]
            count += 1
            assert count <= 100
            if not terms:
                break
            solver.add(z3.Or(*(term != value for term, value in zip(terms, values, strict=True))))
    assert count == len(rows(domain))
    for row in rows(domain)[:5]:
        condition = constraint(domain, {name: literal(value) for name, value in row.items()})
        assert z3.is_true(z3.simplify(condition))


@settings(max_examples=60, deadline=None)
@given(st.integers(-6, 6), st.integers(-6, 6), st.integers(0, 3))
def test_membership_is_that_of_the_condition(a: int, b: int, n: int) -> None:
    domain = Domain("a: int[-5..5], b: int[-5..5], s: seq(int[0..1], 0..2) where a * b >= len(s)")
    inside = -5 <= a <= 5 and -5 <= b <= 5 and n <= 2 and a * b >= n
    assert domain.contains(a=a, b=b, s=[1] * n) == inside


def test_other_kinds_of_values_are_not_in_the_domain() -> None:
    domain = Domain('a: int[0..1], p: bool, x: real[0,1], c: tokens("ab")')
    good: dict[str, Any] = {"a": 1, "p": True, "x": 0.5, "c": "a"}
    assert domain.contains(**good)
    for name, value in (
        ("a", True),
        ("a", 1.0),
        ("p", 1),
        ("x", float("nan")),
        ("c", "ab"),
        ("a", 2),
    ):
        assert not domain.contains(**{**good, name: value}), (name, value)
    assert not domain.contains(a=1, p=True, x=0.5)


def test_blocks_of_any_size_give_the_same_inputs_in_the_same_order() -> None:
    domain = Domain("a: int[0..6], b: int[0..5] where (a + b) % 3 != 0")
    whole = list(domain.batches(1000))
    for block in (1, 4, 7):
        parts = list(domain.batches(block))
        for name in domain.names:
            joined = np.concatenate([part[name] for part in parts])
            assert joined.tolist() == whole[0][name].tolist()


def test_a_condition_that_excludes_everything_leaves_nothing() -> None:
    domain = Domain("a: int[0..99] where a < 0")
    assert domain.size() == 0
    assert list(domain.batches()) == []
    assert domain.sample(10, np.random.default_rng(0)) == []


def test_unbounded_lengths_are_enumerated_the_shortest_first_and_none_is_left_out() -> None:
    domain = Domain("s: seq(bool, 1..), t: seq(bool, 0..2)")
    first = [dict(shape.lengths) for shape in itertools.islice(domain.shapes(), 9)]
    assert first[0] == {"s": 1, "t": 0}
    assert {(shape["s"], shape["t"]) for shape in first} >= {(1, 2), (2, 1), (3, 0)}
    assert all(shape["t"] <= 2 for shape in first)
    assert domain.size() is None


def test_a_further_condition_keeps_the_first_one() -> None:
    domain = Domain('x: tokens([" where ", "b"]), a: int[0..3] where a > 0').restricted("a < 3")
    assert domain.size() == 4
    assert Domain("a: int[0..3]").restricted("a < 3").size() == 3


def test_one_input_is_a_batch_of_one_row() -> None:
    domain = Domain('s: seq(tokens("ab"), 0..3), a: int[0..9]')
    batch = single(domain, {"s": ["b", "a"], "a": 4})
    assert domain.row(batch, 0) == {"s": ["b", "a"], "a": 4}


WRONG = [
    ("", "a name is missing, found the end"),
    ("if: int[0..1]", "an input cannot be called if"),
    ("len: bool", "an input cannot be called len"),
    ("__x: bool", "an input cannot be called __x"),
    ("ﬁ: bool", "Python would read ﬁ in another spelling"),
    ("x: int[0..99999999999999999999]", "an integer input has at most 64 bits"),
    ("x: int[0..1], x: bool", "two inputs are called x"),
    ('x: tokens("aa")', "a token is given twice"),
    ('x: tokens("")', "no tokens are given"),
    ("x: seq(int[0..1], 3..2)", "empty length range 3..2"),
    ("x: real[1, 0]", "empty real range 1.0..0.0"),
    ("x: float", "no type `float`: bool, int, real, tokens, seq or array"),
    ("x: int[0..1] where y > 0", "y in `where` is no input"),
    ("x: array(real[0,1], 0x3)", "an axis of the array is empty"),
    ("x: int[0..1] wher x", "unexpected `wher`"),
]


@pytest.mark.parametrize(("text", "finding"), WRONG)
def test_what_is_no_domain_is_refused_with_its_reason(text: str, finding: str) -> None:
    with pytest.raises(DistillError) as caught:
        Domain(text)
    assert caught.value.code == "D111"
    assert caught.value.finding == finding
