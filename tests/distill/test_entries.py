"""The front of hypotheses."""

from __future__ import annotations

from distill.entries import Entry, front
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
