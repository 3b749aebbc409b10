"""Balls on which decisions are certified, and those that must not be."""

from __future__ import annotations

import time

import numpy as np

from dsl.parser import parse
from dsl.program import Program
from verify.bounds import ranges
from verify.graph import Builder, matrix
from verify.neighbourhoods import Margins, linear_scores, settled, steady

TEMPLATE = (1, -2, 0, 3)
TEXT = """TEMPLATE = (1, -2, 0, 3)


def program(x):
    score = np.dot(TEMPLATE, x) - 2 * sum(x)
    return int(score <= -1.5 or score >= 0.5)
"""


def template_program() -> Program:
    return parse("import numpy as np\n\n" + TEXT)


def random_network(seed: int) -> tuple[Margins, np.ndarray, np.ndarray]:
    """A network of four inputs, eight ReLUs and two logits, with its two matrices."""
    rng = np.random.default_rng(seed)
    first, second = rng.standard_normal((8, 4)), rng.standard_normal((2, 8))
    builder = Builder()
    source = builder.input(4)
    hidden = builder.function(
        "relu", builder.affine(((source, matrix(first)),), np.zeros(8), unit=2.0**-24)
    )
    differences = np.array([np.zeros(8), second[0] - second[1], second[1] - second[0], np.zeros(8)])
    rows = builder.affine(
        ((hidden, matrix(differences)),), np.array([1.0, 0.0, 0.0, 1.0]), unit=2.0**-24
    )
    return Margins(builder.graph(), rows, 2), first, second


def decisions(first: np.ndarray, second: np.ndarray, points: np.ndarray) -> np.ndarray:
    return (np.maximum(points @ first.T, 0) @ second.T).argmax(1)


def test_no_point_of_a_certified_ball_has_another_label() -> None:
    rng = np.random.default_rng(0)
    certified = 0
    for seed in range(4):
        margins, first, second = random_network(seed)
        centres = rng.random((40, 4))
        labels = decisions(first, second, centres)
        held = steady(margins, centres - 0.05, centres + 0.05, labels, time.monotonic() + 60)
        certified += int(held.sum())
        for centre, label in zip(centres[held], labels[held], strict=True):
            points = centre + rng.choice([-0.05, 0.05], (500, 4))
            assert (decisions(first, second, points) == label).all()
    assert certified > 60


def test_a_ball_with_the_other_label_inside_is_refused() -> None:
    rng = np.random.default_rng(1)
    margins, first, second = random_network(2)
    centres = rng.random((60, 4))
    labels = decisions(first, second, centres)
    wrong = steady(margins, centres - 0.05, centres + 0.05, 1 - labels, time.monotonic() + 60)
    assert not wrong.any()


def test_balls_that_intervals_leave_open_are_tried_with_linear_bounds() -> None:
    rng = np.random.default_rng(4)
    margins, first, second = random_network(1)
    centres = rng.random((60, 4))
    labels = decisions(first, second, centres)
    low, high = centres - 0.05, centres + 0.05
    state = ranges(margins.graph, low, high, refine=False)
    entries = labels * margins.classes + 1 - labels
    by_intervals = state.low[margins.rows][np.arange(60), entries] > 0
    held = steady(margins, low, high, labels, time.monotonic() + 60)
    assert held[by_intervals].all()
    assert held.sum() > by_intervals.sum() > 0


def test_without_time_nothing_is_certified() -> None:
    margins, first, second = random_network(0)
    centres = np.full((3, 4), 0.5)
    labels = decisions(first, second, centres)
    assert not steady(margins, centres, centres, labels, time.monotonic() - 1).any()


def test_the_weights_of_a_score_are_template_less_offset() -> None:
    weights = linear_scores(template_program())["score"]
    assert weights is not None
    assert weights.tolist() == [-1.0, -4.0, -2.0, 1.0]


def test_a_program_of_another_form_has_no_linear_score() -> None:
    other = parse("def program(x):\n    return int(x[0] * x[1] > 0.5)\n")
    assert linear_scores(other) == {}
    box = np.zeros((1, 4))
    assert settled(other, box, box, np.zeros(1)) is None


def test_a_ball_that_crosses_a_bound_is_not_settled() -> None:
    program = template_program()
    # Scores -7 * 0.1 = -0.7 and -7 * 0.2 = -1.4 at the centres: the second reaches -1.5.
    centres = np.array([[0.1, 0.1, 0.1, 0.0], [0.2, 0.2, 0.2, 0.0]])
    found = settled(program, centres - 0.02, centres + 0.02, np.zeros(2))
    assert found is not None
    assert found.tolist() == [True, False]
