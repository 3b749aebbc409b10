"""Across which input a box is halved: the one by which the bound of its worst pair loses most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.bounds import Linear, Ranges, backward, lower_values
from verify.boxes import Search
from verify.graph import Affine, Function, Input, Product
from verify.violations import Pairs, Problem, Weighing

_MOST_HALVINGS = 3


@dataclass(frozen=True, slots=True)
class Part:
    """One part of each of some boxes: `rows` are the boxes' numbers, in order; `score` is what
    the bound loses by each input, and `excess` by how much it must still fall."""

    rows: np.ndarray
    low: np.ndarray
    high: np.ndarray
    score: np.ndarray
    excess: np.ndarray

    def chosen(self, keep: np.ndarray) -> Part:
        return Part(
            self.rows[keep], self.low[keep], self.high[keep], self.score[keep], self.excess[keep]
        )


def joined(parts: list[Part]) -> Part:
    """All of the parts in one."""
    columns = zip(*((p.rows, p.low, p.high, p.score, p.excess) for p in parts), strict=True)
    return Part(*(np.concatenate(column) for column in columns))


def splittable(search: Search, score: np.ndarray, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Which inputs of each box can be halved at all."""
    width = high - low
    whole = search.problem.whole
    return np.where(whole, width >= 1, width > 1e-12 * np.abs(search.unit))


def curved_weights(
    problem: Problem, pairs: Pairs, weighing: Weighing, worst: np.ndarray
) -> np.ndarray:
    """The weights of those rows of the worst pairs whose bounds lose anything, with which inputs
    are blamed; all, where none is curved.  Affine rows say exactly where they hold already."""
    weights = weighing.weights[worst]
    curved = problem.curved[problem.padded[pairs.violation[worst]]]
    wanted = np.where(curved, np.maximum(weights, 1e-6 * weights.max(1, keepdims=True)), 0.0)
    return np.where(curved.any(1, keepdims=True), wanted, weights)


def excess_of(
    pairs: Pairs, weights: np.ndarray, worst: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """How far the least value of the worst pair's sum on its box lies above 0: while it does, no
    hyperplane cuts anything off the box."""
    combined = np.einsum("pk,pkd->pd", weights, pairs.coefficients[worst])
    constant = np.einsum("pk,pk->p", weights, pairs.constants[worst])
    return lower_values(Linear(combined, constant), low, high)


def parts_of(
    search: Search,
    rows: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    score: np.ndarray,
    excess: np.ndarray,
) -> Part:
    """The boxes halved once, and the halves again, at most to eighths, while the bound would still
    be above 0 everywhere if it fell by half of what the input that was halved accounts for."""
    whole = search.problem.whole
    parts = [Part(rows, low, high, score, excess)]
    for level in range(_MOST_HALVINGS):
        found = []
        for part in parts:
            again = part.excess > 0 if level else np.ones(len(part.rows), bool)
            again &= splittable(search, part.score, part.low, part.high).any(1)
            if not again.all():
                found.append(part.chosen(~again))
            if again.any():
                found += _halves(search, part.chosen(again), whole)
        parts = found
    return joined(parts)


def _halves(search: Search, part: Part, whole: np.ndarray) -> list[Part]:
    index = np.arange(len(part.rows))
    width = part.high - part.low
    blame = part.score + 1e-9 * width / np.maximum(search.unit, 1e-300)
    blame = np.where(splittable(search, part.score, part.low, part.high), blame, -1.0)
    dimension = blame.argmax(1)
    middle = (part.low[index, dimension] + part.high[index, dimension]) / 2
    between = whole[dimension]
    middle = np.where(between, np.floor(middle), middle)
    left_high, right_low = part.high.copy(), part.low.copy()
    left_high[index, dimension] = middle
    right_low[index, dimension] = np.where(between, middle + 1.0, middle)
    score = part.score.copy()
    lost = score[index, dimension]
    score[index, dimension] = lost / 2
    excess = part.excess - lost / 2
    return [
        Part(part.rows, part.low, left_high, score, excess),
        Part(part.rows, right_low, part.high, score, excess),
    ]


def worst_pairs(box: np.ndarray, bound: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """For each of `boxes` the number of its pair with the greatest bound."""
    order = np.lexsort((-bound, box))
    first = np.searchsorted(box[order], boxes)
    return np.asarray(order[first])


def blame_of(
    state: Ranges,
    problem: Problem,
    pairs: Pairs,
    weights: np.ndarray,
    worst: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
) -> np.ndarray:
    """For each box and input what the bound of the worst pair loses by that input's width: its
    linear term, and its share of what the relaxations lose, by the derivatives that reach them."""
    box = pairs.box[worst]
    rows = problem.padded[pairs.violation[worst]]
    combined = np.zeros((len(worst), problem.graph.nodes[problem.rows].size))
    np.add.at(combined, (np.arange(len(worst))[:, None], rows), -weights)
    losses: dict[int, np.ndarray] = {}
    linear = backward(state, {problem.rows: combined}, np.zeros(len(box)), box, losses)
    width = high - low
    score = np.abs(linear.coefficients) * width
    shares = _shares(state, box, width, set(losses))
    for number, loss in losses.items():
        score = score + np.einsum("pn,pnd->pd", loss, shares[number])
    return np.asarray(score)


def _shares(
    state: Ranges, box: np.ndarray, width: np.ndarray, wanted: set[int]
) -> dict[int, np.ndarray]:
    """For the arguments of the function nodes `wanted`, the share (P, n, d) that each input has
    in how far they move on the box."""
    graph = state.graph
    derivatives: list[np.ndarray | None] = []
    result: dict[int, np.ndarray] = {}
    last = max(wanted, default=-1)
    for number, node in enumerate(graph.nodes[: last + 1]):
        match node:
            case Input(size=size):
                derivatives.append(np.eye(size)[None] * width[:, None, :])
            case Affine(terms=terms):
                total: np.ndarray | None = None
                for source, m in terms:
                    inner = derivatives[source]
                    assert inner is not None
                    outer = inner if m is None else _mapped(m.values, inner)
                    total = outer if total is None else total + outer
                derivatives.append(
                    np.zeros((len(box), node.size, width.shape[1])) if total is None else total
                )
            case Function(source=source):
                inner = derivatives[source]
                assert inner is not None
                if number in wanted:
                    moves = np.abs(inner)
                    result[number] = moves / np.maximum(moves.sum(2, keepdims=True), 1e-300)
                slopes = state.slopes[number]
                derivatives.append(inner * slopes.middle[box][:, :, None])  # type: ignore[union-attr]
            case Product(left=left, right=right):
                pair = state.slopes[number]
                a, b = derivatives[left], derivatives[right]
                assert a is not None and b is not None
                derivatives.append(
                    a * pair.left[box][:, :, None] + b * pair.right[box][:, :, None]  # type: ignore[union-attr]
                )
    return result


def _mapped(values: object, inner: np.ndarray) -> np.ndarray:
    if isinstance(values, np.ndarray):
        return np.asarray(np.matmul(values, inner))
    return np.stack([values @ part for part in inner])  # type: ignore[operator]
