"""Sets of columns that are closed: with the next symbol they fix the answer and themselves."""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from synth.recurrent.columns import Column, partition

_CHEAP = 22
_LONGEST_CHAIN = 12


@dataclass(frozen=True, slots=True)
class Setting:
    """The data of a search, one row per prefix that has a next symbol: `symbol` (R,) numbers the
    next symbol, `answer` (R,) what is answered to it, `now` and `then` (R, C) are classes of the
    columns before and after it.  In `final` mode the answer belongs to the prefix itself."""

    symbol: np.ndarray
    answer: np.ndarray
    now: np.ndarray
    then: np.ndarray
    cost: np.ndarray
    final: bool


def setting(
    columns: Sequence[Column], words: np.ndarray, answers: np.ndarray, *, final: bool, limit: int
) -> Setting:
    """At most `limit` words are used."""
    words, answers = words[:limit], answers[:limit]
    count, length, k = words.shape
    symbol = np.unique(words.reshape(-1, k), axis=0, return_inverse=True)[1].reshape(-1)
    classes = [partition(c.values[:limit]).reshape(count, length + 1) for c in columns]
    now = np.stack([c[:, :-1].ravel() for c in classes], axis=1)
    then = np.stack([c[:, 1:].ravel() for c in classes], axis=1)
    value = answers[:, :-1] if final else answers
    return Setting(symbol, partition(value), now, then, np.array([c.cost for c in columns]), final)


def closed_sets(data: Setting, *, most: int, deadline: float) -> Iterator[tuple[int, ...]]:
    """Closed sets of columns, those of least entropy (and cost) first."""
    heap: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
    seen: set[tuple[int, ...]] = {()}
    given: set[tuple[int, ...]] = set()
    quick = min(deadline, time.monotonic() + 0.15 * (deadline - time.monotonic()))
    for chosen in itertools.chain(_chains(data, deadline), _cheap_sets(data)):
        if time.monotonic() > quick:
            break
        if chosen not in given and conflict(data, chosen) is None:
            given.add(chosen)
            yield chosen
    while heap and time.monotonic() < deadline:
        _, chosen = heapq.heappop(heap)
        rows = conflict(data, chosen)
        if rows is None:
            if chosen not in given:
                yield chosen
            continue
        if len(chosen) >= most:
            continue
        left, right = rows
        separates = (data.now[left] != data.now[right]).mean(axis=0)
        useful = np.flatnonzero(separates > 0)
        ranked = useful[np.argsort(data.cost[useful] - 6 * separates[useful], kind="stable")]
        for column in ranked[: 60 if not chosen else 24].tolist():
            grown = tuple(sorted((*chosen, column)))
            if column in chosen or grown in seen:
                continue
            seen.add(grown)
            priority = _entropy(data, grown) + 0.7 * float(data.cost[list(grown)].sum())
            heapq.heappush(heap, (priority, grown))


def _chains(data: Setting, deadline: float) -> Iterator[tuple[int, ...]]:
    """Columns that fix the answer alone, each with what fixes it, and what fixes that: delay lines
    of any length, for which no search among sets is needed."""
    if not data.final and _clash(data.symbol, data.answer) is None:
        return
    order = np.argsort(data.cost, kind="stable").tolist()
    for column in order:
        if time.monotonic() > deadline:
            return
        state = data.now[:, column]
        group = partition(state) if data.final else _with_symbol(data, state)
        if _clash(group, data.answer) is not None:
            continue
        chain = [column]
        while (source := _source(data, chain[-1], order)) is not None and source not in chain:
            chain.append(source)
            if len(chain) > _LONGEST_CHAIN:
                break
        yield tuple(sorted(chain))


def _source(data: Setting, column: int, order: Sequence[int]) -> int | None:
    """The cheapest column that, with the symbol, fixes the next value of a column; None where the
    symbol does alone, or no column does."""
    wanted = data.then[:, column]
    if _clash(data.symbol, wanted) is None:
        return None
    return next(
        (i for i in order if _clash(_with_symbol(data, data.now[:, i]), wanted) is None), None
    )


def _with_symbol(data: Setting, state: np.ndarray) -> np.ndarray:
    return partition(state * (int(data.symbol.max(initial=0)) + 1) + data.symbol)


def _cheap_sets(data: Setting) -> list[tuple[int, ...]]:
    """All single columns, and small sets of those that are least far fetched, whatever their
    entropy: recurrences over numbers have states without end, and would come last."""
    order = np.argsort(data.cost, kind="stable").tolist()
    cheap = order[:_CHEAP]
    sets: list[tuple[int, ...]] = [(), *((column,) for column in order)]
    for size, width in ((2, _CHEAP), (3, _CHEAP // 2)):
        sets += [tuple(sorted(chosen)) for chosen in itertools.combinations(cheap[:width], size)]
    return sorted(sets, key=lambda chosen: (round(float(data.cost[list(chosen)].sum()), 6), chosen))


def conflict(data: Setting, chosen: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """Pairs of rows that look alike but must not; None if the set is closed."""
    state = _joint(data, chosen)
    pairs = _clash(state, data.answer) if data.final else None
    if pairs is not None:
        return pairs
    group = _with_symbol(data, state)
    if not data.final:
        pairs = _clash(group, data.answer)
        if pairs is not None:
            return pairs
    for column in chosen:
        pairs = _clash(group, data.then[:, column])
        if pairs is not None:
            return pairs
    return None


def _clash(group: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows of one group with different values: the first of the group, and up to 400 others."""
    _, first = np.unique(group, return_index=True)
    wrong = np.flatnonzero(value != value[first][group]) if len(first) else first
    if not len(wrong):
        return None
    wrong = wrong[:: max(1, len(wrong) // 400)]
    return first[group[wrong]], wrong


def _joint(data: Setting, chosen: tuple[int, ...]) -> np.ndarray:
    state = np.zeros(len(data.symbol), np.int64)
    for column in chosen:
        state = partition(
            state * (int(data.now[:, column].max(initial=0)) + 1) + data.now[:, column]
        )
    return state


def _entropy(data: Setting, chosen: tuple[int, ...]) -> float:
    counts = np.bincount(_joint(data, chosen))
    share = counts[counts > 0] / len(data.symbol)
    return float(-(share * np.log2(share)).sum())
