"""What is said of the parts of open boxes is a bound of what samples show."""

from __future__ import annotations

import numpy as np
import pytest

from tests.verify.test_branching import problem
from verify.boxes import Search
from verify.shares import _members, unproven_of
from verify.violations import Pairs, Weighing


def unproven_and_sampled(shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """For two parts of each of 40 boxes with two pairs each: the bound of the share where one of
    the pairs is possible, and the share of samples where one is; rows lowered by `shift`."""
    rng = np.random.default_rng(0)
    box = np.repeat(np.arange(40), 2)
    coefficients = rng.normal(size=(80, 2, 2))
    constants = rng.normal(size=(80, 2)) * 0.3
    weights = rng.random((80, 2))
    weighing = Weighing(weights, np.ones(80), np.zeros((80, 2)))
    search = Search(problem(0, 0.3), "cover", lambda points: points[:, 0] > 9, np.full(2, 2.0))
    boxes = np.concatenate([np.arange(40), np.arange(40)])
    low = np.concatenate([np.tile([-1.0, -1.0], (40, 1)), np.tile([0.0, -1.0], (40, 1))])
    high = low + np.array([1.0, 2.0])
    lowered = Pairs(box, np.ones(80, np.intp), coefficients, constants - shift)
    found, ease = unproven_of(search, lowered, weighing, boxes, low, high)
    assert ((ease > 0) & (ease <= 1)).all()
    points = low[:, None] + (high - low)[:, None] * rng.random((80, 4000, 2))
    own = points[np.concatenate([box, box + 40])]
    rows = np.einsum("qkd,qsd->qsk", np.tile(coefficients, (2, 1, 1)), own)
    possible = (rows + np.tile(constants, (2, 1))[:, None] >= 0).all(2)
    return found, possible.reshape(80, 2, -1).any(1).mean(1)


def test_the_unproven_share_of_a_part_is_at_least_the_sampled_one() -> None:
    found, sampled = unproven_and_sampled()
    assert (found >= sampled - 0.03).all()
    assert (found < 1).mean() > 0.2


def test_rows_that_are_too_low_are_noticed() -> None:
    found, sampled = unproven_and_sampled(shift=0.5)
    assert not (found >= sampled - 0.03).all()


@pytest.mark.parametrize("seed", range(3))
def test_members_are_all_places_where_a_box_stands(seed: int) -> None:
    rng = np.random.default_rng(seed)
    among, boxes = np.sort(rng.integers(0, 9, 20)), rng.integers(0, 9, 7)
    part, used = _members(boxes, among)
    wanted = [(i, j) for i, b in enumerate(boxes) for j, a in enumerate(among) if a == b]
    assert list(zip(part.tolist(), used.tolist(), strict=True)) == wanted
