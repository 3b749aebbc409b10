"""Constants of a formula, fitted by damped Gauss-Newton steps and then made short.

A constant becomes 0, 1, a small fraction, or a multiple of pi, e or a root where the data cannot
tell it from the fitted value.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from dsl.program import Call, Expr, Literal, Variable
from synth.reals.decimals import simplest

_HUGE = 1e100
_CURVED = ("sin", "cos", "tanh", "exp", "log", "sqrt")
_OPERATIONS: Mapping[str, Callable[..., np.ndarray]] = {
    "add": np.add,
    "sub": np.subtract,
    "mul": np.multiply,
    "truediv": np.divide,
    "neg": np.negative,
    "max": np.maximum,
    "min": np.minimum,
    "abs": np.abs,
    "sin": np.sin,
    "cos": np.cos,
    "tanh": np.tanh,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
}


@dataclass(frozen=True)
class Fit:
    """A formula with its constants, its root mean square error and greatest deviation."""

    expr: Expr
    error: float
    deviation: float


def evaluated(expr: Expr, columns: Mapping[str, np.ndarray], params: np.ndarray) -> np.ndarray:
    """The values of a formula; variables `#i` are parameters."""
    match expr:
        case Literal(value):
            return np.asarray(float(value))  # type: ignore[arg-type]
        case Variable(name):
            return np.asarray(params[int(name[1:])]) if name[0] == "#" else columns[name]
        case Call(primitive, args, _):
            return np.asarray(
                _OPERATIONS[primitive](*(evaluated(arg, columns, params) for arg in args))
            )
    raise AssertionError(expr)


def loosened(expr: Expr) -> tuple[Expr, list[float]]:
    """The formula with a parameter for each literal, for a factor and an offset inside each
    curved function, and for a factor and an offset outside; and their first values."""
    starts: list[float] = []

    def parameter(value: float) -> Expr:
        starts.append(value)
        return Variable(f"#{len(starts) - 1}")

    def visit(node: Expr) -> Expr:
        match node:
            case Literal(value):
                return parameter(float(value))  # type: ignore[arg-type]
            case Call(name, (inner,)) if name in _CURVED:
                match inner:
                    case Call("mul", (Literal(a), rest)):
                        inner, factor = rest, float(a)  # type: ignore[arg-type]
                    case _:
                        factor = 1.0
                scaled = Call("mul", (parameter(factor), visit(inner)))
                if name == "exp":
                    # An offset inside is a factor outside.
                    return Call("mul", (parameter(1.0), Call(name, (scaled,))))
                return Call(name, (Call("add", (scaled, parameter(0.0))),))
            case Call(name, args):
                return Call(name, tuple(visit(arg) for arg in args))
        return node

    inner = visit(expr)
    outer = Call("add", (Call("mul", (parameter(1.0), inner)), parameter(0.0)))
    return outer, starts


def fitted(
    expr: Expr,
    columns: Mapping[str, np.ndarray],
    wanted: np.ndarray,
    starts: list[float],
    fixed: dict[int, float],
    steps: int = 30,
) -> tuple[np.ndarray, float]:
    """The parameters of least square error, those in `fixed` kept, and the error (root mean
    square); the Jacobian by differences."""
    params = np.array(starts, float)
    for i, value in fixed.items():
        params[i] = value
    free = [i for i in range(len(params)) if i not in fixed]

    def residual(at: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            result = evaluated(expr, columns, at) - wanted
        return np.broadcast_to(result, wanted.shape)

    def size_of(values: np.ndarray) -> float:
        largest = float(np.abs(values).max(initial=0.0))
        return float(values @ values) if largest < _HUGE else math.inf

    now = residual(params)
    loss, damping = size_of(now), 1e-3
    if not math.isfinite(loss):
        return params, math.inf
    for _ in range(steps if free else 0):
        jacobian = np.empty((len(wanted), len(free)))
        for column, i in enumerate(free):
            moved = params.copy()
            step = 1e-6 * max(1.0, abs(params[i]))
            moved[i] += step
            jacobian[:, column] = (residual(moved) - now) / step
        if not float(np.abs(jacobian).max(initial=0.0)) < _HUGE:
            break
        normal, gradient = jacobian.T @ jacobian, jacobian.T @ now
        scale = np.diag(np.maximum(np.diag(normal), 1e-12))
        improved = False
        for _ in range(8):
            change = np.linalg.lstsq(normal + damping * scale, gradient, rcond=None)[0]
            moved = params.copy()
            moved[free] -= change
            after = residual(moved)
            if size_of(after) < loss:
                improved = True
                break
            damping *= 6
        if not improved:
            break
        gain = loss - size_of(after)
        params, now, loss, damping = moved, after, size_of(after), max(damping / 10, 1e-12)
        if gain < 1e-10 * loss:
            break
    return params, math.sqrt(loss / len(wanted))


def roughly(
    expr: Expr, columns: Mapping[str, np.ndarray], wanted: np.ndarray, steps: int = 12
) -> float:
    """The root mean square error that a formula reaches with fitted constants."""
    loose, starts = loosened(expr)
    return fitted(loose, columns, wanted, starts, {}, steps)[1]


def cleaned(
    expr: Expr,
    columns: Mapping[str, np.ndarray],
    wanted: np.ndarray,
    tolerance: float,
    deadline: float,
) -> Fit:
    """The formula with fitted constants that are as short as the data allow."""
    loose, starts = loosened(expr)
    params, error = fitted(loose, columns, wanted, starts, {}, 60)
    allowed = max(1.05 * error, 0.05 * tolerance, 1e-12)
    fixed: dict[int, float] = {}
    for i in sorted(range(len(starts)), key=lambda i: (abs(params[i] - starts[i]), i)):
        for value in _short_values(float(params[i]), 0.3 * allowed):
            if time.monotonic() > deadline:
                break
            trial, size = fitted(loose, columns, wanted, list(params), {**fixed, i: value}, 5)
            if size <= allowed:
                params, fixed[i] = trial, value
                break
        fixed.setdefault(i, simplest(params[i] * (1 - 1e-4), params[i] * (1 + 1e-4)))
    result = simplified(_bound(loose, fixed))
    return Fit(result, *_off(result, columns, wanted))


def _off(expr: Expr, columns: Mapping[str, np.ndarray], wanted: np.ndarray) -> tuple[float, float]:
    with np.errstate(all="ignore"):
        off = np.broadcast_to(evaluated(expr, columns, np.zeros(0)), wanted.shape) - wanted
    if not np.isfinite(off).all():
        return math.inf, math.inf
    return float(np.sqrt((off * off).mean())), float(np.abs(off).max())


def _short_values(value: float, room: float) -> list[float]:
    """Numbers near a value, the ones that are shortest to write first; one is within `room`."""
    found = [0.0, 1.0, -1.0]
    if abs(value) > 1e-9:
        for share in (0.3, 0.1, 0.03, 0.01, 0.003, 0.001):
            room = share * abs(value)
            found.append(simplest(value - room, value + room))
            if share <= 0.01:
                found += [
                    named
                    for named in _NAMED
                    if abs(named - abs(value)) < room or abs(named + value) < room
                ]
        found += [simplest(value - r * abs(value), value + r * abs(value)) for r in (1e-4, 1e-5)]
    found.append(simplest(value - room, value + room))
    signed = [math.copysign(entry, value) if entry in _NAMED else entry for entry in found]
    return list(dict.fromkeys(signed))


_NAMED = tuple(
    sorted(
        {
            factor * base
            for factor, base in itertools.product(
                (0.25, 0.5, 1.0, 2.0, 1 / 3), (math.pi, math.e, math.sqrt(2), math.sqrt(3))
            )
        }
        | {p / q for p in range(1, 8) for q in (3, 6, 7)}
    )
)


def _bound(expr: Expr, values: Mapping[int, float]) -> Expr:
    match expr:
        case Variable(name) if name[0] == "#":
            return Literal(values[int(name[1:])])
        case Call(primitive, args):
            return Call(primitive, tuple(_bound(arg, values) for arg in args))
    return expr


def simplified(expr: Expr) -> Expr:
    """The formula without factors of one, terms of zero and literal arithmetic."""
    match expr:
        case Literal(value) if isinstance(value, float) and value == int(value):
            return Literal(int(value)) if abs(value) < 1e9 else expr
        case Call(name, args):
            parts = tuple(simplified(arg) for arg in args)
            return _simple(name, parts)
    return expr


def _simple(name: str, parts: tuple[Expr, ...]) -> Expr:
    if all(isinstance(part, Literal) for part in parts) and name in _OPERATIONS:
        with np.errstate(all="ignore"):
            value = float(evaluated(Call(name, parts), {}, np.zeros(0)))
        if math.isfinite(value):
            return simplified(Literal(value))
    match name, parts:
        case "mul", (Literal(a), b) | (b, Literal(a)) if a == 0:
            return Literal(0)
        case "mul", (Literal(a), b) | (b, Literal(a)) if a == 1:
            return b
        case "mul", (Literal(a), b) | (b, Literal(a)) if a == -1:
            return Call("neg", (b,))
        case "mul", (b, Literal(a)):
            return Call("mul", (Literal(a), b))
        case "mul", (Literal(a), Call("mul", (Literal(b), c))):
            return simplified(Call("mul", (Literal(float(a) * float(b)), c)))  # type: ignore[arg-type]
        case "mul", (Literal(a), Call("truediv", (b, c))):
            return _simple("truediv", (_simple("mul", (Literal(a), b)), c))
        case "add", (a, Literal(b)) if b == 0:
            return a
        case "add", (Literal(b), a) if b == 0:
            return a
        case "sub", (a, Literal(b)) if b == 0:
            return a
        case "add", (a, Literal(b)) if isinstance(b, (int, float)) and b < 0:
            return Call("sub", (a, Literal(-b)))
        case "add", (Literal(b), a) if isinstance(b, (int, float)) and b < 0:
            return Call("sub", (a, Literal(-b)))
        case "sub", (a, Literal(b)) if isinstance(b, (int, float)) and b < 0:
            return Call("add", (a, Literal(-b)))
        case "add", (a, Call("neg", (b,))):
            return Call("sub", (a, b))
        case (("add" | "sub"), (a, Call("mul", (Literal(b), c)))) if (
            isinstance(b, (int, float)) and b < 0
        ):
            return Call("sub" if name == "add" else "add", (a, _simple("mul", (Literal(-b), c))))
        case "add", (Call("neg", (a,)), b):
            return Call("sub", (b, a))
        case "truediv", (a, Literal(b)) if b == 1:
            return a
    return Call(name, parts)
