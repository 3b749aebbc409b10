"""Decision lists over half-lines, and sums of truth values."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable

import numpy as np
import pytest

from dsl.claim import Claim, Decode, Target
from dsl.domain import Domain
from dsl.parser import parse_expression
from dsl.printer import expression
from dsl.program import size
from synth.expressions import disagreements
from synth.lists import propose
from synth.problem import Problem, observe

SIDE = 40


def problem_of(
    rule: Callable[..., int], labels: int, names: str = "ab", side: int = SIDE
) -> Problem:
    """A network that looks the rule up; all inputs are observed."""
    table = np.array([rule(*row) for row in itertools.product(range(side), repeat=len(names))])
    places = side ** np.arange(len(names))[::-1]

    def runtime(packed: np.ndarray) -> np.ndarray:
        return np.eye(labels)[table[packed @ places]]

    domain = Domain(", ".join(f"{name}: int[0..{side - 1}]" for name in names))
    pack = parse_expression(f"[{', '.join(names)}]", "pack")
    claim = Claim(pack, decode=Decode("argmax"), dtype="int64")
    target = Target(domain, claim, runtime)
    observations = observe(target, list(domain.batches()))
    return Problem(target, observations, True, time.monotonic() + 60)


RULES: list[tuple[Callable[[int, int], int], int, int]] = [
    (lambda a, b: int(b > 21) + int(a > 11 or a + b > 33), 3, 15),
    (lambda a, b: 2 if a + b > 50 else 1 if b < 5 else 3 if a - b > 7 else 0, 4, 20),
    (lambda a, b: 2 * int(a > 17) + int(a - b < 4), 4, 13),
    (lambda a, b: int(b < 30 and (a > 25 or a + b > 41)), 2, 14),
    (lambda a, b: (a * b > 300) + (a % 3 == 1), 3, 14),
]


@pytest.mark.parametrize(("rule", "labels", "nodes"), RULES)
def test_a_rule_is_found_as_short_as_it_was_written(
    rule: Callable[[int, int], int], labels: int, nodes: int
) -> None:
    problem = problem_of(rule, labels)
    found = [h.program for h in propose(problem) if not disagreements(problem, h.program, 1)]
    assert min(size(program) for program in found) <= nodes


def test_a_difference_beside_zero_reads_as_a_comparison() -> None:
    problem = problem_of(lambda a, b: 2 if a == b else int(a + 3 > b), 3)
    found = [h.program for h in propose(problem) if not disagreements(problem, h.program, 1)]
    assert not any("== 0" in expression(program.result) for program in found)
    texts = [expression(program.result) for program in found]
    assert any("a == b" in text or "b == a" in text for text in texts)


def test_sums_of_three_inputs_are_compared_as_one_would_write_it() -> None:
    problem = problem_of(lambda a, b, c: (a + b > 2 * c) + (b == c), 3, "abc", 9)
    found = [h.program for h in propose(problem) if not disagreements(problem, h.program, 1)]
    texts = [expression(program.result) for program in found]
    assert any("a + b > 2 * c" in text and ("b == c" in text or "c == b" in text) for text in texts)
    assert min(size(program) for program in found) <= 13


def test_votes_of_several_weights_are_found() -> None:
    def rule(a: int, b: int, c: int, d: int, e: int, f: int) -> int:
        return int(2 * a + 2 * b + c + d + e - 2 * f > 2)

    problem = problem_of(rule, 2, "abcdef", 2)
    found = [h.program for h in propose(problem) if not disagreements(problem, h.program, 1)]
    assert min(size(program) for program in found) <= 21


def test_random_labels_yield_no_short_list() -> None:
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 3, (SIDE, SIDE))
    problem = problem_of(lambda a, b: int(noise[a, b]), 3)
    assert list(propose(problem)) == []
