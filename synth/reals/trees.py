"""Decision trees with linear tests, refined as a whole.

A tree grows where it errs most.  Then each test is fitted again with the rest of the tree fixed:
only the points matter that one branch decides rightly and the other wrongly (tree alternating
optimisation, Carreira-Perpinan and Tavallali 2018).  Errors never increase.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from synth.reals.cuts import Cut, axis_cuts, separating

_CANDIDATE_ROWS = 6000


@dataclass(frozen=True)
class Leaf:
    code: int


@dataclass(frozen=True)
class Split:
    cut: Cut
    above: Tree
    below: Tree


Tree: TypeAlias = Leaf | Split


@dataclass(frozen=True)
class Sample:
    """Scaled inputs (N, d) with the codes to be decided, and normals of the network's decision
    boundary (K, d) with points on it (K, d)."""

    inputs: np.ndarray
    codes: np.ndarray
    normals: np.ndarray
    places: np.ndarray
    deadline: float


def decided(tree: Tree, inputs: np.ndarray) -> np.ndarray:
    """The codes that a tree gives, (N,)."""
    result = np.zeros(len(inputs), int)
    stack = [(tree, np.arange(len(inputs)))]
    while stack:
        node, rows = stack.pop()
        match node:
            case Leaf(code):
                result[rows] = code
            case Split(cut, above, below):
                holds = cut.holds(inputs[rows])
                stack += [(above, rows[holds]), (below, rows[~holds])]
    return result


def leaves(tree: Tree) -> int:
    match tree:
        case Leaf():
            return 1
        case Split(_, above, below):
            return leaves(above) + leaves(below)


def grown(sample: Sample, sizes: tuple[int, ...]) -> Iterator[tuple[Tree, int]]:
    """Trees of about the wanted numbers of leaves, with their errors on the sample."""
    rows = np.arange(len(sample.codes))
    tree: Tree = Leaf(_majority(sample.codes))
    for size in sizes:
        while (missing := size - leaves(tree)) > 0:
            before = leaves(tree)
            tree = _extended(sample, tree, missing)
            tree = refined(sample, tree, rows, passes=2)
            if leaves(tree) <= before or time.monotonic() > sample.deadline:
                break
        tree = refined(sample, tree, rows, passes=6)
        yield pruned(tree), int((decided(tree, sample.inputs) != sample.codes).sum())
        if time.monotonic() > sample.deadline:
            return


def refined(sample: Sample, tree: Tree, rows: np.ndarray, *, passes: int) -> Tree:
    """The tree with every test fitted again, until the errors stay."""
    wrong = int((decided(tree, sample.inputs[rows]) != sample.codes[rows]).sum())
    for _ in range(passes):
        tree = _pass(sample, tree, rows)
        now = int((decided(tree, sample.inputs[rows]) != sample.codes[rows]).sum())
        if now >= wrong * 0.995 or time.monotonic() > sample.deadline:
            break
        wrong = now
    return tree


def _pass(sample: Sample, tree: Tree, rows: np.ndarray) -> Tree:
    match tree:
        case Leaf(code):
            return Leaf(_majority(sample.codes[rows])) if len(rows) else Leaf(code)
        case Split(cut, above, below):
            holds = cut.holds(sample.inputs[rows])
            above = _pass(sample, above, rows[holds])
            below = _pass(sample, below, rows[~holds])
            if time.monotonic() > sample.deadline:
                return Split(cut, above, below)
            return Split(_refitted(sample, Split(cut, above, below), rows), above, below)


def contested(sample: Sample, split: Split, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows that exactly one branch decides rightly, and whether that is the branch above."""
    right_above = decided(split.above, sample.inputs[rows]) == sample.codes[rows]
    right_below = decided(split.below, sample.inputs[rows]) == sample.codes[rows]
    matters = right_above != right_below
    return rows[matters], right_above[matters]


def _refitted(sample: Sample, split: Split, rows: np.ndarray) -> Cut:
    chosen, side = contested(sample, split, rows)
    if len(chosen) < 2 or side.all() or not side.any():
        return split.cut
    return separating(sample.inputs[chosen], side, split.cut)[0]


def pruned(tree: Tree) -> Tree:
    match tree:
        case Split(cut, above, below):
            above, below = pruned(above), pruned(below)
            if isinstance(above, Leaf) and above == below:
                return above
            return Split(cut, above, below)
        case leaf:
            return leaf


def _majority(codes: np.ndarray) -> int:
    return int(np.bincount(codes).argmax()) if len(codes) else 0


def _extended(sample: Sample, tree: Tree, most: int) -> Tree:
    """The tree with its worst leaves split: those with half of the errors, at most `most`."""
    found: list[tuple[int, int]] = []
    path = _places(tree, sample.inputs)
    decidedly = decided(tree, sample.inputs) != sample.codes
    for number in np.unique(path):
        found.append((int(decidedly[path == number].sum()), int(number)))
    found.sort(reverse=True)
    total = sum(wrong for wrong, _ in found)
    chosen: set[int] = set()
    covered = 0
    for wrong, number in found[: max(1, most)]:
        if wrong == 0 or (chosen and covered >= 0.5 * total):
            break
        chosen.add(number)
        covered += wrong

    def build(node: Tree, number: int) -> Tree:
        match node:
            case Split(cut, above, below):
                return Split(cut, build(above, 2 * number), build(below, 2 * number + 1))
            case leaf:
                if number not in chosen:
                    return leaf
                return _split(sample, leaf, np.flatnonzero(path == number))

    return build(tree, 1)


def _places(tree: Tree, inputs: np.ndarray) -> np.ndarray:
    """The leaf that each row reaches, numbered as in a heap."""
    result = np.ones(len(inputs), object)
    stack = [(tree, np.arange(len(inputs)), 1)]
    while stack:
        node, rows, number = stack.pop()
        match node:
            case Leaf():
                result[rows] = number
            case Split(cut, above, below):
                holds = cut.holds(inputs[rows])
                stack.append((above, rows[holds], 2 * number))
                stack.append((below, rows[~holds], 2 * number + 1))
    return result


def _split(sample: Sample, leaf: Leaf, rows: np.ndarray) -> Tree:
    """A leaf split by the test of the greatest gain in code length."""
    codes = sample.codes[rows]
    if len(rows) < 8 or (codes == codes[0]).all():
        return leaf
    inputs = sample.inputs[rows]
    step = max(1, len(rows) // _CANDIDATE_ROWS)
    some, few = inputs[::step], codes[::step]
    cuts = _candidates(sample, some, few)
    holds = np.stack([cut.holds(some) for cut in cuts])
    one_hot = (few[:, None] == np.unique(few)[None, :]).astype(np.float64)
    inside = holds @ one_hot
    cost = _bits(inside) + _bits(one_hot.sum(0) - inside)
    ranked = np.argsort(cost, kind="stable")
    cut = cuts[int(ranked[0])]
    inside_rows = cut.holds(inputs)
    if not inside_rows.any() or inside_rows.all():
        return leaf
    above, below = Leaf(_majority(codes[inside_rows])), Leaf(_majority(codes[~inside_rows]))
    return Split(cut, above, below)


def _candidates(sample: Sample, inputs: np.ndarray, codes: np.ndarray) -> list[Cut]:
    cuts: list[Cut] = []
    kinds, counts = np.unique(codes, return_counts=True)
    common = kinds[np.argsort(-counts, kind="stable")][:4]
    for kind in common:
        side = codes == kind
        if side.all():
            continue
        cuts.append(separating(inputs, side)[0])
        cuts += [cut for cut, _ in axis_cuts(inputs, side)]
        quarter = np.quantile(inputs, (0.1, 0.25, 0.5, 0.75, 0.9), axis=0)
        cuts += [Cut(np.eye(inputs.shape[1])[i], float(q)) for i, q in _pairs(quarter)]
    low, high = inputs.min(0), inputs.max(0)
    near = ((sample.places >= low) & (sample.places <= high)).all(1)
    for i in np.flatnonzero(near)[:60]:
        normal = sample.normals[i]
        cuts.append(Cut(normal, float(normal @ sample.places[i])))
    return cuts


def _pairs(table: np.ndarray) -> Iterator[tuple[int, float]]:
    for row in table:
        yield from ((i, float(value)) for i, value in enumerate(row))


def _bits(counts: np.ndarray) -> np.ndarray:
    total = counts.sum(1, keepdims=True)
    share = counts / np.maximum(total, 1)
    return np.asarray(-(counts * np.log2(np.maximum(share, 1e-30))).sum(1))
