"""The observations as cells: one column of integers for each variable, and a label of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsl import types as t
from dsl.program import Call, Expr, Literal, Variable
from synth.code_length import exception_bits, subset_bits
from synth.problem import Problem

_MOST_VARIABLES = 4
_WIDEST = 400
_MOST_CELLS = 20_000
_FEWEST_CELLS = 100


@dataclass(frozen=True, slots=True)
class Axis:
    """A variable of the program with its range."""

    expr: Expr
    low: int
    high: int

    @property
    def values(self) -> np.ndarray:
        return np.arange(self.low, self.high + 1)


@dataclass(frozen=True, slots=True)
class Cells:
    """`columns` (one per axis, (N,) int64) and `labels` (N,) bool, in a fixed random order.

    `kinds` are the two values of the network that stand for False and True.
    """

    axes: tuple[Axis, ...]
    columns: tuple[np.ndarray, ...]
    labels: np.ndarray
    kinds: tuple[object, object]

    def __len__(self) -> int:
        return len(self.labels)


def cells_of(problem: Problem) -> Cells | None:
    """The cells of a problem; None where it has other inputs or other labels than two."""
    axes = _axes(problem)
    if axes is None or not problem.observations:
        return None
    parts = [o.values for o in problem.observations]
    if any(part.ndim != 1 or part.dtype == object or part.dtype.kind == "f" for part in parts):
        return None
    values = np.concatenate(parts)
    kinds = np.unique(values)
    if len(kinds) != 2 or len(values) < _FEWEST_CELLS:
        return None
    columns = [
        np.concatenate([_column(axis.expr, o.inputs) for o in problem.observations])
        for axis in axes
    ]
    if len(values) > _MOST_CELLS:
        kept = problem.rng().permutation(len(values))[:_MOST_CELLS]
        values, columns = values[kept], [column[kept] for column in columns]
    first, second = kinds.tolist()
    return Cells(axes, tuple(columns), values == kinds[1], (first, second))


def baseline_bits(cells: Cells) -> float:
    """The fewest bits of the labels without a program: counted, or counted for each value of one
    variable.  What cannot beat a table of one variable is no law of several."""
    everything = np.zeros(len(cells), np.int64)
    lengths = [exception_bits(everything, cells.labels)]
    for axis, column in zip(cells.axes, cells.columns, strict=True):
        lengths.append(exception_bits(column - axis.low, cells.labels))
    return min(lengths)


def group_bits(codes: np.ndarray, labels: np.ndarray) -> float:
    """Bits of the labels, counted in each group."""
    total = np.bincount(codes)
    chosen = np.bincount(codes, weights=labels).astype(np.int64)
    kept = total > 0
    return float(subset_bits(total[kept], chosen[kept]).sum())


def _axes(problem: Problem) -> tuple[Axis, ...] | None:
    axes: list[Axis] = []
    for name, kind in problem.target.domain.fields:
        variable = Variable(name)
        match kind:
            case t.Int(low, high) if low is not None and high is not None:
                axes.append(Axis(variable, low, high))
            case t.Seq(t.Int(low, high), least, most) if (
                least == most and low is not None and high is not None and least <= _MOST_VARIABLES
            ):
                entries = [Call("index", (variable, Literal(i))) for i in range(least)]
                axes += [Axis(entry, low, high) for entry in entries]
            case _:
                return None
    wide = any(axis.high - axis.low >= _WIDEST for axis in axes)
    return None if wide or not 0 < len(axes) <= _MOST_VARIABLES else tuple(axes)


def _column(expr: Expr, inputs: dict[str, np.ndarray]) -> np.ndarray:
    match expr:
        case Variable(name):
            return np.asarray(inputs[name], np.int64)
        case Call("index", (Variable(name), Literal(int(i)))):
            return np.asarray(inputs[name][:, i], np.int64)
    raise AssertionError(expr)
