"""What the values inside a network look like over a domain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl.claim import Target
from dsl.domain import Domain
from dsl.errors import DistillError

_ROWS = 512
_MOST_DISTINCT = 64
_LARGE = 1e100
"""What stands for the infinities of masks where values are squared."""


@dataclass(frozen=True, slots=True)
class Values:
    """One value of the network: the operation that gives it, its shape without the batch, the
    range of its entries, how many different rows there are (None for many), and its linear rank
    (the number of directions that hold 99 % of the variance)."""

    name: str
    operation: str
    shape: tuple[int, ...]
    low: float
    high: float
    distinct: int | None
    rank: int


@dataclass(frozen=True)
class Statistics:
    """The values of a network on some random inputs, from input to output."""

    inputs: int
    values: tuple[Values, ...]

    def __iter__(self) -> Iterator[Values]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __str__(self) -> str:
        rows = [_HEADER, *map(_cells, self.values)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(_HEADER))]
        return "\n".join(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        )

    def _repr_html_(self) -> str:
        from distill.notebook import table

        caption = f"{len(self)} values on {self.inputs} random inputs"
        return table(_HEADER, map(_cells, self.values), caption=caption)


_HEADER = ("value", "operation", "shape", "range", "distinct rows", "rank")


def _cells(row: Values) -> tuple[str, ...]:
    return (
        row.name,
        row.operation,
        "x".join(map(str, row.shape)) or "1",
        f"{row.low:.4g} .. {row.high:.4g}",
        "many" if row.distinct is None else str(row.distinct),
        str(row.rank),
    )


def statistics(model: Any, domain: Domain | str | None = None, **options: str) -> Statistics:
    """The statistics of a model (see `distill.load`).  Raises D020 where it is not translated."""
    from distill.api import target

    found, _ = target(model, domain, **options)
    return of_target(found)


def of_target(target: Target, *, seed: int = 0) -> Statistics:
    """The statistics of a target on inputs of the shape that is drawn most often."""
    from dsl.networks import bindings, trace

    drawn = target.domain.sample(_ROWS, np.random.default_rng(seed))
    batch = max(drawn, key=lambda b: len(next(iter(b.values()))))
    packed = target.pack(batch)
    network = target.network(packed.shape[1:])
    if network is None:
        raise DistillError("D020", "the network is not translated: there is nothing to look into")
    operations = {name: call.primitive for name, call in bindings(network)}
    rows = [
        summary(name, operations.get(name, "input"), np.asarray(value))
        for name, value in trace(network, packed).items()
        if np.ndim(value) >= 1 and len(value) == len(packed)
    ]
    return Statistics(len(packed), tuple(rows))


def summary(name: str, operation: str, value: np.ndarray) -> Values:
    """One value (rows, ...) in figures."""
    flat = value.reshape(len(value), -1).astype(np.float64)
    finite = np.nan_to_num(flat)
    distinct = len(np.unique(finite, axis=0))
    held = np.clip(finite, -_LARGE, _LARGE)
    centred = held - held.mean(0)
    if centred.shape[1] > _ROWS:
        centred = centred @ np.random.default_rng(0).standard_normal((centred.shape[1], _ROWS))
    power = np.linalg.svd(centred, compute_uv=False) ** 2
    total = power.sum()
    rank = 0 if total <= 0 else int(np.searchsorted(np.cumsum(power) / total, 0.99)) + 1
    return Values(
        name,
        operation,
        value.shape[1:],
        float(finite.min()),
        float(finite.max()),
        distinct if distinct <= _MOST_DISTINCT else None,
        rank,
    )
