"""Labels of two variables: laws that are found, and tables in which there is none."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest

from benchmarks.compression import image_bits
from benchmarks.labelling import labelling, problem_of
from dsl.evaluate import run
from dsl.printer import expression
from dsl.program import Call, Program, Variable
from synth.code_length import boundary_distance, exception_bits, subset_bits
from synth.inequalities import forms
from synth.inequalities.cells import Axis, Cells, cells_of
from synth.inequalities.constants import best_cut, simplest_fractions, simplest_integers
from synth.inequalities.forms import Feature, Form
from synth.inequalities.formulas import Formula
from synth.inequalities.proposer import propose
from synth.inequalities.refinement import rounded, rule_of
from synth.mixing import exception_mask_bits

SIZE = 36


def table_of(test: str) -> np.ndarray:
    """The table of an expression over a and b."""
    from dsl.parser import parse_expression

    a, b = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    inputs = (("a", None), ("b", None))
    program = Program("law", inputs, (), parse_expression(test, "law"))
    values = run(program, {"a": a.ravel(), "b": b.ravel()})
    return values.astype(bool).reshape(SIZE, SIZE)


def found_in(table: np.ndarray, seconds: float = 300) -> list[Program]:
    return [hypothesis.program for hypothesis in propose(problem_of(table, seconds))]


def agreement(program: Program, table: np.ndarray) -> float:
    a, b = np.meshgrid(np.arange(len(table)), np.arange(len(table)), indexing="ij")
    values = run(program, {"a": a.ravel(), "b": b.ravel()})
    return float((values.astype(bool).reshape(table.shape) == table).mean())


SCORE = "math.isqrt(a ** 3) % 4 + 2 * (a ** 2 < 20 * b) >= 3"


@pytest.mark.parametrize(
    "law",
    ["a ** 3 < 40 * b ** 2", "a ** 2 + b ** 2 < 900 and a % 3 != 1", SCORE],
)
def test_a_clean_law_is_found_exactly(law: str) -> None:
    table = table_of(law)
    assert agreement(found_in(table)[0], table) == 1


def test_a_residue_is_as_plain_as_the_table_allows() -> None:
    table = table_of("a % 4 == 0 and a < b or b % 7 == 3")
    program = found_in(table)[0]
    assert agreement(program, table) == 1
    assert "b % 7 == 3" in expression(program.result)


def test_a_law_is_found_through_noise() -> None:
    table = table_of("2 * a ** 2 < 30 * b and b % 4 != 1")
    rng = np.random.default_rng(5)
    noisy = table ^ (rng.random(table.shape) < 0.015)
    assert agreement(found_in(noisy)[0], table) == 1


def test_the_evidence_names_the_interval_of_each_constant() -> None:
    problem = problem_of(table_of("7 * a < 3 * b ** 2"), 300)
    hypothesis = next(iter(propose(problem)))
    (pinned,) = hypothesis.evidence["constants"]
    low, high = pinned["interval"]
    assert low < float(Fraction(pinned["constant"])) <= high


def test_the_same_seed_gives_the_same_programs() -> None:
    table = table_of("a * b < 300 or a % 3 == 0")
    assert found_in(table) == found_in(table)


def test_random_bits_yield_no_program() -> None:
    assert found_in(np.random.default_rng(1).random((SIZE, SIZE)) < 0.5) == []


def test_shuffled_cells_yield_no_program() -> None:
    table = table_of(SCORE)
    flat = np.random.default_rng(2).permutation(table.ravel())
    assert found_in(flat.reshape(table.shape)) == []


def test_rows_in_random_order_yield_no_program() -> None:
    table = table_of("a ** 3 < 40 * b ** 2")
    assert found_in(table[np.random.default_rng(3).permutation(SIZE)]) == []


def test_other_inputs_than_few_integers_are_left_to_others() -> None:
    problem = problem_of(table_of("a < b"), 5)
    values = np.arange(len(problem.observations[0])) % 5
    many = type(problem.observations[0])(
        problem.observations[0].inputs, values, problem.observations[0].margins
    )
    five = type(problem)(problem.target, (many,), True, time.monotonic() + 5)
    assert cells_of(five) is None


def test_the_deadline_is_kept() -> None:
    started = time.process_time()
    found_in(table_of(SCORE), seconds=0.5)
    assert time.process_time() - started < 8


def test_the_roundest_integer_of_an_interval() -> None:
    assert Fraction(40000) in set(simplest_integers(39127.3, 40211.0))
    assert Fraction(0) in set(simplest_integers(-3, 5))
    assert list(simplest_integers(4.2, 4.9)) == []


def test_the_fraction_with_the_least_denominator() -> None:
    assert next(iter(simplest_fractions(0.3, 0.35))) == Fraction(1, 3)
    assert next(iter(simplest_fractions(1.5, 2.0))) == 2
    assert all(2.4 < c <= 2.5 for c in simplest_fractions(2.4, 2.5))


def test_the_best_cut_makes_the_fewest_mistakes() -> None:
    keys = np.arange(10.0)
    errors = np.abs(np.arange(11) - 6)
    cut = best_cut(keys, errors, whole=True, mistake_bits=8.0)
    assert cut is not None
    assert (cut.constant, cut.mistakes, cut.interval) == (6, 0, (5.0, 6.0))


def test_a_subset_of_half_takes_about_one_bit_each() -> None:
    assert 995 < float(subset_bits(np.array([1000]), np.array([500]))[0]) < 1010
    assert subset_bits(np.array([1000]), np.array([0]))[0] < 10


def test_distance_counts_steps_to_another_value() -> None:
    values = np.zeros((1, 12), bool)
    values[0, 6:] = True
    assert boundary_distance(values)[0].tolist() == [5, 4, 4, 3, 2, 1, 1, 2, 3, 4, 4, 5]


def test_exceptions_at_a_boundary_cost_less_than_exceptions_anywhere() -> None:
    truth = np.indices((50, 50)).sum(0) < 50
    rng = np.random.default_rng(0)
    edge = (boundary_distance(truth) == 1) & (rng.random(truth.shape) < 0.5)
    spread = rng.permutation(edge.ravel()).reshape(edge.shape)
    for bits in (exception_mask_bits, lambda t, w: exception_bits(boundary_distance(t), w)):
        assert bits(truth, edge) < 0.7 * bits(truth, spread)


def test_the_image_coder_compresses_a_picture_and_not_noise() -> None:
    picture = table_of("a ** 2 < 30 * b")
    noise = np.random.default_rng(4).random((SIZE, SIZE)) < 0.5
    assert image_bits(picture) < 0.25 * picture.size
    assert image_bits(noise) > 0.98 * noise.size


def test_a_labelling_is_the_same_for_its_seed_and_not_one_sided() -> None:
    one, other = labelling(17), labelling(17)
    assert expression(one.program.result) == expression(other.program.result)
    assert 0.1 < one.table.mean() < 0.9


@pytest.mark.parametrize(("noise", "constant"), [(0.0, 596), (0.3, 600)])
def test_a_constant_is_rounded_only_among_mistakes(noise: float, constant: int) -> None:
    a, b = np.meshgrid(np.arange(SIZE), np.arange(SIZE), indexing="ij")
    keys = (a * b).ravel().astype(np.float64)
    labels = keys < 597
    beside = np.abs(keys - 597) < 60
    labels ^= beside & (np.random.default_rng(3).random(len(keys)) < noise)
    axes = (Axis(Variable("a"), 0, SIZE - 1), Axis(Variable("b"), 0, SIZE - 1))
    cells = Cells(axes, (a.ravel(), b.ravel()), labels, (0, 1))
    left = Call("mul", (Variable("a"), Variable("b")))
    form = Form(left, None, keys, 10.0, (0, 1))
    feature = Feature(
        forms.test_of(form, Fraction(597)),
        (keys < 597).astype(np.int64),
        2,
        10.0,
        (0, 1),
        form,
        Fraction(597),
    )
    formula = Formula(None, Variable("f0"), np.array([False, True]), 0.0)
    found = rounded(rule_of(cells, (feature,), formula), cells)
    assert found.features[0].constant == constant
