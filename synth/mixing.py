"""A context-mixing code: how many bits a sequence of truth values takes, given contexts.

Each context counts the values seen under it; a logistic mixture of their predictions, whose weights
are learned on the way, codes the next value (Mahoney 2005).  Bits are those of ideal arithmetic
coding, and a decoder that knows the contexts can follow.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from synth.code_length import boundary_distance

_RATE = 0.02
_FLOOR = 1e-5
_WEIGHT = 0.15
_REACH = 8


def mixing_bits(
    values: np.ndarray, contexts: Sequence[np.ndarray], selector: np.ndarray | None = None
) -> float:
    """Bits of `values` (N,); each context (N,) may depend on earlier values only.  `selector` (N,)
    chooses the set of weights."""
    inputs = [context.tolist() for context in contexts]
    chosen_sets = np.zeros(len(values), np.int64) if selector is None else selector
    weights = [[_WEIGHT] * (2 * len(inputs)) for _ in range(int(chosen_sets.max(initial=0)) + 1)]
    counts: list[dict[int, list[float]]] = [{} for _ in inputs]
    bits = 0.0
    sets = chosen_sets.tolist()
    for place, value in enumerate(values.astype(int).tolist()):
        predictions: list[float] = []
        cells = []
        for known, context in zip(counts, inputs, strict=True):
            cell = known.setdefault(context[place], [0.0, 0.0])
            cells.append(cell)
            share = (cell[1] + 0.4) / (cell[0] + cell[1] + 0.8)
            logit = math.log(share / (1 - share))
            predictions += [logit, logit if min(cell) == 0 else 0.0]
        chosen = weights[sets[place]]
        total = sum(w * p for w, p in zip(chosen, predictions, strict=True))
        share = 1 / (1 + math.exp(-max(-30.0, min(30.0, total))))
        share = min(max(share, _FLOOR), 1 - _FLOOR)
        bits -= math.log2(share if value else 1 - share)
        error = value - share
        for i, prediction in enumerate(predictions):
            chosen[i] += _RATE * error * prediction
        for cell in cells:
            cell[value] += 1
            if cell[1 - value] > 2:
                # Recent values count for more: the sequence is not the same everywhere.
                cell[1 - value] = 0.5 * cell[1 - value] + 1
    return bits


def neighbours(table: np.ndarray, template: Sequence[tuple[int, int]]) -> np.ndarray:
    """For each cell of a table (rows, columns), the values at some offsets before it as one
    number, 0 beyond the edge; (N,) in reading order."""
    reach = max((max(abs(down), abs(right)) for down, right in template), default=0)
    padded = np.pad(table.astype(np.int64), ((reach, 0), (reach, reach)))
    rows, columns = table.shape
    found = np.zeros(table.shape, np.int64)
    for down, right in template:
        assert (down, right) < (0, 0)
        part = padded[reach + down : reach + down + rows, reach + right : reach + right + columns]
        found = 2 * found + part
    return found.ravel()


def exception_mask_bits(truth: np.ndarray, wrong: np.ndarray) -> float:
    """Bits that name the wrong cells of a table (rows, columns), given the values of the law there:
    how far its next change is, and which earlier cells are wrong; the better of both directions."""
    return min(_mask_bits(truth, wrong), _mask_bits(truth.T, wrong.T))


def _mask_bits(truth: np.ndarray, wrong: np.ndarray) -> float:
    left, right = (_steps_to_change(truth, side).ravel() for side in (-1, 1))
    before = neighbours(wrong, ((0, -1),))
    around = neighbours(wrong, ((0, -1), (0, -2), (-1, 0), (-1, 1), (-1, -1)))
    trail = neighbours(wrong, ((0, -1), (0, -2), (0, -3), (0, -4), (0, -5), (0, -6)))
    nearest = np.minimum(left, right)
    sides = (8 * left + right) * 2 + truth.ravel()
    contexts = (
        boundary_distance(truth).ravel(),
        32 * nearest + around,
        64 * nearest + trail,
        4 * sides + neighbours(wrong, ((0, -1), (-1, 0))),
    )
    return mixing_bits(wrong.ravel(), contexts, before)


def _steps_to_change(truth: np.ndarray, side: int) -> np.ndarray:
    """For each cell, how many steps along its row another value is, in classes 0 (one step) to 5
    (none within eight)."""
    table = truth[:, ::side]
    steps = np.full(table.shape, _REACH + 1)
    for step in range(min(_REACH, table.shape[1] - 1), 0, -1):
        changed = table[:, step:] != table[:, :-step]
        part = steps[:, :-step]
        part[changed] = step
    return np.asarray(np.array([0, 0, 1, 2, 3, 3, 4, 4, 4, 5])[steps[:, ::side]])
