"""Where ties are the rule, enumeration runs every row again, in smaller company."""

from __future__ import annotations

import time

import numpy as np

from dsl.claim import Claim, Decode, Proved, Refuted, Target, Unknown, Verdict
from dsl.domain import Domain
from dsl.parser import parse, parse_expression
from dsl.program import Program
from verify import enumeration


def verdict_on_ties(alone: int) -> Verdict | None:
    """Of a network with two equal outputs; the second is greater in runs of up to `alone` rows."""

    def runtime(packed: np.ndarray) -> np.ndarray:
        raw = np.ones((len(packed), 2), np.float32)
        raw[:, 1] += np.float32(1e-7 if len(packed) <= alone else -1e-7)
        return raw

    claim = Claim(parse_expression("[a]"), "int64", decode=Decode("argmax"))
    target = Target(Domain("a: int[0..4999]"), claim, runtime)
    program = parse("def program(a):\n    return 0\n")
    until = time.monotonic() + 60
    return enumeration.verify(program, target, deadline=until, seed=0, evidence={})


def test_a_block_full_of_ties_is_run_again_in_smaller_company() -> None:
    verdict = verdict_on_ties(0)
    assert isinstance(verdict, Proved)
    assert verdict.evidence["run_again"] == 5000
    assert "smaller runs" in verdict.arithmetic
    assert isinstance(verdict_on_ties(1), Unknown)
    assert isinstance(verdict_on_ties(5), Unknown)
    assert isinstance(verdict_on_ties(512), Unknown)


def test_each_row_stands_in_one_run() -> None:
    rows = np.arange(7, 7 + 3 * 3000, 3)
    runs = list(enumeration._runs(rows))
    assert sorted(np.concatenate(runs).tolist()) == rows.tolist()
    assert [len(run) for run in runs[:128]] == [1] * 128


def powers(values: dict[int, float]) -> Target:
    """A network with a value for each `a`."""

    def runtime(packed: np.ndarray) -> np.ndarray:
        return np.array([[values[a]] for a in packed[:, 0].tolist()])

    claim = Claim(parse_expression("[a]"), "int64", decode=Decode("value"))
    return Target(Domain(f"a: int[{min(values)}..{max(values)}]"), claim, runtime)


def test_where_the_language_ends_nothing_is_refuted_and_nothing_is_proved() -> None:
    program = parse("def program(a):\n    return 2 ** a\n")
    verdict = verdict_on(program, powers({-1: 0.5, 0: 1.0, 1: 2.0}))
    assert isinstance(verdict, Unknown)
    assert verdict.reason.startswith("the program's value on a=-1 is beyond the language: pow")
    verdict = verdict_on(program, powers({-1: 0.5, 0: 1.0, 1: 3.0}))
    assert isinstance(verdict, Refuted)
    assert verdict.counterexample.inputs == {"a": 1}
    reciprocal = parse("def program(a):\n    return a ** (0 - 1)\n")
    verdict = verdict_on(reciprocal, powers({-1: -1.0, 0: 0.0, 1: 1.0}))
    assert isinstance(verdict, Refuted)
    assert verdict.counterexample.inputs == {"a": 0}
    assert verdict.counterexample.program_value is None


def test_one_large_integer_does_not_take_the_value_from_the_other_rows() -> None:
    program = parse("def program(a):\n    return a * 2 ** 30 * 2 ** 30 + 0.5\n")
    verdict = verdict_on(program, powers({0: 0.5, 1: 0.0}))
    assert isinstance(verdict, Unknown)
    assert "an integer above 2**53 meets a real number" in verdict.reason


def verdict_on(program: Program, target: Target) -> Verdict | None:
    until = time.monotonic() + 60
    return enumeration.verify(program, target, deadline=until, seed=0, evidence={})
