"""How far what a runtime computes may be from the real function of the stored weights.

Every value of a network is carried as a box of what real arithmetic gives and a bound of how far
the runtime is from it (running error analysis: Higham, Accuracy and Stability, section 3.3).  It
covers sums in any order, with or without fused multiplication, and elementary functions within
`ULPS` rounding units.  Where a value may overflow, or for an operation without a rule, there is no
bound: `Unbounded` is raised, and nothing may be concluded.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from dsl import types as t
from dsl.networks import bindings, shapes
from dsl.primitives.base import Undefined
from dsl.primitives.tensor import TENSOR, Box, point
from dsl.primitives.tensor.base import TensorPrimitive
from dsl.program import Call, Constant, Expr, Literal, Program, Variable

UNITS: Mapping[str, float] = {"float32": 2.0**-24, "float64": 2.0**-53}
_LARGEST: Mapping[str, float] = {"float32": 3.4e38, "float64": 1.7e308}
ULPS = 16
_TINY = 1e-36
"""More than what underflow can change in one operation of float32."""
_ROOM = 1.0 + 1e-9
"""Covers the float64 arithmetic of the bounds themselves."""


_NOTHING: Mapping[str, Box] = {}


class Unbounded(Exception):
    """No bound of the rounding is known; the message says of what."""


def precision(network: Program, dtype: str) -> str:
    """The narrowest floating point in which a network computes for inputs of a dtype: float32
    unless all is float64.  Raises Unbounded for half precision."""
    found = {dtype} if np.dtype(dtype).kind == "f" else set()
    found |= {
        value.dtype.name
        for _, value in network.constants
        if isinstance(value, np.ndarray) and value.dtype.kind not in "iubO"
    }
    for _, call in bindings(network):
        if call.primitive == "cast" and np.dtype(str(call.option("dtype", "float32"))).kind == "f":
            found.add(np.dtype(str(call.option("dtype", "float32"))).name)
    if narrow := found - set(UNITS):
        raise Unbounded(f"numbers of {sorted(narrow)[0]}")
    return "float64" if found == {"float64"} and dtype == "float64" else "float32"


def _whole_limit(network: Program, dtype: str) -> int:
    """The greatest magnitude that the narrowest integers of a network hold."""
    names = {dtype, *(v.dtype.name for _, v in network.constants if isinstance(v, np.ndarray))}
    names |= {str(c.option("dtype")) for _, c in bindings(network) if c.primitive == "cast"}
    limits = [np.iinfo(name).max for name in names if np.dtype(name).kind in "iu"]
    return int(min(2**53, *limits)) if limits else 2**53


@dataclass(frozen=True, slots=True, eq=False)
class Rounded:
    """Arrays whose real values lie in `box`, and from which the runtime's differ by at most
    `error` in each entry."""

    box: Box
    error: np.ndarray

    @property
    def size(self) -> np.ndarray:
        """The greatest magnitude of what the runtime may compute."""
        real = np.maximum(np.abs(self.box.low), np.abs(self.box.high))
        return np.asarray((real + self.error) * _ROOM)


@dataclass(frozen=True, slots=True)
class Setting:
    """`unit` is the rounding unit of the runtime; beyond `largest` it overflows, and integers wrap
    beyond `most`."""

    unit: float
    largest: float
    most: int = 2**53

    def gamma(self, terms: Any) -> Any:
        """The relative error of a sum of so many products, in any order; of several, each."""
        total = terms * self.unit
        if np.max(total, initial=0.0) >= 0.5:
            raise Unbounded("a sum too long for this precision")
        return total / (1.0 - total)


def rounded(
    network: Program,
    box: Box,
    dtype: str,
    *,
    exact_input: bool = False,
    known: Mapping[str, Box] = _NOTHING,
) -> Rounded:
    """The network's result on packed inputs in a box (B, ...): its real values, and how far the
    runtime may be from them.  Inputs that are not exact are rounded once.  `known` are boxes in
    which real values of some names lie as well.  Raises Unbounded."""
    if len(network.inputs) != 1 or not isinstance(network.result, Variable):
        raise Unbounded("a network of several inputs or results")
    name = precision(network, dtype)
    setting = Setting(UNITS[name], _LARGEST[name], _whole_limit(network, dtype))
    kinds = shapes(network, box.shape[1:])
    start = Rounded(box, np.zeros(box.shape))
    if not exact_input:
        start = Rounded(box, setting.unit * start.size)
    values: dict[str, Rounded] = {network.parameters[0]: start}
    constants = dict(network.constants)

    def stored(number: Any) -> Rounded:
        """A constant, which the runtime may hold in its own precision."""
        array = np.asarray(number)
        held = array.astype(name).astype(np.float64) if array.dtype.kind == "f" else array
        apart = np.abs(np.subtract(array, held, dtype=np.float64))
        return Rounded(point(array), np.where(array == held, 0.0, apart))

    def value(expr: Expr) -> Rounded:
        match expr:
            case Variable(key):
                return values[key]
            case Constant(key):
                return stored(constants[key])
            case Literal(number):
                return stored(number)
        raise Unbounded(f"the argument {expr}")

    with np.errstate(all="ignore"):
        for key, call in bindings(network):
            whole = not isinstance(kinds[key].item, t.Real)
            found = _applied(setting, call, [value(arg) for arg in call.args], whole)
            if key in known:
                found = Rounded(_both(found.box, known[key]), found.error)
            values[key] = found
    return values[network.result.name]


def _both(one: Box, other: Box) -> Box:
    """What lies in two boxes; the first where they have nothing in common."""
    low, high = np.maximum(one.low, other.low), np.minimum(one.high, other.high)
    apart = low > high
    return Box(np.where(apart, one.low, low), np.where(apart, one.high, high))


def exactly(value: Any) -> Rounded:
    array = np.asarray(value)
    return Rounded(point(array), np.zeros(array.shape))


def _applied(setting: Setting, call: Call, args: list[Rounded], whole: bool) -> Rounded:
    name, options = call.primitive, dict(call.options)
    primitive = TENSOR[name]
    try:
        box = primitive.bounds(*(arg.box for arg in args), **options)
        if whole and not any(arg.error.any() for arg in args):
            error = np.zeros(box.shape)  # integers and truth values are exact
        elif name in _RULES:
            error = _RULES[name](setting, primitive, args, options, box)
        else:
            raise Unbounded(f"the operation {name}")
    except Undefined as undefined:
        raise Unbounded(undefined.reason) from None
    result = Rounded(box, np.asarray(np.broadcast_to(error, box.shape)) * _ROOM)
    if whole and not (result.size <= setting.most).all():
        raise Unbounded(f"an integer that may wrap in {name}")
    if not (result.size <= setting.largest).all() and name not in ("softmax", "attention", "where"):
        raise Unbounded(f"an overflow in {name}")
    return result


Rule: TypeAlias = Callable[[Setting, TensorPrimitive, list[Rounded], dict[str, Any], Box], Any]


def _size(box: Box) -> np.ndarray:
    return np.maximum(np.abs(box.low), np.abs(box.high))


def _moved(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    """Entries change places, or the greatest of some is taken: errors go along."""
    if op.name == "gather":
        table, index = args
        if index.error.any() or (table.error.any() and not index.box.is_point):
            raise Unbounded("gather at places that are computed")
        if not table.error.any():
            return np.zeros(box.shape)
        return op.numpy(table.error, index.box.low.astype(np.int64), **options)
    if op.name == "pad":
        options = {**options, "value": 0.0}
    return op.numpy(*(arg.error for arg in args), **options)


def _largest_of(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    """The greatest or least of some entries differs by at most the greatest of their errors."""
    if op.name in ("maximum", "minimum"):
        return np.maximum(args[0].error, args[1].error)
    if op.name == "where":
        if args[0].error.any():
            raise Unbounded("a choice that depends on a computed number")
        return np.maximum(args[1].error, args[2].error)
    if op.name == "max_pool":
        return op.numpy(args[0].error, **options)
    return TENSOR["max"].numpy(args[0].error, **options)


def _products(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    """Sums of products: each factor's error times the other's size, and the rounding."""
    if op.name == "einsum" and len(args) > 2:
        return _several_products(setting, op, args, options)
    a, b, *bias = args
    if len(bias) > 1 or (op.name == "einsum" and len(args) != 2):
        raise Unbounded(f"the operation {op.name} of {len(args)} arrays")
    whole = op.numpy(a.size, b.size, **options)
    if not (whole <= setting.largest).all():
        raise Unbounded(f"an overflow in {op.name}")
    terms = _terms(op.name, a, b)
    error = op.numpy(a.error, b.size, **options) + op.numpy(a.size, b.error, **options)
    if bias:
        shape = (-1, *(1,) * (b.box.low.ndim - 2)) if op.name == "conv" else bias[0].error.shape
        error = error + bias[0].error.reshape(shape)
        whole = whole + bias[0].size.reshape(shape)
    return error + setting.gamma(terms + len(bias)) * whole + (terms + 1) * _TINY


def _several_products(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any]
) -> Any:
    """Sums of products of several arrays, two of which are multiplied and added up at a time, in
    any order: what their errors change, and the rounding of all terms in one chain."""
    sizes = [arg.size for arg in args]
    largest = [max(1.0, float(size.max(initial=0.0))) for size in sizes]
    axes, _, output = str(options["equation"]).replace(" ", "").partition("->")
    if "." in axes:
        raise Unbounded(f"the operation {op.name} of axes without a name")
    lengths = {
        axis: length
        for term, arg in zip(axes.split(","), args, strict=True)
        for axis, length in zip(term, arg.box.shape, strict=True)
    }
    terms = math.prod(length for axis, length in lengths.items() if axis not in output)
    if not terms * math.prod(largest) <= setting.largest:
        raise Unbounded(f"an overflow in {op.name}")
    whole = op.numpy(*sizes, **options)
    moved = whole - op.numpy(*(size - arg.error for size, arg in zip(sizes, args)), **options)
    tiny = (terms + 1) * len(args) * math.prod(largest) * _TINY
    return moved * _ROOM + (setting.gamma(terms + len(args)) + 1e-12) * whole + tiny


def _terms(name: str, a: Rounded, b: Rounded) -> Any:
    """How many products are added up, for each output or for any; those with an exact 0 of a
    matrix are 0, and adding them rounds nothing."""
    match name, b.box.shape:
        case "conv", shape:
            return math.prod(shape[1:])
        case "einsum", shape:
            return max(math.prod(a.box.shape[1:]), math.prod(shape))
        case "linear", (_, _):
            return np.count_nonzero(b.size, axis=1)
        case "matmul", (_, _):
            return np.count_nonzero(b.size, axis=0)
        case _:
            return a.box.shape[-1] if a.box.shape else 1


def _sums(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    (a,) = args
    whole = op.numpy(a.size, **options)
    terms = max(a.size.size // max(len(a.size), 1), 1)
    if not (terms * a.size <= setting.largest).all():
        raise Unbounded(f"an overflow in {op.name}")
    return op.numpy(a.error, **options) + setting.gamma(terms + 1) * whole + terms * _TINY


def _added(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    error = args[0].error + args[1].error
    return error + setting.unit * (_size(box) + error) + _TINY


def _multiplied(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    a, b = args
    error = a.error * b.size + b.error * a.size
    return error + 2 * setting.unit * (a.size * b.size) + _TINY


def _divided(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    a, b = args
    least = np.minimum(np.abs(b.box.low), np.abs(b.box.high)) - b.error
    if ((b.box.low <= 0) & (b.box.high >= 0)).any() or not (least > 0).all():
        raise Unbounded("a division by what may be 0")
    error = (a.error + _size(box) * b.error) / least
    return error + 3 * setting.unit * (_size(box) + error) + _TINY


def _powers(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    a, b = args
    exponent = float(b.box.low.ravel()[0]) if b.box.low.size == 1 and b.box.is_point else 0.0
    if not exponent.is_integer() or not 1 <= exponent <= 16:
        raise Unbounded("a power that is no small whole number")
    whole = a.size**exponent
    error = exponent * a.size ** (exponent - 1) * a.error
    return error + (exponent + ULPS) * setting.unit * whole + _TINY


def _steepness(most: float) -> Rule:
    """A function of one variable whose slope is at most `most`."""

    def rule(
        setting: Setting,
        op: TensorPrimitive,
        args: list[Rounded],
        options: dict[str, Any],
        box: Box,
    ) -> Any:
        a = args[0]
        size = _size(box) + (a.size if op.name in ("gelu", "silu", "softplus") else 0.0)
        return most * a.error + ULPS * setting.unit * (size + a.error) + _TINY

    return rule


def _unrounded(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    """Slope at most 1, and no rounding of its own but of limits that are no float32 numbers."""
    limits = [abs(float(v)) for v in (options.get("low"), options.get("high")) if v is not None]
    return args[0].error + setting.unit * max(limits, default=0.0)


def _leaky(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    slope = abs(float(options.get("slope", 0.01)))
    return max(1.0, slope) * args[0].error + 3 * setting.unit * max(1.0, slope) * args[0].size


def _exponential(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    return _size(box) * (np.expm1(args[0].error) + ULPS * setting.unit) * _ROOM + _TINY


def _root(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    least = args[0].box.low - args[0].error
    if not (least > 0).all():
        raise Unbounded("a root of what may be 0")
    return args[0].error / (2 * np.sqrt(least)) + 2 * setting.unit * _size(box)


def _shares(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    """Softmax: by how much a weight can change when all scores do, relatively, or by where the
    scores of the runtime lie, whichever is less."""
    (a,) = args
    axis = int(options.get("axis", -1))
    hidden = a.box.high == -np.inf
    own = setting.gamma(a.box.shape[axis] + 2 * ULPS)
    # The runtime subtracts the greatest score first, and rounds the difference.
    leading = np.maximum(
        np.abs(a.box.high.max(axis, keepdims=True)), np.abs(a.box.low.max(axis, keepdims=True))
    )
    off = a.error + 2 * setting.unit * (a.size + leading + a.error.max(axis, keepdims=True))
    off = np.where(hidden, 0.0, off)
    relative = np.expm1(2 * off.max(axis=axis, keepdims=True)) + own
    wide = op.bounds(Box(a.box.low - off, a.box.high + off), **options)
    apart = np.maximum(wide.high * (1 + own) - box.low, box.high - wide.low * (1 - own))
    return np.fmin(box.high * relative, apart) + _TINY


def _normalised(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    """Layer normalisation, as the operations that it is made of."""
    axes = int(options.get("axes", 1))
    over = (("axes", tuple(range(-axes, 0))), ("keepdims", True))

    def call(name: str, *parts: Rounded, **more: Any) -> Rounded:
        return _applied(setting, Call(name, (), tuple(more.items())), list(parts), False)

    middle, *scale = args
    if options.get("centred", True):
        mean = call("mean", middle, **dict(over))
        middle = call("sub", middle, mean)
    square = call("pow", middle, exactly(2.0))
    spread = call("mean", square, **dict(over))
    low = np.maximum(spread.box.low, 0.0) + float(options.get("epsilon", 1e-5)) * (1 - 1e-6)
    high = spread.box.high + float(options.get("epsilon", 1e-5)) * (1 + 1e-6)
    shifted = Rounded(Box(low, high), spread.error + 3 * setting.unit * (high + spread.error))
    result = call("div", middle, call("sqrt", shifted))
    for name, array in zip(("mul", "add"), scale, strict=False):
        result = call(name, result, array)
    return result.error


def _attended(
    setting: Setting, op: TensorPrimitive, args: list[Rounded], options: dict[str, Any], box: Box
) -> Any:
    """Attention, as the operations that it is made of."""

    def call(name: str, *parts: Rounded, **more: Any) -> Rounded:
        return _applied(setting, Call(name, (), tuple(more.items())), list(parts), False)

    query, key, value, *hidden = args
    scale = options.get("scale")
    factor = 1 / math.sqrt(query.box.shape[-1]) if scale is None else float(scale)
    turned = Rounded(
        Box(np.swapaxes(key.box.low, -1, -2), np.swapaxes(key.box.high, -1, -2)),
        np.swapaxes(key.error, -1, -2),
    )
    scores = call("mul", call("matmul", query, turned), exactly(factor))
    low, high, error = scores.box.low, scores.box.high, scores.error
    if options.get("causal"):
        seen = np.tri(*scores.box.shape[-2:], dtype=np.bool_)
        low, high = np.where(seen, low, -np.inf), np.where(seen, high, -np.inf)
        error = np.where(seen, error, 0.0)
    if hidden and options.get("mask") == "bool":
        if hidden[0].error.any() or not hidden[0].box.is_point:
            raise Unbounded("a mask that is computed")
        kept = hidden[0].box.low != 0
        low, high = np.where(kept, low, -np.inf), np.where(kept, high, -np.inf)
        error = np.where(kept, error, 0.0)
    elif hidden:
        summed = TENSOR["add"].bounds(Box(low, high), hidden[0].box)
        low, high = summed.low, summed.high
        rounding = 2 * setting.unit * np.where(np.isfinite(low), _size(summed), 0.0)
        error = error + hidden[0].error + rounding
    weights = call("softmax", Rounded(Box(low, high), error), axis=-1)
    return call("matmul", weights, value).error


_RULES: Mapping[str, Rule] = {
    **dict.fromkeys(("reshape", "transpose", "expand", "slice", "concat", "pad", "gather"), _moved),
    **dict.fromkeys(("max", "min", "maximum", "minimum", "max_pool", "where"), _largest_of),
    **dict.fromkeys(("matmul", "linear", "conv", "einsum"), _products),
    **dict.fromkeys(("sum", "mean", "cumsum", "avg_pool"), _sums),
    **dict.fromkeys(("add", "sub"), _added),
    **dict.fromkeys(("neg", "abs", "relu", "clip"), _unrounded),
    **dict.fromkeys(("tanh", "sigmoid", "sin", "cos", "softplus"), _steepness(1.0)),
    **dict.fromkeys(("gelu", "silu", "erf"), _steepness(1.2)),
    "mul": _multiplied,
    "div": _divided,
    "pow": _powers,
    "leaky_relu": _leaky,
    "exp": _exponential,
    "sqrt": _root,
    "softmax": _shares,
    "layer_norm": _normalised,
    "attention": _attended,
    "cast": lambda setting, op, args, options, box: _cast(setting, args[0], options),
}


def _cast(setting: Setting, a: Rounded, options: dict[str, Any]) -> Any:
    if np.dtype(str(options.get("dtype", "float32"))).kind != "f":
        raise Unbounded("a computed number cast to an integer")
    return a.error + setting.unit * a.size


def refuse_overflow(network: Program, box: Box, dtype: str) -> None:
    """Raises Unbounded where a value of the network, or a partial sum, may overflow on packed
    inputs in a box, or where that cannot be told: then the runtime is not near real arithmetic."""
    name = precision(network, dtype)
    setting = Setting(UNITS[name], 0.9 * _LARGEST[name], _whole_limit(network, dtype))
    kinds = shapes(network, box.shape[1:])
    constants: dict[Any, Box] = {Constant(key): point(value) for key, value in network.constants}
    values: dict[Any, Box] = {**constants, Variable(network.parameters[0]): box}
    with np.errstate(all="ignore"):
        for key, call in bindings(network):
            args = [
                point(arg.value) if isinstance(arg, Literal) else values[arg] for arg in call.args
            ]
            primitive, options = TENSOR[call.primitive], dict(call.options)
            try:
                found = primitive.bounds(*args, **options)
            except Undefined as undefined:
                raise Unbounded(undefined.reason) from None
            values[Variable(key)] = found
            if call.primitive in ("softmax", "attention", "where"):
                continue  # masks are infinite, and weights are at most 1
            parts = [_size(found), *_partial(call.primitive, args, options)]
            whole = not isinstance(kinds[key].item, t.Real)
            limit = float(setting.most) if whole else setting.largest
            if not all((part <= limit).all() for part in parts):
                raise Unbounded(f"an overflow in {call.primitive}")


def _partial(name: str, args: list[Box], options: dict[str, Any]) -> list[np.ndarray]:
    """The greatest sizes of what is added up or squared on the way to a result."""
    sizes = [_size(arg) for arg in args]
    match name:
        case "matmul" | "linear" | "conv":
            return [np.asarray(TENSOR[name].numpy(*sizes, **options))]
        case "einsum" if len(args) == 2:
            return [np.asarray(TENSOR[name].numpy(*sizes, **options))]
        case "sum" | "mean" | "cumsum" | "avg_pool":
            return [sizes[0] * max(sizes[0][:1].size, 1)]
        case "layer_norm":
            return [4 * sizes[0] ** 2 * sizes[0].shape[-1]]
    return []
