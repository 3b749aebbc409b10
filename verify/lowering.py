"""Networks, programs of tensor primitives, as nodes of a graph (see verify.graph).

Entries that only move stay views of the node that holds them.  What is linear in its variable
arguments becomes a matrix, found by running the primitive's own NumPy meaning on unit vectors;
the rest is written with functions of one variable and products.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsl.networks import bindings
from dsl.primitives.base import Undefined
from dsl.primitives.tensor import TENSOR
from dsl.program import Call, Constant, Expr, Literal, Program, Variable
from verify.forms import Untranslatable
from verify.graph import Builder, Matrix, matrix

_MOVING = frozenset({"reshape", "transpose", "expand", "slice"})
_LINEAR = frozenset(
    {"add", "sub", "mul", "div", "neg", "matmul", "linear", "conv", "einsum", "concat", "pad"}
    | {"sum", "mean", "cumsum", "avg_pool", "gather"}
)
_ADDENDS: Mapping[str, Callable[[int], bool]] = {
    "add": lambda place: True,
    "sub": lambda place: True,
    "concat": lambda place: True,
    "linear": lambda place: place == 2,
    "conv": lambda place: place == 2,
}
"""Which arguments are added to the rest, by their place."""


def _never(place: int) -> bool:
    return False


_FUNCTIONS = frozenset({"relu", "tanh", "sigmoid", "exp", "erf", "silu", "sin", "cos"})
_MOST_ENTRIES = 30_000_000
_FUNCTION_ROUNDINGS = 16


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """An array each of whose entries is an entry of a node: `places` (*shape) says which."""

    node: int
    places: np.ndarray


@dataclass
class Lowering:
    """A network on its way into a graph; `unit` is the rounding unit of its runtime."""

    builder: Builder
    unit: float
    values: dict[str, View | np.ndarray] = field(default_factory=dict)

    def value(self, expr: Expr, network: Program) -> View | np.ndarray:
        match expr:
            case Variable(name):
                return self.values[name]
            case Constant(name):
                return np.asarray(network.constant(name))
            case Literal(value):
                return np.asarray(value)
        raise Untranslatable(f"the argument {expr}")

    def flat(self, view: View) -> int:
        """A node that holds just the entries of the view, in order."""
        size = self.builder.nodes[view.node].size
        places = view.places.ravel()
        if len(places) == size and np.array_equal(places, np.arange(size)):
            return view.node
        if len(places) * size > _MOST_ENTRIES:
            from scipy.sparse import csr_array

            ones = np.ones(len(places))
            table = csr_array((ones, (np.arange(len(places)), places)), (len(places), size))
            return self.builder.affine(((view.node, Matrix(table)),), 0.0)
        table = np.zeros((len(places), size))
        table[np.arange(len(places)), places] = 1.0
        return self.builder.affine(((view.node, matrix(table)),), 0.0)

    def function(self, name: str, view: View, parameter: float = 0.0) -> View:
        noise = 0.0 if name == "relu" else _FUNCTION_ROUNDINGS * self.unit
        node = self.builder.function(name, self.flat(view), parameter=parameter, noise=noise)
        return _whole(node, view.places.shape)

    def affine(self, parts: tuple[tuple[View, float], ...], bias: float, noisy: bool) -> View:
        """The sum of views of one shape times numbers, plus a number."""
        terms = []
        size = parts[0][0].places.size
        for view, factor in parts:
            m = None if factor == 1.0 else matrix(factor * np.eye(size))
            terms.append((self.flat(view), m))
        unit = self.unit if noisy else 0.0
        node = self.builder.affine(tuple(terms), np.full(size, bias), unit=unit)
        return _whole(node, parts[0][0].places.shape)

    def maximum(self, a: View, b: View) -> View:
        gap = self.affine(((a, 1.0), (b, -1.0)), 0.0, False)
        return self.affine(((b, 1.0), (self.function("relu", gap), 1.0)), 0.0, False)

    def minimum(self, a: View, b: View) -> View:
        gap = self.affine(((a, 1.0), (b, -1.0)), 0.0, False)
        return self.affine(((a, 1.0), (self.function("relu", gap), -1.0)), 0.0, False)

    def product(self, a: View, b: View) -> View:
        a, b = _alike(a, b)
        node = self.builder.product(self.flat(a), self.flat(b), unit=self.unit)
        return _whole(node, a.places.shape)

    def constant(self, array: np.ndarray, shape: tuple[int, ...]) -> View:
        """A node without sources: a constant as a view (batch axis left out)."""
        full = np.broadcast_to(_rowless(array, len(shape)), shape).astype(np.float64)
        return _whole(self.builder.affine((), full.ravel()), shape)


def lowered(network: Program, source: View, builder: Builder, unit: float) -> View:
    """The network's result for the input `source`, as a view; raises Untranslatable."""
    state = Lowering(builder, unit)
    if len(network.inputs) != 1:
        raise Untranslatable(f"{len(network.inputs)} inputs")
    state.values[network.parameters[0]] = source
    for name, call in bindings(network):
        args = [state.value(arg, network) for arg in call.args]
        try:
            state.values[name] = _result(state, call, args)
        except Untranslatable:
            raise
        except (ValueError, IndexError, TypeError, Undefined) as error:
            raise Untranslatable(f"{call.primitive}: {error}") from None
    result = state.value(network.result, network)
    if not isinstance(result, View):
        raise Untranslatable("a constant result")
    return result


def monotone_source(network: Program) -> tuple[Program, bool]:
    """The network without a softmax at its end, and whether there was one: the order of the
    entries of the last axis is the same."""
    match network.result:
        case Variable(name):
            for bound, call in bindings(network):
                if bound != name or call.primitive not in ("softmax", "log_softmax"):
                    continue
                if call.option("axis", -1) == -1 and isinstance(call.args[0], Variable):
                    body = tuple(s for s in network.body if s.names != (name,))  # type: ignore[union-attr]
                    shorter = Program(
                        network.name, network.inputs, body, call.args[0], network.constants
                    )
                    return shorter, True
    return network, False


def _whole(node: int, shape: tuple[int, ...]) -> View:
    return View(node, np.arange(math.prod(shape)).reshape(shape))


def _rowless(array: np.ndarray, dimensions: int) -> np.ndarray:
    """A constant without the batch axis (of one entry) that it may have."""
    array = np.asarray(array)
    if array.ndim > dimensions:
        if array.shape[0] != 1:
            raise Untranslatable("a constant that differs between rows")
        return np.asarray(array[0])
    return array


def _alike(a: View, b: View) -> tuple[View, View]:
    """Both broadcast to one shape."""
    left, right = np.broadcast_arrays(a.places, b.places)
    return View(a.node, left), View(b.node, right)


def _pair(state: Lowering, args: list[View | np.ndarray]) -> tuple[View, View]:
    """Two arguments as views of one shape."""
    views = [arg for arg in args if isinstance(arg, View)]
    shape = np.broadcast_shapes(
        *(
            a.places.shape if isinstance(a, View) else _rowless(a, views[0].places.ndim).shape
            for a in args
        )
    )
    first, second = (a if isinstance(a, View) else state.constant(a, shape) for a in args)
    return _alike(first, second)


def _result(state: Lowering, call: Call, args: list[View | np.ndarray]) -> View | np.ndarray:
    options = dict(call.options)
    primitive = TENSOR[call.primitive]
    variables = [arg for arg in args if isinstance(arg, View)]
    if not variables:
        return np.asarray(primitive.numpy(*args, **options))
    name = call.primitive
    if name == "cast":
        return _cast(variables[0], options)
    if name in _MOVING and len(variables) == 1:
        moved = primitive.numpy(variables[0].places[None], **options)
        return View(variables[0].node, np.asarray(moved)[0])
    if name in _LINEAR and (len(variables) == 1 or name in ("add", "sub", "concat")):
        dividing = name == "div" and isinstance(args[1], View)
        if not dividing and not (name == "gather" and isinstance(args[1], View)):
            return _linear(state, call, args)
    if name in _FUNCTIONS:
        return state.function(name, variables[0])
    match name, args:
        case "mul", [View() as a, View() as b]:
            if a.node == b.node and np.array_equal(a.places, b.places):
                return state.function("power", a, 2.0)
            return state.product(a, b)
        case "div", [a, View() as b]:
            inverse = state.function("reciprocal", b)
            if not isinstance(a, View):
                a = state.constant(
                    a, np.broadcast_shapes(a.shape[-b.places.ndim :], b.places.shape)
                )
            return state.product(a, inverse)
        case "pow", [View() as a, np.ndarray() as exponent] if exponent.size == 1:
            return _power(state, a, float(exponent.ravel()[0]))
        case "abs", [View() as a]:
            negative = state.affine(((a, -1.0),), 0.0, False)
            parts = ((state.function("relu", a), 1.0), (state.function("relu", negative), 1.0))
            return state.affine(parts, 0.0, False)
        case "leaky_relu", [View() as a]:
            slope = float(options.get("slope", 0.01))  # its rounding is part of the noise
            parts = ((a, slope), (state.function("relu", a), 1.0 - slope))
            return state.affine(parts, 0.0, True)
        case "clip", [View() as a]:
            return _clip(state, a, options.get("low"), options.get("high"))
        case "softplus", [View() as a] if options.get("beta", 1.0) == 1.0:
            return state.function("softplus", a)
        case "gelu", [View() as a]:
            kind = "gelu_tanh" if options.get("approximate") == "tanh" else "gelu"
            return state.function(kind, a)
        case "maximum", _:
            return state.maximum(*_pair(state, args))
        case "minimum", _:
            return state.minimum(*_pair(state, args))
        case (("max" | "min"), [View() as a]):
            return _extreme(state, name, a, options)
        case "max_pool", [View() as a]:
            return _max_pool(state, a, options)
        case "softmax", [View() as a]:
            return _softmax(state, a, options.get("axis", -1))
        case "layer_norm", [View() as a, *scale]:
            return _layer_norm(state, a, scale, options)
        case "matmul", [View() as a, View() as b]:
            return _matmul(state, a, b)
    raise Untranslatable(f"the operation {name}")


def _cast(view: View, options: dict[str, Any]) -> View:
    if np.dtype(options.get("dtype", "float32")).name not in ("float32", "float64"):
        raise Untranslatable("a cast to integers or half precision")
    return view


def _linear(state: Lowering, call: Call, args: list[View | np.ndarray]) -> View:
    """An operation that is linear in its variable arguments, as matrices and a bias."""
    options = dict(call.options)
    primitive = TENSOR[call.primitive]
    added: Callable[[int], bool] = _ADDENDS.get(call.primitive, _never)

    def run(chosen: int | None, batch: np.ndarray | None, rows: int) -> np.ndarray:
        arguments = []
        for place, arg in enumerate(args):
            if isinstance(arg, View):
                full = batch if place == chosen else np.zeros((rows, *arg.places.shape))
                arguments.append(full)
            elif chosen is not None and added(place):
                arguments.append(np.zeros(arg.shape))
            else:
                arguments.append(arg.astype(np.float64) if arg.dtype.kind == "f" else arg)
        result = np.asarray(primitive.numpy(*arguments, **options), np.float64)
        return np.broadcast_to(result, (rows, *result.shape[1:]))

    zero = run(None, None, 1)[0]
    terms = []
    for place, arg in enumerate(args):
        if not isinstance(arg, View):
            continue
        size = state.builder.nodes[arg.node].size
        if size * zero.size > 40 * _MOST_ENTRIES:
            raise Untranslatable(f"a {call.primitive} of {size} by {zero.size} entries")
        terms.append((arg.node, _matrix(run, place, arg, size)))
    # What only moves entries does not round.
    exact = call.primitive in ("concat", "gather", "pad", "neg")
    node = state.builder.affine(tuple(terms), zero.ravel(), unit=0.0 if exact else state.unit)
    return _whole(node, zero.shape)


def _matrix(run: Callable[..., np.ndarray], place: int, view: View, size: int) -> Matrix:
    block = max(1, min(size, 20_000_000 // max(1, size + view.places.size)))
    parts: list[Any] = []
    for start in range(0, size, block):
        stop = min(start + block, size)
        units = np.zeros((stop - start, size))
        units[np.arange(stop - start), np.arange(start, stop)] = 1.0
        image = run(place, units[:, view.places], stop - start).reshape(stop - start, -1)
        if size * image.shape[1] > 2_000_000:
            from scipy.sparse import csr_array

            parts.append(csr_array(image))
        else:
            parts.append(np.array(image))
    if len(parts) == 1 and isinstance(parts[0], np.ndarray):
        return matrix(np.ascontiguousarray(parts[0].T))
    from scipy.sparse import csr_array, vstack

    stacked = csr_array(vstack([csr_array(part) for part in parts]))
    return Matrix(csr_array(stacked.T))


def _power(state: Lowering, a: View, exponent: float) -> View:
    if exponent == 1.0:
        return a
    if exponent.is_integer() and 2 <= exponent <= 16:
        return state.function("power", a, exponent)
    if exponent == -1.0:
        return state.function("reciprocal", a)
    raise Untranslatable(f"the power {exponent:g}")


def _clip(state: Lowering, a: View, low: float | None, high: float | None) -> View:
    """low + relu(x - low) - relu(x - high); the limits may be rounded, hence the noise."""
    parts: list[tuple[View, float]] = []
    bias = 0.0
    if low is None:
        parts.append((a, 1.0))
    else:
        bias = float(low)
        parts.append((state.function("relu", state.affine(((a, 1.0),), -bias, True)), 1.0))
    if high is not None:
        above = state.affine(((a, 1.0),), -float(high), True)
        parts.append((state.function("relu", above), -1.0))
    return state.affine(tuple(parts), bias, True)


def _extreme(state: Lowering, name: str, a: View, options: dict[str, Any]) -> View:
    axes = tuple(
        sorted(
            (axis if axis >= 0 else axis + a.places.ndim + 1) - 1
            for axis in options.get("axes", ())
        )
    )
    if not axes or min(axes) < 0:
        raise Untranslatable(f"{name} over the batch")
    combine = state.maximum if name == "max" else state.minimum
    places = np.moveaxis(a.places, axes, range(-len(axes), 0))
    places = places.reshape(*places.shape[: a.places.ndim - len(axes)], -1)
    result = _folded(combine, View(a.node, places))
    shape = result.places
    for axis in axes if options.get("keepdims") else ():
        shape = np.expand_dims(shape, axis)
    return View(result.node, shape)


def _folded(combine: Callable[[View, View], View], view: View) -> View:
    """The entries of the last axis combined in a tree."""
    while view.places.shape[-1] > 1:
        count = view.places.shape[-1]
        first = View(view.node, view.places[..., : count // 2])
        second = View(view.node, view.places[..., count // 2 : 2 * (count // 2)])
        merged = combine(first, second)
        if count % 2 == 0:
            view = merged
            continue
        rest = View(view.node, view.places[..., -1])
        if merged.places.shape[-1] == 1:
            last = combine(View(merged.node, merged.places[..., 0]), rest)
            return last
        head = combine(View(merged.node, merged.places[..., 0]), rest)
        tail = View(merged.node, merged.places[..., 1:])
        view = _side_by_side(combine, head, tail)
    return View(view.node, view.places[..., 0])


def _side_by_side(combine: Callable[[View, View], View], head: View, tail: View) -> View:
    """`head` combined into the first entry of the rest of `tail`."""
    first = combine(head, View(tail.node, tail.places[..., 0]))
    result = first
    for place in range(1, tail.places.shape[-1]):
        result = combine(result, View(tail.node, tail.places[..., place]))
    return View(result.node, result.places[..., None])


def _max_pool(state: Lowering, a: View, options: dict[str, Any]) -> View:
    from dsl.primitives.tensor.linear import windows

    if any(before or after for before, after in options.get("padding", ())):
        raise Untranslatable("max_pool with padding")
    kernel = options["kernel"]
    ones = (1,) * len(kernel)
    view = windows(
        a.places, kernel, options.get("stride") or kernel, options.get("dilation") or ones
    )
    places = view.reshape(*view.shape[: view.ndim - len(kernel)], -1)
    return _folded(state.maximum, View(a.node, places))


def _softmax(state: Lowering, a: View, axis: int) -> View:
    places = np.moveaxis(a.places, axis if axis < 0 else axis - 1, -1)
    powers = state.function("exp", View(a.node, places))
    count = places.shape[-1]
    node = state.builder.nodes[powers.node]
    rows = np.zeros((powers.places[..., 0].size, node.size))
    for row, entries in enumerate(powers.places.reshape(-1, count)):
        rows[row, entries] = 1.0
    total = state.builder.affine(((powers.node, matrix(rows)),), 0.0, unit=state.unit)
    inverse = state.function("reciprocal", _whole(total, (*places.shape[:-1], 1)))
    share = state.product(powers, inverse)
    return View(share.node, np.moveaxis(share.places, -1, axis if axis < 0 else axis - 1))


def _layer_norm(
    state: Lowering, a: View, scale: list[View | np.ndarray], options: dict[str, Any]
) -> View:
    axes = options.get("axes", 1)
    over = tuple(range(-axes, 0))
    middle: View = a
    if options.get("centred", True):
        mean = Call("mean", (), (("axes", over), ("keepdims", True)))
        centre = _linear(state, mean, [a])
        middle = _linear(state, Call("sub", ()), [a, centre])
    square = state.function("power", middle, 2.0)
    spread = _linear(state, Call("mean", (), (("axes", over), ("keepdims", True))), [square])
    epsilon = np.asarray(float(options.get("epsilon", 1e-5)))
    shifted = _linear(state, Call("add", ()), [spread, epsilon])
    inverse = state.function("reciprocal", state.function("sqrt", shifted))
    result: View = state.product(middle, inverse)
    for operation, array in zip(("mul", "add"), scale, strict=False):
        result = _linear(state, Call(operation, ()), [result, array])
    return result


def _matmul(state: Lowering, a: View, b: View) -> View:
    """A sum of products of two variable matrices."""
    left = a.places[..., :, :, None]
    right = b.places[..., None, :, :]
    shape = np.broadcast_shapes(left.shape, right.shape)
    if math.prod(shape) > 200_000:
        raise Untranslatable("a product of large variable matrices")
    terms = state.product(View(a.node, left), View(b.node, right))
    return _linear(state, Call("sum", (), (("axes", (-2,)),)), [terms])
