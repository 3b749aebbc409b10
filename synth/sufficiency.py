"""Which candidates could be variables of the rule: those that may stand for some of the inputs.

A candidate u can replace the inputs S if the output is a function of u and the other inputs, that
is, if no two rows agree on these and differ in the output (functional decomposition: Ashenhurst
1957, Curtis 1962, here with a candidate in place of an unknown function).  Each pair of rows that
a candidate merges rightly is evidence; merging by luck would have spoilt it.
"""

from __future__ import annotations

from itertools import combinations

import numpy as np

_MOST_SUBSETS = 63
_WORK = 30_000_000


def merits(rows: np.ndarray, places: np.ndarray, values: np.ndarray) -> np.ndarray:
    """For each candidate's values (n, N), integers, the bits of evidence (n,) that it replaces some
    of the inputs, given as codes (d, N), in determining the values (N,); 0 where it cannot."""
    count = rows.shape[1]
    codes, kinds = _ranked(values)
    luck = float(((np.bincount(codes, minlength=kinds) / count) ** 2).sum())
    places = _needed(places, codes, kinds)
    best = np.zeros(len(rows))
    if luck >= 1 or not len(places):
        return best
    distinct = _joint(places)[1]
    for rest in _complements(len(places)):
        context, contexts = _joint(places[list(rest)])
        if contexts >= distinct:
            continue
        for start in range(0, len(rows), 1024):
            part = ranks(rows[start : start + 1024])
            keys = (part * contexts + context) * kinds + codes
            keys.sort(axis=1)
            steps = keys[:, 1:] // kinds != keys[:, :-1] // kinds
            merged = 1 + steps.sum(1)
            whole = merged == 1 + (keys[:, 1:] != keys[:, :-1]).sum(1)
            bits = np.where(whole, (distinct - merged) * -np.log2(luck), 0.0)
            best[start : start + 1024] = np.maximum(best[start : start + 1024], bits)
    return best


def affordable(places: int, count: int) -> int:
    """How many candidates on `count` rows may be looked at."""
    return _WORK // (count * len(list(_complements(places))))


def _complements(count: int) -> list[tuple[int, ...]]:
    """What stays beside a candidate: all inputs but some, the fewest first."""
    sizes = range(count) if 2**count <= _MOST_SUBSETS + 1 else (0, count - 2, count - 1)
    return [rest for size in sizes for rest in combinations(range(count), size)]


def _needed(places: np.ndarray, codes: np.ndarray, kinds: int) -> np.ndarray:
    """The inputs without those that the others make superfluous."""
    kept = list(range(len(places)))
    for place in range(len(places)):
        others = [other for other in kept if other != place]
        context, contexts = _joint(places[others])
        if contexts == len(np.unique(context * kinds + codes)) and contexts < len(codes):
            kept = others
    return places[kept]


def _joint(places: np.ndarray) -> tuple[np.ndarray, int]:
    """One code for the values of several inputs together."""
    if not len(places):
        return np.zeros(places.shape[1], np.int64), 1
    code, kinds = _ranked(places[0])
    for place in places[1:]:
        other, more = _ranked(place)
        code, kinds = _ranked(code * more + other)
    return code, kinds


def _ranked(values: np.ndarray) -> tuple[np.ndarray, int]:
    kinds, codes = np.unique(values, return_inverse=True)
    return codes.astype(np.int64), len(kinds)


def ranks(rows: np.ndarray) -> np.ndarray:
    """Each row with its values numbered in their order."""
    order = np.argsort(rows, axis=1, kind="stable")
    ascending = np.take_along_axis(rows, order, 1)
    steps = np.zeros(rows.shape, np.int64)
    steps[:, 1:] = np.cumsum(ascending[:, 1:] != ascending[:, :-1], 1)
    ranks = np.empty_like(steps)
    np.put_along_axis(ranks, order, steps, 1)
    return ranks
