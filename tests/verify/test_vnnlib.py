"""VNN-LIB texts are read exactly, and their answers agree with grids."""

from __future__ import annotations

import time
from fractions import Fraction

import numpy as np
import pytest

from dsl import networks
from dsl.errors import DistillError
from tests.verify.small_networks import layers, linear_policy
from verify.properties import decided
from verify.vnnlib import parsed

INPUTS = """
; a comment
(declare-const X_0 Real)
(declare-const X_1 Real)
(declare-const Y_0 Real)
(declare-const Y_1 Real)
(assert (<= X_0 0.1)) (assert (>= X_0 -0.3))
(assert (and (<= X_1 1) (>= X_1 0)))
"""


def test_bounds_are_exact_decimals_rounded_outward() -> None:
    found = parsed(INPUTS + "(assert (<= Y_0 (* 2.5 Y_1)))")
    assert (found.inputs, found.outputs) == (2, 2)
    (case,) = found.cases
    assert case.limits == ((Fraction(-3, 10), Fraction(1, 10)), (Fraction(0), Fraction(1)))
    assert Fraction(float(case.low[0])) <= Fraction(-3, 10)
    assert Fraction(float(case.high[0])) >= Fraction(1, 10)
    (condition,) = case.conditions
    assert dict(condition.terms) == {("Y", 0): Fraction(-1), ("Y", 1): Fraction(5, 2)}


def test_a_disjunction_gives_cases_with_boxes_of_their_own() -> None:
    found = parsed(
        INPUTS + "(assert (or (and (<= X_0 0) (>= Y_0 1)) (and (>= X_0 0) (>= (+ Y_1 Y_0) 3))))"
    )
    assert [case.high[0] for case in found.cases] == [0.0, pytest.approx(0.1)]
    assert [len(case.conditions) for case in found.cases] == [1, 1]


def test_an_empty_case_is_left_out() -> None:
    found = parsed(INPUTS + "(assert (or (and (<= X_0 -5) (>= Y_0 1)) (>= Y_0 2)))")
    assert len(found.cases) == 1


@pytest.mark.parametrize(
    ("text", "finding", "line"),
    [
        ("(assert (<= X_0 1)", "a bracket is not closed", 1),
        ("(assert (<= X_0 1)))", "a closing bracket too many", 1),
        ("\n(assert (<= Z_0 1))", "`Z_0` is neither X_i nor Y_j", 2),
        ("\n\n(assert (<= (* X_0 X_0) 1))", "a product of two variables", 3),
        ("(assert (xor (<= X_0 1)))", "`(xor (<= X_0 1))` is no condition", 1),
        ("(minimise X_0)", "`(minimise X_0)` is not understood", 1),
    ],
)
def test_mistakes_are_named_with_their_line(text: str, finding: str, line: int) -> None:
    with pytest.raises(DistillError) as raised:
        parsed(text)
    assert raised.value.code == "D140"
    assert raised.value.finding == finding
    assert f":{line}" in str(raised.value)


def test_an_input_without_bounds_is_refused() -> None:
    with pytest.raises(DistillError, match="X_1 has no bounds"):
        parsed(
            "(declare-const X_0 Real)(declare-const X_1 Real)"
            "(assert (<= X_0 1))(assert (>= X_0 0))(assert (>= Y_0 0))"
        )


def answer(condition: str, seed: int = 0, seconds: float = 20.0) -> tuple[str, np.ndarray]:
    network = layers((2, 8, 8, 2), seed, scale=1.5)
    stated = parsed(INPUTS + condition)

    def runtime(batch: np.ndarray) -> np.ndarray:
        return networks.run(network, batch)

    deadline = time.monotonic() + seconds
    found = decided(stated, network, (2,), runtime, deadline=deadline)
    axes = np.linspace(-0.3, 0.1, 80), np.linspace(0, 1, 80)
    points = np.stack(np.meshgrid(*axes), -1).reshape(-1, 2).astype(np.float32)
    if found.answer == "sat":
        exact = runtime(np.array([found.inputs], np.float32))[0]
        assert found.outputs == tuple(exact.astype(np.float64).tolist())
    return found.answer, runtime(points)


@pytest.mark.parametrize("seed", range(4))
def test_answers_agree_with_a_grid(seed: int) -> None:
    _, outputs = answer("(assert (<= Y_0 -1000))", seed)
    top = float(outputs[:, 0].max())
    assert answer(f"(assert (>= Y_0 {top - 0.001}))", seed)[0] == "sat"
    assert answer(f"(assert (>= Y_0 {top + 0.05}))", seed)[0] == "unsat"
    gap = float((outputs[:, 0] - outputs[:, 1]).max())
    both = f"(assert (or (>= Y_0 {top + 0.05}) (>= (- Y_0 Y_1) {gap + 0.05})))"
    assert answer(both, seed)[0] == "unsat"
    either = f"(assert (or (>= Y_0 {top + 0.05}) (>= (- Y_0 Y_1) {gap - 0.001})))"
    assert answer(either, seed)[0] == "sat"


def test_a_tie_of_the_exact_function_is_no_proof() -> None:
    network = linear_policy((1.0, 0.0), (1.0, 0.0))
    stated = parsed(INPUTS + "(assert (>= Y_0 (+ Y_1 0)))")
    found = decided(
        stated,
        network,
        (2,),
        lambda batch: networks.run(network, batch),
        deadline=time.monotonic() + 1,
    )
    assert found.answer == "sat"


def test_counterexamples_lie_within_the_exact_limits() -> None:
    network = linear_policy((1.0, 0.0), (0.0, 1.0))
    stated = parsed(INPUTS + "(assert (>= Y_0 0.0999))")
    found = decided(
        stated,
        network,
        (2,),
        lambda batch: networks.run(network, batch),
        deadline=time.monotonic() + 5,
    )
    assert found.answer == "sat"
    assert Fraction(found.inputs[0]) <= Fraction(1, 10)
