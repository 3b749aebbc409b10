"""Piecewise-linear networks of one or two inputs, cell by cell.

The box is cut along the lines at which a neuron or a branch of the program changes; in each cell
both are affine, so that their difference is greatest at a corner.  Every value is kept as an affine
function with outward-rounded coefficients plus an error that bounds all that was neglected, and
every polygon is a little larger than its cell: `radius` bounds what rounding may have cut off.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from dsl import affine
from dsl import types as t
from dsl.agreement import counterexample
from dsl.claim import Proved, Refuted, Target, Unknown, Verdict
from dsl.networks import bindings
from dsl.primitives.tensor import TENSOR, Box, point
from dsl.program import Assign, Call, Constant, Expr, Literal, Program, Variable
from verify.comparison import blurred

METHOD = "cells"
ARITHMETIC = "real numbers, weights as stored, and {error:.2g} for the runtime's rounding"
_ULP = 4e-16
_SHARP = 1e-11


@dataclass(frozen=True)
class Affine:
    """c[0] + sum c[i + 1] t[i] (coefficients within `spread` each), off by at most `error`."""

    coefficients: np.ndarray
    spread: float
    error: float


@dataclass(frozen=True)
class Cell:
    """A convex polygon (or segment) by its corners (K, d) in [0, 1]^d, the values of the network's
    bindings up to `place`, and the choices made in the program."""

    corners: np.ndarray
    radius: float
    place: int
    values: Mapping[str, Box]


Lines: TypeAlias = tuple[np.ndarray, np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """A network, a program's result by its inputs, and the box."""

    network: Program
    result: Expr
    names: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    fixed: Mapping[str, Fraction]
    tolerance: float


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proved where every cell is; Unknown with the proven share of the area; None elsewhere."""
    found = _setting(program, target)
    if found is None:
        return None
    setting, start = found
    error, blur = blurred(target)
    if blur:
        return Unknown(blur)
    stack, area, cells = [start], 0.0, 0
    while stack:
        if time.monotonic() > deadline:
            return Unknown(f"time is up after {cells} cells", max(0.0, area - 1e-6))
        cell = stack.pop()
        step = _advanced(setting, cell)
        if isinstance(step, list):
            stack += step
            continue
        worst, corner = step
        if worst > setting.tolerance - error:
            return _refuted(program, target, setting, corner)
        area, cells = area + _area(cell.corners), cells + 1
    table = {"kind": METHOD, "cells": cells, "rounding": error}
    return Proved(METHOD, str(target.domain), ARITHMETIC.format(error=error), table)


def _setting(program: Program, target: Target) -> tuple[Setting, Cell] | None:
    claim = target.claim
    if claim.decode.rule != "value" or claim.positions is not None or claim.feedback is not None:
        return None
    entries = affine.packed_entries(claim.pack)
    if entries is None or target.domain.where is not None or program.constants:
        return None
    moving: list[tuple[str, float, float]] = []
    fixed: dict[str, Fraction] = {}
    for name, kind in target.domain.fields:
        match kind:
            case t.Real(low, high) if low is not None and high is not None:
                if low < high:
                    moving.append((name, low, high))
                else:
                    fixed[name] = Fraction(low)
            case _:
                return None
    shape = claim.shape if claim.shape is not None else (len(entries),)
    network = target.network(tuple(shape))
    result = _inlined(program)
    if network is None or result is None or not 1 <= len(moving) <= 2:
        return None
    if len(network.inputs) != 1 or not affine.is_piecewise(network):
        return None
    names, low_ends, high_ends = (tuple(column) for column in zip(*moving, strict=True))
    setting = Setting(network, result, names, low_ends, high_ends, fixed, claim.decode.tolerance)
    if not _is_piecewise(result, names, fixed):
        return None
    rows = [dict(zip(names, low_ends, strict=True))]
    rows += [{**rows[0], name: high} for name, _, high in moving]
    rows.append(rows[0])
    packed = np.array([[_entry(entry, row, fixed) for entry in entries] for row in rows])
    corners = np.array([[0.0], [1.0]])
    if len(moving) == 2:
        corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    first = {network.inputs[0][0]: point(packed.reshape(len(rows), *shape))}
    return setting, Cell(corners, 0.0, 0, first)


def _entry(entry: str | Fraction, row: Mapping[str, float], fixed: Mapping[str, Fraction]) -> float:
    if not isinstance(entry, str):
        return float(entry)
    return row[entry] if entry in row else float(fixed[entry])


def _inlined(program: Program) -> Expr | None:
    """The result with the assignments put in place."""
    known: dict[str, Expr] = {}
    for statement in program.body:
        match statement:
            case Assign((name,), (value,)):
                known[name] = _replaced(value, known)
            case _:
                return None
    return _replaced(program.result, known)


def _replaced(expr: Expr, known: Mapping[str, Expr]) -> Expr:
    match expr:
        case Variable(name) if name in known:
            return known[name]
        case Call(primitive, args, options):
            return Call(primitive, tuple(_replaced(arg, known) for arg in args), options)
    return expr


def _is_piecewise(expr: Expr, names: tuple[str, ...], fixed: Mapping[str, Fraction]) -> bool:
    """Is an expression made of affine ones by max, min, abs, sums and constant factors?"""
    found = affine.expression(expr)
    if found is not None:
        return all(name in names or name in fixed for name in found.terms)
    match expr:
        case Call("max" | "min", args) if len(args) > 1:
            return all(_is_piecewise(arg, names, fixed) for arg in args)
        case Call("abs" | "neg" | "add" | "sub", args):
            return all(_is_piecewise(arg, names, fixed) for arg in args)
        case Call("mul", (a, b)):
            return (
                _is_piecewise(a, names, fixed)
                and _is_piecewise(b, names, fixed)
                and any(
                    (one := affine.expression(part)) is not None and not one.terms
                    for part in (a, b)
                )
            )
    return False


def _advanced(setting: Setting, cell: Cell) -> list[Cell] | tuple[float, np.ndarray]:
    """The two parts of a cell that a line cuts; for a whole one the greatest difference, and a
    corner with it."""
    values, constants = dict(cell.values), dict(setting.network.constants)
    for place, (name, call) in enumerate(bindings(setting.network)):
        if place < cell.place:
            continue
        arguments = [_argument(arg, values, constants) for arg in call.args]
        if call.primitive == "relu" and isinstance(call.args[0], Variable):
            found = _rectified(cell, arguments[0])
            if isinstance(found, Affine):
                before = Cell(cell.corners, cell.radius, place, values)
                return _cut(before, found)
            values[name] = found
        else:
            values[name] = TENSOR[call.primitive].bounds(*arguments, **dict(call.options))
    final = Cell(cell.corners, cell.radius, len(setting.network.body), values)
    assert isinstance(setting.network.result, Variable)
    output = _lines(values[setting.network.result.name])
    network = Affine(output[0][:, 0], float(output[1].max()), float(output[2][0]))
    chosen = _program(setting, final, setting.result)
    if isinstance(chosen, _Undecided):
        return _cut(final, chosen.line)
    off = Affine(
        network.coefficients - chosen.coefficients,
        network.spread + chosen.spread,
        network.error + chosen.error,
    )
    low, high = _ranged(cell, off)
    corner = cell.corners[int(np.abs(_at(cell.corners, off.coefficients)).argmax())]
    return max(-low, high), corner


def _argument(arg: Expr, values: Mapping[str, Box], constants: Mapping[str, Any]) -> Box:
    match arg:
        case Variable(name):
            return values[name]
        case Constant(name):
            return point(constants[name])
        case Literal(value):
            return point(value)
    raise AssertionError(arg)


def _lines(box: Box) -> Lines:
    """For each entry: coefficients (d + 1, n), their spread (n,), and its error (n,).

    Rows of the box are the values at the corner 0 and at the ends of the axes, and, last, at the
    corner 0 within the error.
    """
    low, high = (side.reshape(len(side), -1) for side in (box.low, box.high))
    middle, half = (low + high) / 2, (high - low) / 2
    coefficients = middle[:-1].copy()
    coefficients[1:] -= middle[0]
    scale = np.abs(middle[:-1]).max(0)
    spread = 2 * half[:-1].max(0) + _ULP * scale
    error = np.maximum(np.maximum(high[-1] - low[0], high[0] - low[-1]), 0.0)
    return coefficients, spread, error


def _at(corners: np.ndarray, coefficients: np.ndarray) -> np.ndarray:
    return np.asarray(coefficients[0] + corners @ coefficients[1:])


def _ranged(cell: Cell, line: Affine) -> tuple[float, float]:
    """Bounds of a function on a cell."""
    at = _at(cell.corners, line.coefficients)
    room = _room(cell, line.coefficients) + line.spread * len(line.coefficients) + line.error
    return float(at.min() - room), float(at.max() + room)


def _room(cell: Cell, coefficients: np.ndarray) -> Any:
    """What rounding, of corners and of evaluation, may hide."""
    total = np.abs(coefficients).sum(0)
    return np.abs(coefficients[1:]).sum(0) * cell.radius + 8 * _ULP * total


def _rectified(cell: Cell, box: Box) -> Box | Affine:
    """ReLU of a value, or the line of a neuron that must be cut first."""
    coefficients, spread, error = _lines(box)
    at = coefficients[0] + cell.corners @ coefficients[1:]
    doubt = _room(cell, coefficients) + spread * len(coefficients) + error
    low, high = at.min(0) - doubt, at.max(0) + doubt
    limit = 4 * doubt + 3 * _SHARP * np.abs(coefficients).sum(0)
    open_ones = np.minimum(-low - limit, high - limit)
    worst = int(open_ones.argmax())
    if open_ones[worst] > 0:
        return Affine(coefficients[:, worst], float(spread[worst]), float(error[worst]))
    active = np.maximum(-low, 0.0) <= np.maximum(high, 0.0)
    # What is left out: -min(f, 0) where f is kept, max(f, 0) where it is dropped.
    lost = np.where(active, np.maximum(-low, 0.0), np.maximum(high, 0.0))
    flat_low, flat_high = (side.reshape(len(side), -1) for side in (box.low, box.high))
    kept_low, kept_high = np.where(active, flat_low, 0.0), np.where(active, flat_high, 0.0)
    total = np.where(active, error, 0.0) + lost
    kept_low[-1] = np.nextafter(kept_low[0] - total, -np.inf)
    kept_high[-1] = np.nextafter(kept_high[0] + total, np.inf)
    return Box(kept_low.reshape(box.shape), kept_high.reshape(box.shape))


def _cut(cell: Cell, line: Affine) -> list[Cell]:
    """The two parts of a cell along a line, each a little larger than it need be."""
    scale = float(np.abs(line.coefficients).sum())
    room = _SHARP * scale + 2 * float(_room(cell, line.coefficients))
    radius = cell.radius + 8 * _ULP
    parts = []
    for sign in (1.0, -1.0):
        corners = _clipped(cell.corners, sign * line.coefficients, -room)
        if len(corners):
            parts.append(Cell(corners, radius, cell.place, cell.values))
    return parts


def _clipped(corners: np.ndarray, coefficients: np.ndarray, least: float) -> np.ndarray:
    """The part of a polygon on which a function is at least `least` (Sutherland and Hodgman)."""
    at = _at(corners, coefficients) - least
    kept: list[np.ndarray] = []
    count = len(corners)
    for i in range(count):
        j = (i + 1) % count
        if at[i] >= 0:
            kept.append(corners[i])
        if (at[i] >= 0) != (at[j] >= 0) and not (count == 2 and i == 1):
            share = at[i] / (at[i] - at[j])
            kept.append(np.clip(corners[i] + share * (corners[j] - corners[i]), 0.0, 1.0))
    return np.array(kept).reshape(len(kept), corners.shape[1])


@dataclass(frozen=True)
class _Undecided:
    line: Affine


def _program(setting: Setting, cell: Cell, expr: Expr) -> Affine | _Undecided:
    """The program's affine function on a cell, or a line at which it changes."""
    found = affine.expression(expr)
    if found is not None:
        return _scaled(setting, found)
    assert isinstance(expr, Call)
    parts: list[Affine] = []
    for arg in expr.args:
        part = _program(setting, cell, arg)
        if isinstance(part, _Undecided):
            return part
        parts.append(part)
    match expr.primitive:
        case "add":
            return _combined(parts[0], parts[1], 1.0)
        case "sub":
            return _combined(parts[0], parts[1], -1.0)
        case "neg":
            return _times(parts[0], -1.0)
        case "mul":
            for one, other in ((parts[0], parts[1]), (parts[1], parts[0])):
                if not one.coefficients[1:].any() and not one.error:
                    return _times(other, float(one.coefficients[0]))
        case "abs":
            return _greatest(cell, [parts[0], _times(parts[0], -1.0)])
        case "max":
            return _greatest(cell, parts)
        case "min":
            least = _greatest(cell, [_times(part, -1.0) for part in parts])
            return least if isinstance(least, _Undecided) else _times(least, -1.0)
    raise AssertionError(expr)


def _greatest(cell: Cell, parts: list[Affine]) -> Affine | _Undecided:
    best = parts[0]
    for part in parts[1:]:
        margin = _combined(best, part, -1.0)
        low, high = _ranged(cell, margin)
        limit = 4 * (margin.spread * len(margin.coefficients) + margin.error)
        limit += 4 * _room(cell, margin.coefficients)
        limit += 3 * _SHARP * float(np.abs(margin.coefficients).sum())
        if low < -limit and high > limit:
            return _Undecided(margin)
        keep = high >= -low
        chosen, lost = (best, max(-low, 0.0)) if keep else (part, max(high, 0.0))
        best = Affine(chosen.coefficients, chosen.spread, chosen.error + lost)
    return best


def _combined(a: Affine, b: Affine, sign: float) -> Affine:
    coefficients = a.coefficients + sign * b.coefficients
    rounding = _ULP * float((np.abs(a.coefficients) + np.abs(b.coefficients)).max())
    return Affine(coefficients, a.spread + b.spread + rounding, a.error + b.error)


def _times(a: Affine, factor: float) -> Affine:
    coefficients = a.coefficients * factor
    rounding = _ULP * float(np.abs(coefficients).max())
    size = abs(factor) * (1 + _ULP)
    return Affine(coefficients, a.spread * size + rounding, a.error * size)


def _scaled(setting: Setting, found: affine.Affine) -> Affine:
    """An affine map of the inputs as one of the unit coordinates."""
    exact = [found.constant]
    for name, value in setting.fixed.items():
        exact[0] += found.terms.get(name, Fraction(0)) * value
    for name, low, high in zip(setting.names, setting.low, setting.high, strict=True):
        factor = found.terms.get(name, Fraction(0))
        exact[0] += factor * Fraction(low)
        exact.append(factor * (Fraction(high) - Fraction(low)))
    coefficients = np.array([float(value) for value in exact])
    return Affine(coefficients, _ULP * float(np.abs(coefficients).max()), 0.0)


def _area(corners: np.ndarray) -> float:
    if corners.shape[1] == 1:
        return float(np.ptp(corners))
    x, y = corners.T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _refuted(program: Program, target: Target, setting: Setting, corner: np.ndarray) -> Verdict:
    """A counterexample at a corner if the runtime confirms it."""
    inputs = {name: np.array([float(value)]) for name, value in setting.fixed.items()}
    for name, low, high, share in zip(
        setting.names, setting.low, setting.high, corner, strict=True
    ):
        inputs[name] = np.clip(np.array([low + share * (high - low)]), low, high)
    batch = {name: inputs[name] for name in target.domain.names}
    example = counterexample(program, target, batch, 0)
    if example is None:
        return Unknown("a cell in which the difference could not be bounded")
    return Refuted(METHOD, example)
