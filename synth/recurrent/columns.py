"""Integer columns over prefixes: what a program could keep in mind while it reads.

A column has a value for every prefix of every sampled word, (N, L + 1).  Three sources: lags of
inputs and answers, small recurrences `s = f(s, x)`, and probes (what the network would answer after
a fixed continuation).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from synth.recurrent.traces import Channel, Teacher, Traces, probe_words, probed


@dataclass(frozen=True, slots=True)
class Column:
    """`values` (N, L + 1); `hint` is a name for a variable that holds it; `cost` is how far
    fetched it is; `truth` says that it holds 0 and 1 as truth values."""

    values: np.ndarray
    hint: str
    cost: float
    truth: bool = False


def lags(teacher: Teacher, traces: Traces) -> Iterator[Column]:
    """Earlier symbols and earlier answers; 0 before the first."""
    count, length, k = traces.words.shape
    for j, back in itertools.product(range(k), range(1, 6)):
        channel = teacher.channels[j]
        values = np.zeros((count, length + 1), np.int64)
        values[:, back:] = traces.words[:, : max(0, length + 1 - back), j]
        hint = "previous" if back == 1 else f"previous_{back}"
        yield Column(values, hint if k == 1 else f"{channel.name}_{hint}", 0.5 + 0.3 * back)
    if teacher.every_step:
        for back in (1, 2):
            values = np.zeros((count, length + 1), np.int64)
            values[:, back:] = traces.after()[:, : max(0, length + 1 - back)]
            yield Column(values, "answer" if back == 1 else "earlier_answer", 0.6 + 0.4 * back)


def clock(traces: Traces) -> Iterator[Column]:
    count, length, _ = traces.words.shape
    time = np.arange(length + 1)
    for m, hint in ((0, "time"), (2, "phase"), (3, "phase")):
        values = np.broadcast_to(time % m if m else time, (count, length + 1))
        yield Column(values.astype(np.int64), hint, 2.0 + 0.2 * m)


Update = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _features(
    channels: tuple[Channel, ...],
) -> Iterator[tuple[str, float, Callable[..., np.ndarray]]]:
    """Numbers to be accumulated: (name, cost, function of the channels' columns)."""
    for j, channel in enumerate(channels):
        yield channel.name, 1.0, lambda *x, j=j: x[j]
        if channel.count > 2:
            for m in (2, 3):
                if channel.count > m:
                    yield "", 2.0, lambda *x, j=j, m=m: x[j] % m
            low, high = channel.low, channel.high
            for c in {low, high, 0, 1, -1, (low + high) // 2, (low + high + 1) // 2}:
                if low <= c <= high:
                    yield "", 2.0, lambda *x, j=j, c=c: (x[j] == c).astype(np.int64)
                    yield "", 2.0, lambda *x, j=j, c=c: (x[j] > c).astype(np.int64)
        else:
            yield "", 1.5, lambda *x, j=j, c=channel: 2 * x[j] - c.low - c.high
            yield "", 1.5, lambda *x, j=j, c=channel: c.high - x[j]
    if len(channels) == 2:
        for function in (np.add, np.subtract, np.multiply, np.maximum, np.minimum):
            yield "", 2.0, lambda *x, f=function: f(x[0], x[1])
        for compare in (np.equal, np.not_equal, np.less, np.greater):
            yield "", 2.0, lambda *x, f=compare: f(x[0], x[1]).astype(np.int64)


def _accumulations(moduli: tuple[int, ...]) -> Iterator[tuple[str, float, tuple[int, ...], Update]]:
    """Recurrences s = f(s, z) with their first values."""
    yield "total", 1.0, (0,), lambda s, z: s + z
    yield "maximum", 1.0, (0,), np.maximum
    yield "minimum", 1.0, (0,), np.minimum
    yield "state", 1.5, (0, 1), lambda s, z: z - s
    yield "run", 1.8, (0,), lambda s, z: np.where(z != 0, s + 1, 0)
    yield "run", 1.8, (0,), lambda s, z: np.where(z == 0, s + 1, 0)
    yield "level", 1.8, (0,), lambda s, z: np.maximum(s + z, 0)
    yield "flag", 1.6, (0,), lambda s, z: np.where(z != 0, 1 - s, s)
    yield "number", 1.6, (0,), lambda s, z: np.minimum(2 * s + z, 2**30)
    yield "total", 2.0, (0,), lambda s, z: np.clip(s + z * z, -(2**30), 2**30)
    for m in moduli:
        for k in range(1, m):
            hint = "remainder" if m > 2 else "parity"
            yield hint, 1.5 + 0.1 * k, (0,), functools.partial(_residue, k, m)


def _residue(k: int, m: int, s: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.asarray((k * s + z) % m)


def recurrences(teacher: Teacher, traces: Traces, moduli: tuple[int, ...]) -> Iterator[Column]:
    """Running sums, extrema, counts, residues and digit folds of simple features."""
    count, length, k = traces.words.shape
    inputs = [traces.words[:, :, j] for j in range(k)]
    for name, feature_cost, feature in _features(teacher.channels):
        z = np.asarray(feature(*inputs), np.int64)
        starts: dict[str, tuple[int, ...]] = {
            "maximum": tuple(sorted({0, int(z.min(initial=0))})),
            "minimum": tuple(sorted({0, int(z.max(initial=0))})),
        }
        for hint, cost, first, update in _accumulations(moduli):
            for start in starts.get(hint, first):
                values = np.zeros((count, length + 1), np.int64)
                values[:, 0] = start
                for t in range(length):
                    values[:, t + 1] = update(values[:, t], z[:, t])
                yield Column(values, hint, feature_cost + cost)
                if hint == "total" and cost == 1.0:
                    lowest = np.minimum.accumulate(values, axis=1)
                    yield Column(lowest, "lowest", feature_cost + cost + 0.8)
                    highest = np.maximum.accumulate(values, axis=1)
                    yield Column(highest, "highest", feature_cost + cost + 0.9)
                if hint == "total" and cost == 1.0 and name:
                    yield Column(np.cumsum(values, axis=1), "position", feature_cost + cost + 1.5)


def probes(teacher: Teacher, traces: Traces, depth: int) -> Iterator[Column]:
    """What the network answers after fixed continuations; None of them where it cannot be asked."""
    blind = teacher.advance is None or traces.hidden is None
    reach = traces.words.shape[1]
    for word in probe_words(teacher, depth):
        if blind and teacher.reach is not None and reach + len(word) > teacher.reach:
            continue
        values = probed(teacher, traces, word)
        if values.min(initial=0) == np.iinfo(np.int64).min:
            continue
        if len(np.unique(values)) > 1:
            yield Column(values, "state", 1.0 + 0.5 * len(word))


def partition(values: np.ndarray) -> np.ndarray:
    """The classes of equal values, numbered in the order in which they first occur."""
    flat = values.ravel()
    _, first, inverse = np.unique(flat, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first, kind="stable")] = np.arange(len(first))
    return order[inverse.reshape(-1)]


def distinct(columns: Iterator[Column], *, versions: int = 2) -> list[Column]:
    """Columns that are not constant; of those with the same classes only the cheapest few."""
    seen: dict[bytes, list[Column]] = {}
    for column in columns:
        classes = partition(column.values)
        if classes.max(initial=0) == 0:
            continue
        seen.setdefault(classes.tobytes(), []).append(column)
    kept: list[Column] = []
    for group in seen.values():
        unique: dict[bytes, Column] = {}
        for column in sorted(group, key=lambda c: c.cost):
            unique.setdefault(column.values.tobytes(), column)
        kept += list(unique.values())[:versions]
    return sorted(kept, key=lambda c: c.cost)
