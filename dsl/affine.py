"""Affine maps in exact rational arithmetic: of networks, and of expressions of programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from dsl.claim import Target
from dsl.networks import bindings, run
from dsl.program import Call, Expr, Literal, Program, Variable

_ALWAYS = ("add", "sub", "neg", "sum", "mean", "reshape", "transpose", "expand", "concat", "slice")
_ONE_SIDED = ("mul", "matmul", "linear", "conv")


@dataclass(frozen=True)
class Affine:
    """A constant plus exact multiples of inputs."""

    constant: Fraction
    terms: Mapping[str, Fraction]

    def __add__(self, other: Affine) -> Affine:
        names = dict.fromkeys((*self.terms, *other.terms))
        terms = {n: self.terms.get(n, _ZERO) + other.terms.get(n, _ZERO) for n in names}
        return Affine(
            self.constant + other.constant, {n: value for n, value in terms.items() if value}
        )

    def times(self, factor: Fraction) -> Affine:
        if not factor:
            return Affine(_ZERO, {})
        terms = {name: value * factor for name, value in self.terms.items()}
        return Affine(self.constant * factor, terms)

    def __sub__(self, other: Affine) -> Affine:
        return self + other.times(Fraction(-1))


_ZERO = Fraction(0)


def expression(expr: Expr) -> Affine | None:
    """An expression as an affine map of its variables; None where it is no such map."""
    match expr:
        case Literal(bool()):
            return None
        case Literal(int() | float() as value):
            return Affine(Fraction(value), {}) if np.isfinite(value) else None
        case Variable(name):
            return Affine(_ZERO, {name: Fraction(1)})
        case Call("neg", (inner,)):
            found = expression(inner)
            return None if found is None else found.times(Fraction(-1))
        case Call("add" | "sub" | "mul" | "truediv" as name, (left, right)):
            a, b = expression(left), expression(right)
            if a is None or b is None:
                return None
            match name:
                case "add":
                    return a + b
                case "sub":
                    return a - b
                case "mul" if not a.terms:
                    return b.times(a.constant)
                case "mul" if not b.terms:
                    return a.times(b.constant)
                case "truediv" if not b.terms and b.constant:
                    return a.times(1 / b.constant)
    return None


def outputs(target: Target) -> tuple[Affine, ...] | None:
    """A network's raw outputs as affine maps of the domain's inputs, by the stored weights in
    rational arithmetic; None where it is no such map, or where that is not known."""
    claim = target.claim
    if claim.positions is not None or claim.feedback is not None:
        return None
    entries = packed_entries(claim.pack)
    if entries is None:
        return None
    shape = claim.shape if claim.shape is not None else (len(entries),)
    if int(np.prod(shape)) != len(entries):
        return None
    network = target.network(tuple(shape))
    if network is None or not is_piecewise(network, bends=()):
        return None
    names = target.domain.names
    points = [{name: Fraction(0) for name in names}]
    points += [{name: Fraction(int(name == one)) for name in names} for one in names]
    packed = np.empty((len(points), len(entries)), object)
    for row, point in enumerate(points):
        for column, entry in enumerate(entries):
            packed[row, column] = point[entry] if isinstance(entry, str) else entry
    raw = run(network, packed.reshape(len(points), *shape), dtype=object)
    raw = raw.reshape(len(points), -1)
    if not all(isinstance(value, (int, Fraction)) for value in raw.flat):
        return None
    found = []
    for column in range(raw.shape[1]):
        base = Fraction(raw[0, column])
        terms = {name: Fraction(raw[i + 1, column]) - base for i, name in enumerate(names)}
        found.append(Affine(base, {name: value for name, value in terms.items() if value}))
    return tuple(found)


def packed_entries(pack: Expr) -> list[str | Fraction] | None:
    """The entries of a packing that only lists inputs and numbers."""
    match pack:
        case Variable(name):
            return [name]
        case Literal(bool()):
            return None
        case Literal(int() | float() as value):
            return [Fraction(value)]
        case Call("list" | "tuple", args):
            parts = [packed_entries(arg) for arg in args]
            if any(part is None for part in parts):
                return None
            return [entry for part in parts if part is not None for entry in part]
    return None


def is_piecewise(network: Program, *, bends: tuple[str, ...] = ("relu",)) -> bool:
    """Is every operation affine in what depends on the inputs, or one of `bends`?"""
    moving = {name for name, _ in network.inputs}
    for name, call in bindings(network):
        varying = [
            place
            for place, arg in enumerate(call.args)
            if isinstance(arg, Variable) and arg.name in moving
        ]
        if not varying:
            continue
        moving.add(name)
        if call.primitive in (*_ALWAYS, *bends):
            continue
        if call.primitive in _ONE_SIDED and len(varying) == 1:
            continue
        if call.primitive == "div" and varying == [0]:
            continue
        return False
    return True
