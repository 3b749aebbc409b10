"""Bits: how long it takes to say which of some things are exceptional (Rissanen 1978)."""

from __future__ import annotations

import functools
import math

import numpy as np

_STEPS = (1, 2, 3, 5)


@functools.cache
def log2_factorials(most: int) -> np.ndarray:
    """log2(n!) for n from 0 to `most`."""
    logs = np.log2(np.maximum(np.arange(most + 1, dtype=np.float64), 1))
    return np.asarray(np.cumsum(logs))


def subset_bits(total: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Bits that name a subset of `chosen` out of `total`: how many, then which."""
    most = int(np.max(total, initial=0)) + 1
    table = log2_factorials(1 << most.bit_length())
    which = table[total] - table[chosen] - table[total - chosen]
    return np.asarray(which + np.log2(total + 1.0))


def boundary_distance(values: np.ndarray) -> np.ndarray:
    """For each cell of a grid, how far along some axis another value is: 1, 2, 3, 4 for up to five
    steps, 5 for more.  A program's mistakes crowd where its value changes."""
    distance = np.full(values.shape, len(_STEPS) + 1, np.int64)
    for rank, reach in reversed(list(enumerate(_STEPS, 1))):
        for axis, length in enumerate(values.shape):
            for step in range(1 if rank == 1 else _STEPS[rank - 2] + 1, reach + 1):
                if step >= length:
                    continue
                low = [slice(None)] * values.ndim
                high = [slice(None)] * values.ndim
                low[axis], high[axis] = slice(None, -step), slice(step, None)
                changed = values[tuple(low)] != values[tuple(high)]
                for part in (tuple(low), tuple(high)):
                    distance[part] = np.where(changed, rank, distance[part])
    return distance


def exception_bits(classes: np.ndarray, wrong: np.ndarray, outcomes: int = 2) -> float:
    """Bits of the cells that are wrong, given a class for each cell, and of their values."""
    total = np.bincount(classes.ravel())
    chosen = np.bincount(classes.ravel(), weights=wrong.ravel()).astype(np.int64)
    kept = total > 0
    bits = float(subset_bits(total[kept], chosen[kept]).sum())
    return bits + float(wrong.sum()) * math.log2(max(outcomes - 1, 1))
