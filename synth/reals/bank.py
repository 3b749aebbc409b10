"""All small real formulas over some inputs, as vectors of their values on a sample."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from dsl.program import Call, Expr, Literal, Variable

LARGEST = 1e5
_SMALL_ARGUMENT = 3


@dataclass(frozen=True)
class Formulas:
    """Formulas with their values (M, n) and sizes in nodes, the smallest first."""

    exprs: tuple[Expr, ...]
    values: np.ndarray
    sizes: np.ndarray
    tried: int


UNARY: tuple[tuple[str, Callable[[np.ndarray], np.ndarray]], ...] = (
    ("sin", np.sin),
    ("cos", np.cos),
    ("tanh", np.tanh),
    ("exp", np.exp),
    ("log", np.log),
    ("sqrt", np.sqrt),
    ("abs", np.abs),
)
BINARY: tuple[tuple[str, Callable[[np.ndarray, np.ndarray], np.ndarray], bool], ...] = (
    ("mul", np.multiply, True),
    ("add", np.add, True),
    ("max", np.maximum, True),
    ("min", np.minimum, True),
    ("sub", np.subtract, False),
    ("truediv", np.divide, False),
)


def enumerated(
    columns: dict[str, np.ndarray], largest: int, capacity: int, deadline: float
) -> Formulas:
    """The formulas of up to `largest` nodes whose values differ on the sample."""
    exprs: list[Expr] = [Variable(name) for name in columns]
    exprs += [Literal(1), Literal(2)]
    count = len(next(iter(columns.values())))
    table = [np.asarray(column, np.float64) for column in columns.values()]
    table += [np.full(count, 1.0), np.full(count, 2.0)]
    levels: list[tuple[list[Expr], np.ndarray]] = [([], np.zeros((0, count)))]
    key = np.random.default_rng(0).standard_normal((count, 2))
    seen: set[bytes] = set()
    levels.append(_fresh(exprs, np.array(table), key, seen, capacity))
    tried = len(exprs)
    for size in range(2, largest + 1):
        new_exprs: list[Expr] = []
        new_values: list[np.ndarray] = []
        for make, values in _combined(levels, size):
            tried += len(values)
            fresh, kept = _fresh(make, values, key, seen, capacity - len(new_exprs))
            new_exprs += fresh
            new_values.append(kept)
            if len(new_exprs) >= capacity or time.monotonic() > deadline:
                break
        stacked = np.concatenate(new_values) if new_values else np.zeros((0, count))
        levels.append((new_exprs, stacked))
        if time.monotonic() > deadline:
            break
    sizes = np.concatenate([np.full(len(e), s) for s, (e, _) in enumerate(levels)]).astype(int)
    return Formulas(
        tuple(expr for part, _ in levels for expr in part),
        np.concatenate([values for _, values in levels]),
        sizes,
        tried,
    )


Make = Callable[[int], Expr]


def _combined(
    levels: list[tuple[list[Expr], np.ndarray]], size: int
) -> Iterator[tuple[Make, np.ndarray]]:
    exprs, values = levels[size - 1]
    if size - 1 <= _SMALL_ARGUMENT and len(exprs):
        for name, operation in UNARY:
            with np.errstate(all="ignore"):
                yield _unary(name, exprs), operation(values)
    for left in range(1, size - 1):
        right = size - 1 - left
        (one, a), (two, b) = levels[left], levels[right]
        if not len(one) or not len(two):
            continue
        for name, combine, symmetric in BINARY:
            if symmetric and left > right:
                continue
            step = max(1, 20_000 // len(two))
            for start in range(0, len(one), step):
                part = a[start : start + step]
                with np.errstate(all="ignore"):
                    made = combine(part[:, None, :], b[None, :, :])
                yield (
                    _binary(name, one, two, start),
                    made.reshape(-1, made.shape[-1]),
                )


def _unary(name: str, exprs: list[Expr]) -> Make:
    return lambda i: Call(name, (exprs[i],))


def _binary(name: str, one: list[Expr], two: list[Expr], start: int) -> Make:
    return lambda i: Call(name, (one[start + i // len(two)], two[i % len(two)]))


def _fresh(
    exprs: list[Expr] | Make,
    values: np.ndarray,
    key: np.ndarray,
    seen: set[bytes],
    room: int,
) -> tuple[list[Expr], np.ndarray]:
    """Those whose values are finite, moderate and new."""
    with np.errstate(all="ignore"):
        largest = np.abs(values).max(1, initial=0)
    good = np.flatnonzero(np.isfinite(largest) & (largest < LARGEST))
    kept: list[int] = []
    if len(good):
        hashed = values[good] @ key
        scale = np.maximum(1e-12, np.abs(hashed).max(1, keepdims=True))
        exponent = np.floor(np.log10(scale))
        rounded = np.round(hashed / 10.0**exponent, 8) + 0.0
        stamps = np.concatenate([rounded, exponent], 1)
        for row, stamp in zip(good, stamps, strict=True):
            mark = stamp.tobytes()
            if mark not in seen:
                seen.add(mark)
                kept.append(int(row))
                if len(kept) >= room:
                    break
    made = [exprs(i) if callable(exprs) else exprs[i] for i in kept]
    return made, values[kept]
