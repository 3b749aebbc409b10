"""Branch and bound agrees with grids and with Z3, and its volumes are bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tests.verify.small_networks import layers
from verify import smt
from verify.branching import explore
from verify.graph import Builder, matrix
from verify.lowering import View, lowered
from verify.violations import Pairs, Problem, clipped, share_above, weighed

FOREVER = math.inf


def problem(seed: int, shift: float, inputs: int = 2, activation: str = "relu") -> Problem:
    """Violations of two kinds of a network with two outputs: y0 >= y1 + shift, and both >= 0.8."""
    builder = Builder()
    source = builder.input(inputs)
    network = layers((inputs, 5, 4, 2), seed, activation, scale=1.5)
    view = lowered(network, View(source, np.arange(inputs)), builder, 0.0)
    rows = np.array([[1.0, -1.0], [1.0, 0.0], [0.0, 1.0]])
    node = builder.affine(((view.node, matrix(rows)),), np.array([-shift, -0.8, -0.8]))
    return Problem(builder.graph(), node, ((0,), (1, 2)), np.zeros(inputs, bool))


def grid(low: np.ndarray, high: np.ndarray, count: int) -> np.ndarray:
    axes = [np.linspace(a, b, count) for a, b in zip(low, high, strict=True)]
    return np.stack(np.meshgrid(*axes), -1).reshape(-1, len(low))


@pytest.mark.parametrize("seed", range(8))
def test_decisions_agree_with_a_grid_and_with_z3(seed: int) -> None:
    import z3

    low, high = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
    stated = problem(seed, shift=1.0)
    found = explore(stated, low, high, deadline=FOREVER, goal="decide", seed=seed)
    assert found.exhausted or len(found.counterexamples)
    on_grid = stated.degree(grid(low, high, 40)) >= 0
    if found.exhausted and not len(found.counterexamples):
        assert not on_grid.any()
    else:
        assert (stated.degree(found.counterexamples) >= 0).all()
    symbols = [z3.Real(f"x{i}") for i in range(2)]
    rows, defined = smt.terms(stated.graph, symbols, stated.rows)
    solver = z3.Solver()
    solver.set("timeout", 20_000)
    solver.add(*defined, *(x >= -1 for x in symbols), *(x <= 1 for x in symbols))
    solver.add(z3.Or(*(z3.And(*(rows[r] >= 0 for r in v)) for v in stated.violations)))
    answer = solver.check()
    assert answer == (z3.sat if len(found.counterexamples) else z3.unsat)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu"])
def test_proven_and_refuted_volumes_are_bounds_of_what_a_grid_shows(activation: str) -> None:
    low, high = np.array([-1.0, -1.0]), np.array([1.0, 0.5])
    for seed in range(2):
        stated = problem(seed, shift=0.3, activation=activation)
        found = explore(stated, low, high, deadline=FOREVER, most_boxes=1500)
        points = low + (high - low) * np.random.default_rng(seed).random((40_000, 2))
        wrong = (stated.degree(points) >= 0).mean()
        assert found.proven <= 1 - wrong + 0.01
        assert found.refuted <= wrong + 0.01
        assert found.proven + found.refuted + found.open == pytest.approx(1.0, abs=1e-6)
        assert found.open < 0.02


def test_no_sampled_violation_lies_in_a_proven_region_and_every_point_of_a_refuted_one_is() -> None:
    low, high = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
    rng = np.random.default_rng(0)
    for seed in range(3):
        stated = problem(seed, shift=0.2)
        regions = explore(stated, low, high, deadline=FOREVER, most_boxes=800).regions
        for (bottom, top), wrong in ((regions.proven, False), (regions.refuted, True)):
            for a, b in zip(bottom[:200], top[:200], strict=True):
                degree = stated.degree(a + (b - a) * rng.random((50, 2)))
                assert ((degree >= -1e-9) if wrong else (degree < 1e-9)).all()


def test_a_counterexample_must_be_confirmed() -> None:
    stated = problem(0, shift=-5.0)
    found = explore(
        stated,
        np.array([-1.0, -1.0]),
        np.array([1.0, 1.0]),
        deadline=FOREVER,
        goal="decide",
        confirm=lambda points: np.zeros(len(points), bool),
        most_boxes=2000,
    )
    assert not len(found.counterexamples)
    assert not found.exhausted


def test_integers_are_split_between_whole_numbers_and_decided_one_by_one() -> None:
    builder = Builder()
    x = builder.input(2)
    square = builder.function("power", x, parameter=2.0)
    # x^2 + y^2 = 25 has whole solutions, x^2 + y^2 = 21 has none.
    row = np.array([[1.0, 1.0], [-1.0, -1.0]])
    for total, solvable in ((25.0, True), (21.0, False)):
        b = Builder(list(builder.nodes))
        node = b.affine(((square, matrix(row)),), np.array([0.5 - total, total + 0.5]))
        whole = np.ones(2, bool)
        stated = Problem(b.graph(), node, ((0, 1),), whole)
        found = explore(
            stated,
            np.array([-9.0, -9.0]),
            np.array([9.0, 9.0]),
            deadline=FOREVER,
            goal="decide",
        )
        assert bool(len(found.counterexamples)) == solvable
        assert found.exhausted or solvable


def test_the_share_above_a_hyperplane_is_at_least_the_sampled_one_and_close() -> None:
    rng = np.random.default_rng(1)
    for inputs in (1, 2, 5, 8):
        a = rng.normal(size=(20, inputs)) * rng.choice([1.0, 0.01], (20, inputs))
        low = rng.uniform(-1, 0, (20, inputs))
        high = low + rng.random((20, inputs))
        c = -(a * (low + high) / 2).sum(1) + 0.2 * rng.normal(size=20) * np.abs(a).sum(1)
        shares = share_above(a, c, low, high)
        points = low + (high - low) * rng.random((20_000, 20, inputs))
        sampled = ((points * a).sum(2) + c >= 0).mean(0)
        assert (shares >= sampled - 0.015).all()
        assert (shares <= sampled + 0.2).all()


def test_weights_and_clipping_never_lose_a_point_that_satisfies_all_rows() -> None:
    rng = np.random.default_rng(2)
    low, high = np.full((300, 3), -1.0), np.full((300, 3), 1.0)
    a, c = rng.normal(size=(300, 4, 3)), rng.normal(size=(300, 4)) * 0.7
    pairs = Pairs(np.arange(300), np.zeros(300, np.intp), a, c)
    points = rng.uniform(-1, 1, (4000, 3))
    satisfied = (np.einsum("pkd,nd->npk", a, points) + c >= 0).all(2)
    possible = satisfied.any(0)
    weighing = weighed(pairs, low, high)
    assert not ((weighing.bound < 0) & possible).any()
    new_low, new_high, feasible = clipped(pairs, low, high, np.zeros(3, bool))
    assert not (~feasible & possible).any()
    inside = ((points[:, None] >= new_low) & (points[:, None] <= new_high)).all(2)
    assert not (satisfied & ~inside).any()
    assert (weighing.bound < 0).sum() > 0.6 * (~possible).sum()
