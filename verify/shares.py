"""What is known of the parts of an open box from the hyperplanes that bound the whole box: which
shares of their volume are proven or refuted, and how easy the rest looks."""

from __future__ import annotations

import numpy as np

from verify.boxes import Search
from verify.graph import values
from verify.violations import Pairs, Weighing, share_above

_EASE = 1e-3
_LEFT = 0.5
"""Of what a row loses on a box, about this share is lost on a part of it."""


def unproven_of(
    search: Search,
    pairs: Pairs,
    weighing: Weighing,
    boxes: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """For each part (of `boxes`) an upper bound of the share where some violation is possible, and
    how easy it looks, in (0, 1].

    Each violation needs every combination of its rows to be >= 0: the share of the weighed one
    counts, or of the row that is below 0 on most of its range, and they are summed over the
    violations.  A part is as easy as the hardest of its violations.
    """
    part, used = _members(boxes, pairs.box)
    low, high = low[part], high[part]
    combined = np.einsum("pk,pkd->pd", weighing.weights, pairs.coefficients)[used]
    constant = np.einsum("pk,pk->p", weighing.weights, pairs.constants)[used]
    share = _share(search, combined, constant, low, high)
    middle = np.einsum("pkd,pd->pk", pairs.coefficients[used], (low + high) / 2)
    middle += pairs.constants[used]
    spread = np.einsum("pkd,pd->pk", np.abs(pairs.coefficients[used]), (high - low) / 2)
    if pairs.coefficients.shape[1] > 1:
        row = (middle / np.maximum(spread, 1e-300)).argmin(1)
        one = pairs.coefficients[used, row], pairs.constants[used, row]
        share = np.minimum(share, _share(search, *one, low, high))
    total, least = np.zeros(len(boxes)), np.ones(len(boxes))
    np.add.at(total, part, share)
    actual = _rows(search, pairs, part, used, (low + high) / 2)
    np.minimum.at(least, part, _ease(weighing.weights[used], middle, spread, actual))
    return np.minimum(total, 1.0), np.fmax(least, _EASE)


def _rows(
    search: Search, pairs: Pairs, part: np.ndarray, used: np.ndarray, centre: np.ndarray
) -> np.ndarray:
    """The rows of pairs at the centres of parts, (P, K)."""
    problem = search.problem
    first = np.flatnonzero(np.diff(part, prepend=-1))
    rows = values(problem.graph, centre[first])[problem.rows]
    place = np.cumsum(np.diff(part, prepend=-1) > 0) - 1
    return np.asarray(rows[place[:, None], problem.padded[pairs.violation[used]]])


def _ease(
    weights: np.ndarray, middle: np.ndarray, spread: np.ndarray, actual: np.ndarray
) -> np.ndarray:
    """How much of what has to be bounded below 0 lies below it at the centre already, for the best
    row or the weighed sum; or how little the bounds lose beside what the rows vary by: then
    halving helps, even where a violation takes place.  No proof depends on it."""
    lost = np.maximum(middle - actual, 0.0)
    needed = spread + _LEFT * lost
    ease = (-actual / np.maximum(needed, 1e-300)).max(1)
    below = -np.einsum("pk,pk->p", weights, actual)
    ease = np.maximum(ease, below / np.maximum(np.einsum("pk,pk->p", weights, needed), 1e-300))
    firm = (spread / np.maximum(spread + 2.0 * lost, 1e-300)).min(1)
    return np.asarray(np.maximum(ease, firm * firm))


def _members(boxes: np.ndarray, among: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `boxes`, with repetitions, the places in the sorted `among` where it stands; as
    pairs of a place in `boxes` and one in `among`."""
    start, end = np.searchsorted(among, boxes), np.searchsorted(among, boxes, "right")
    part = np.repeat(np.arange(len(boxes)), end - start)
    return part, np.arange(len(part)) - np.repeat(np.cumsum(end - start) - end, end - start)


def refuted_of(
    search: Search, wrong: Pairs, boxes: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """A lower bound of the share of each part where the violation at the centre takes place."""
    result = np.zeros(len(boxes))
    known = {int(box): row for row, box in enumerate(wrong.box)}
    part = np.array([i for i, box in enumerate(boxes) if int(box) in known], np.intp)
    if not len(part):
        return result
    row = np.array([known[int(boxes[i])] for i in part], np.intp)
    missing = np.zeros(len(part))
    for k in range(wrong.coefficients.shape[1]):
        first = wrong.violation[row]
        members = search.problem.padded[first]
        fresh = np.full(len(row), k == 0) | (members[:, k] != members[:, 0])
        outside = _share(
            search,
            -wrong.coefficients[row, k],
            search.problem.doubt - wrong.constants[row, k],
            low[part],
            high[part],
        )
        missing += np.where(fresh, outside, 0.0)
    result[part] = np.maximum(0.0, 1.0 - missing)
    return result


def _share(
    search: Search,
    coefficients: np.ndarray,
    constants: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """`share_above` over the inputs that vary; for integers, only whether there is any."""
    free = search.unit > 0
    fixed = (coefficients * low)[:, ~free].sum(1) + constants
    share = share_above(coefficients[:, free], fixed, low[:, free], high[:, free])
    if search.problem.whole.any():
        return np.where(share > 0, 1.0, 0.0)
    return share
