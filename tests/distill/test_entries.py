"""The front of hypotheses."""

from __future__ import annotations

from distill.entries import Entry, code_length, front
from dsl.claim import Hypothesis
from dsl.parser import parse

HYPOTHESIS = Hypothesis(parse("def program(a):\n    return a\n"), "test")


def entry(size: int, disagreement: float, named: int = 0) -> Entry:
    return Entry(HYPOTHESIS, size, disagreement, 6.0 * size, named=named)


def test_the_front_holds_what_nothing_beats_in_size_and_disagreement() -> None:
    small, middle, large = entry(1, 0.5), entry(5, 0.2), entry(9, 0.1)
    assert front([large, entry(7, 0.2), small, middle]) == (small, middle, large)


def test_a_template_that_the_data_set_holds_is_no_larger_than_its_name() -> None:
    learned, exemplar = entry(796, 0.034), entry(810, 0.040, named=783)
    assert front([learned, exemplar]) == (exemplar, learned)
    assert front([learned, entry(810, 0.040)]) == (learned,)


def test_a_small_sample_is_judged_like_the_usual_one() -> None:
    def bits(nodes: int, wrong: int, total: int, sampled: bool) -> float:
        return code_length(nodes, wrong, total, 2, sampled=sampled)

    # A rule; with a table of where the network leaves it; a tree that learned the sample by heart.
    rule, table, tree = ((16, 9, 6208), (30, 6, 6208), (76, 1, 6208))
    assert bits(*table, True) < min(bits(*rule, True), bits(*tree, True))
    assert bits(*rule, False) < bits(*table, False)
    assert bits(16, 9, 50_000, True) == bits(16, 9, 50_000, False)
