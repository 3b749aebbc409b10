"""What must not happen on a box, and when linear bounds show that it cannot.

A problem lists violations: each is a set of rows, entries of one node of a graph, and takes place
at x where all of them are >= 0.  A claim holds on a box if no violation can take place there:
for each, some combination of its rows with weights >= 0 has an upper bound below 0 (Farkas).
Any weights are sound; the search for good ones may be as rough as it likes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from verify.graph import Affine, Graph, Input, values
from verify.relaxations import UNIT

_ROUNDS, _STRIDE = 32, 4
_OVERSHOOT = 0.1
"""Steps aim at this much below 0, in units of a row's range: aiming at 0 itself, they stall."""


@dataclass(frozen=True, eq=False)
class Problem:
    """`rows` is the node whose entries are meant; `whole` marks the inputs that are integers.

    A violation surely takes place only where its rows exceed `doubt`.
    """

    graph: Graph
    rows: int
    violations: tuple[tuple[int, ...], ...]
    whole: np.ndarray
    doubt: float = 0.0

    @cached_property
    def member(self) -> np.ndarray:
        """Which rows each violation has, (violations, rows) of 0 and 1."""
        table = np.zeros((len(self.violations), self.graph.nodes[self.rows].size))
        for number, rows in enumerate(self.violations):
            table[number, list(rows)] = 1.0
        return table

    @cached_property
    def curved(self) -> np.ndarray:
        """Which rows are no affine functions of the input."""
        node = self.graph.nodes[self.rows]
        result = np.zeros(node.size, bool)
        if not isinstance(node, Affine):
            return ~result
        bent = _bent(self.graph)
        for source, m in node.terms:
            if bent[source]:
                result |= True if m is None else np.asarray((m.magnitudes > 0).sum(0) > 0).ravel()
        return result

    @cached_property
    def padded(self) -> np.ndarray:
        """The rows of each violation, the first repeated up to one width."""
        width = max((len(rows) for rows in self.violations), default=1)
        return np.array([(*r, *[r[0]] * (width - len(r))) for r in self.violations], np.intp)

    def degree(self, points: np.ndarray) -> np.ndarray:
        """For points (B, d) the greatest over violations of their least row, by float64; at
        least 0 where one seems to take place.  (B,)"""
        return np.asarray(self.degrees(points).max(1, initial=-np.inf))

    def degrees(self, points: np.ndarray) -> np.ndarray:
        """The least row of each violation, (B, violations)."""
        rows = values(self.graph, points)[self.rows]
        return np.asarray(rows[:, self.padded].min(2))


def _bent(graph: Graph) -> list[bool]:
    """For each node whether it is anything but an affine map of the input."""
    result: list[bool] = []
    for node in graph.nodes:
        match node:
            case Input():
                result.append(False)
            case Affine(terms=terms):
                result.append(any(result[source] for source, _ in terms))
            case _:
                result.append(True)
    return result


@dataclass(frozen=True, slots=True)
class Pairs:
    """Violations not yet excluded: each with a box and upper bounds of its rows there.

    `coefficients . x + constants >= row` on the box, (P, K, d) and (P, K).
    """

    box: np.ndarray
    violation: np.ndarray
    coefficients: np.ndarray
    constants: np.ndarray

    def kept(self, keep: np.ndarray) -> Pairs:
        return Pairs(
            self.box[keep],
            self.violation[keep],
            self.coefficients[keep],
            self.constants[keep],
        )


def clipped(
    pairs: Pairs, low: np.ndarray, high: np.ndarray, whole: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The part (P, d) of each pair's box (P, d) outside of which a row is surely below 0, and
    whether there is such a part at all."""
    low, high = low.copy(), high.copy()
    feasible = np.ones(len(low), bool)
    a, c = pairs.coefficients, pairs.constants
    positive, negative = np.maximum(a, 0.0), np.minimum(a, 0.0)
    size = np.maximum(np.abs(low), np.abs(high))
    error = 64 * UNIT * (np.einsum("pkd,pd->pk", np.abs(a), size) + np.abs(c))
    for _ in range(2):
        greatest = positive * high[:, None, :] + negative * low[:, None, :]
        total = greatest.sum(2) + c
        feasible &= ~(total + error < 0).any(1)
        rest = total[:, :, None] - greatest + error[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            limit = -rest / a
            slack = 8 * UNIT * np.abs(limit)
            from_below = np.where(a > 0, limit - slack, -np.inf)
            from_above = np.where(a < 0, limit + slack, np.inf)
        raised = np.fmax.reduce(from_below, axis=1)
        lowered = np.fmin.reduce(from_above, axis=1)
        if whole.any():
            raised = np.where(whole, np.ceil(raised), raised)
            lowered = np.where(whole, np.floor(lowered), lowered)
        low, high = np.fmax(low, raised), np.fmin(high, lowered)
        crossed = (low > high).any(1)
        feasible &= ~crossed
        high = np.maximum(low, high)
    return low, high, feasible


@dataclass(frozen=True, slots=True)
class Weighing:
    """The best weights found for each pair: `bound` >= the combined row, (P,); below 0 it
    excludes the violation.  `point` maximises the combined upper bound, (P, d)."""

    weights: np.ndarray
    bound: np.ndarray
    point: np.ndarray


def weighed(pairs: Pairs, low: np.ndarray, high: np.ndarray) -> Weighing:
    """Weights >= 0 of the rows of each pair that make the greatest value of their sum on the box
    (P, d) small: multiplicative updates with Polyak's step to just below 0.  They end for a pair
    that is excluded, and for one that no weights exclude: all rows are >= 0 at one point."""
    count = len(pairs.box)
    best = Weighing(np.zeros(pairs.constants.shape), np.full(count, np.inf), (low + high) / 2)
    going, logits = np.arange(count), np.zeros(pairs.constants.shape)
    for _ in range(_ROUNDS // _STRIDE):
        part = pairs.kept(going)
        found, logits, over = _weighed(part, low[going], high[going], logits)
        better = found.bound < best.bound[going]
        place = going[better]
        best.weights[place], best.bound[place] = found.weights[better], found.bound[better]
        best.point[place] = found.point[better]
        going, logits = going[~over], logits[~over]
        if not len(going):
            break
    return best


def _weighed(
    pairs: Pairs, low: np.ndarray, high: np.ndarray, logits: np.ndarray
) -> tuple[Weighing, np.ndarray, np.ndarray]:
    """A few updates: the best weights among them, where they end, and which pairs are decided."""
    a, c = pairs.coefficients, pairs.constants
    count = a.shape[1]
    size = np.maximum(np.abs(low), np.abs(high))
    reach = np.einsum("pkd,pd->pk", np.abs(a), size) + np.abs(c)
    scale = 1.0 / np.maximum(_spread(a, low, high) + np.abs(_middle(a, c, low, high)), 1e-30)
    best = Weighing(np.zeros(c.shape), np.full(len(c), np.inf), (low + high) / 2)
    hopeless = np.zeros(len(c), bool)
    for _ in range(_STRIDE):
        share = np.exp(logits - logits.max(1, keepdims=True))
        share /= share.sum(1, keepdims=True)
        weights = share * scale
        combined = np.einsum("pk,pkd->pd", weights, a)
        point = np.where(combined > 0, high, low)
        bound = (combined * point).sum(1) + (weights * c).sum(1)
        bound = bound + 16 * (count + 4) * UNIT * (weights * reach).sum(1)
        better = bound < best.bound
        best = Weighing(
            np.where(better[:, None], weights, best.weights),
            np.where(better, bound, best.bound),
            np.where(better[:, None], point, best.point),
        )
        rows = np.einsum("pkd,pd->pk", a, point) + c
        hopeless |= (rows >= 0).all(1)
        slope = rows * scale
        slope -= np.einsum("pk,pk->p", share, slope)[:, None]
        steepest = np.maximum(np.abs(slope).max(1), 1e-30)
        rate = (np.maximum(bound, 0.0) + _OVERSHOOT) / steepest**2
        logits = logits - np.minimum(rate, 3.0 / steepest)[:, None] * slope
    return best, logits, hopeless | (best.bound < 0)


_FLATTEST = 0.02
_MOST_INPUTS = 10


def share_above(
    coefficients: np.ndarray, constants: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """An upper bound of the share of each box (P, d) where `coefficients . x + constants >= 0`.

    The volume of a cube below a hyperplane in closed form; coefficients much smaller than the
    greatest are raised, which only makes the share larger and keeps the sum well conditioned.
    """
    reach = np.maximum(np.abs(low), np.abs(high))
    rounding = 64 * UNIT * ((np.abs(coefficients) * reach).sum(1) + np.abs(constants))
    constants = constants + rounding
    slopes = coefficients * (high - low)
    least = (np.where(coefficients > 0, low, high) * coefficients).sum(1) + constants
    slopes = np.abs(slopes)
    greatest = slopes.sum(1) + least
    result = np.where(least >= 0, 1.0, np.where(greatest < 0, 0.0, 1.0))
    width = slopes.shape[1]
    mixed = np.flatnonzero(~(least >= 0) & (greatest >= 0))
    if not len(mixed) or not 0 < width <= _MOST_INPUTS:
        return result
    slopes = slopes[mixed]
    slopes = np.maximum(slopes, _FLATTEST * slopes.max(1, keepdims=True))
    total = slopes.sum(1)
    level = np.clip(-least[mixed], 0.0, total)
    above = level > total / 2
    level = np.where(above, total - level, level)
    corners = (np.arange(1 << width)[:, None] >> np.arange(width)) & 1
    signs = np.where(corners.sum(1) % 2, -1.0, 1.0)
    heights = np.maximum(level[:, None] - slopes @ corners.T, 0.0) / total[:, None]
    powers = heights
    for _ in range(width - 1):
        powers = powers * heights
    volume = powers @ signs
    volume = volume / (math.factorial(width) * (slopes / total[:, None]).prod(1))
    share = np.where(above, volume, 1.0 - volume)
    result[mixed] = np.clip(share + 1e-7, 0.0, 1.0)
    return result


def _spread(a: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("pkd,pd->pk", np.abs(a), (high - low) / 2))


def _middle(a: np.ndarray, c: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.asarray(np.einsum("pkd,pd->pk", a, (high + low) / 2) + c)
