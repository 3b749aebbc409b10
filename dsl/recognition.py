"""Passes that recognise layers: matrix products, normalisation, attention, however written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from dsl.networks import bindings
from dsl.primitives.tensor.linear import first_two
from dsl.program import Assign, Call, Constant, Expr, Program, Variable
from dsl.rewriting import (
    Shapes,
    calls_of,
    fresh,
    inserted,
    made_by,
    rewritten,
    uses,
    with_constants,
)


def with_pairs_of_factors(network: Program, shapes: Shapes) -> Program:
    """Einstein's sums over more than two arrays, two at a time from the left."""
    for name, call in bindings(network):
        if call.primitive != "einsum" or len(call.args) < 3:
            continue
        first, then = first_two(str(call.option("equation")))
        label = fresh(network, f"{name}.factors")
        inner = Call("einsum", call.args[:2], (("equation", first),))
        outer = Call("einsum", (Variable(label), *call.args[2:]), (("equation", then),))
        return rewritten(inserted(network, name, label, inner), {name: outer})
    return network


def with_matrix_products(network: Program, shapes: Shapes) -> Program:
    """Einstein's sums as `linear` or `matmul`, with transpositions and reshapes around them."""
    constants = dict(network.constants)
    body: list[Assign] = []
    new: dict[str, np.ndarray] = {}
    for name, call in bindings(network):
        chain = _Chain(name)
        if call.primitive == "einsum" and len(call.args) == 2:
            terms, _, output = str(call.option("equation")).partition("->")
            left, right = terms.split(",")
            match call.args:
                case Variable() as x, Constant(weight):
                    found = _by_constant(chain, left, right, output, x, shapes, constants[weight])
                case Constant(weight), Variable() as x:
                    found = _by_constant(chain, right, left, output, x, shapes, constants[weight])
                case x, y:
                    weight, found = "", _of_variables(chain, left, right, output, x, y)
            if found is not None and found.size:
                label = next(key for key in _labels(weight) if key not in new)
                chain.named("", label)
                new[label] = found
        body += chain.finished() or [Assign((name,), (call,))]
    if len(body) == len(network.body) and not new:
        return network
    return replace(with_constants(network, new), body=tuple(body))


def _labels(weight: str) -> Iterator[str]:
    """Names for a weight that is written as a matrix."""
    yield f"{weight}.matrix"
    for count in itertools.count(1):
        yield f"{weight}.matrix.{count}"


class _Chain:
    """Calls one after the other; the last gets the name that the value had."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.calls: list[Call] = []

    def add(self, primitive: str, *args: Expr, **options: Any) -> Variable:
        self.calls.append(Call(primitive, args, tuple(sorted(options.items()))))
        return Variable(f"{self.name}.{len(self.calls)}")

    def named(self, old: str, new: str) -> None:
        """Gives a constant its name."""
        for place, call in enumerate(self.calls):
            args = tuple(Constant(new) if arg == Constant(old) else arg for arg in call.args)
            self.calls[place] = Call(call.primitive, args, call.options)

    def finished(self) -> list[Assign]:
        last = len(self.calls)
        names = [self.name if i == last else f"{self.name}.{i}" for i in range(1, last + 1)]
        return [Assign((name,), (call,)) for name, call in zip(names, self.calls)]

    def transposed(self, x: Expr, axes: tuple[int, ...]) -> Expr:
        if axes == tuple(range(len(axes))):
            return x
        return self.add("transpose", x, axes=axes)


def _by_constant(
    chain: _Chain, term: str, other: str, output: str, x: Variable, shapes: Shapes, weight: Any
) -> np.ndarray | None:
    """A product with a constant whose letters are summed or new: a linear map by the matrix that
    is returned."""
    summed = [c for c in term if c not in output]
    kept = [c for c in term if c in output]
    made = [c for c in output if c not in term]
    if set(other) != {*summed, *made} or term[:1] != output[:1] or not summed:
        return None
    sizes = dict(zip(other, weight.shape)) | dict(zip(term, shapes[x.name].shape))
    inner = math.prod(sizes[c] for c in summed)
    order = [other.index(c) for c in (*made, *summed)]
    matrix = np.ascontiguousarray(weight.transpose(order).reshape(-1, inner))
    y = chain.transposed(x, tuple(term.index(c) for c in (*kept, *summed)))
    rest = tuple(sizes[c] for c in kept[1:])
    if len(summed) > 1:
        y = chain.add("reshape", y, shape=(-1, *rest, inner))
    y = chain.add("linear", y, Constant(""))
    if len(made) != 1:
        y = chain.add("reshape", y, shape=(-1, *rest, *(sizes[c] for c in made)))
    chain.transposed(y, tuple([*kept, *made].index(c) for c in output))
    return matrix


def _of_variables(
    chain: _Chain, left: str, right: str, output: str, x: Expr, y: Expr
) -> np.ndarray | None:
    """A product of two computed arrays: stacks of matrices."""
    stack = [c for c in output if c in left and c in right]
    summed = [c for c in left if c in right and c not in output]
    rows = [c for c in left if c not in right]
    columns = [c for c in right if c not in left]
    if not (len(summed) == len(rows) == len(columns) == 1) or stack[:1] != [output[0]]:
        return None
    if set(output) != {*stack, *rows, *columns}:
        return None
    first = chain.transposed(x, tuple(left.index(c) for c in (*stack, *rows, *summed)))
    second = chain.transposed(y, tuple(right.index(c) for c in (*stack, *summed, *columns)))
    product = chain.add("matmul", first, second)
    made = [*stack, *rows, *columns]
    chain.transposed(product, tuple(made.index(c) for c in output))
    return None


def with_layer_norms(network: Program, shapes: Shapes) -> Program:
    """`layer_norm` for an array less its mean over the root of its variance."""
    calls, constants = calls_of(network), dict(network.constants)
    for name, call in bindings(network):
        if call.primitive != "div" or not isinstance(call.args[0], Variable):
            continue
        root = made_by(call.args[1], calls, "sqrt")
        shifted = None if root is None else made_by(root.args[0], calls, "add")
        if shifted is None or not isinstance(shifted.args[1], Constant):
            continue
        epsilon = np.asarray(constants[shifted.args[1].name])
        mean = made_by(shifted.args[0], calls, "mean")
        middle = call.args[0]
        if (
            mean is None
            or epsilon.size != 1
            or not _is_square(mean.args[0], middle, calls, constants)
        ):
            continue
        rank = shapes[name].ndim
        axes = tuple(sorted(axis % rank for axis in mean.option("axes")))
        if not mean.option("keepdims") or axes != tuple(range(rank - len(axes), rank)):
            continue
        options: dict[str, Any] = {"axes": len(axes), "epsilon": float(epsilon.reshape(()))}
        inner = made_by(middle, calls, "sub")
        source: Expr = middle
        if inner is not None and _is_mean(inner.args[1], inner.args[0], axes, rank, calls):
            source = inner.args[0]
        else:
            options["centred"] = False
        made = Call("layer_norm", (source,), tuple(sorted(options.items())))
        return rewritten(network, {name: made})
    return network


def _is_mean(
    expr: Expr, of: Expr, axes: tuple[int, ...], rank: int, calls: Mapping[str, Call]
) -> bool:
    mean = made_by(expr, calls, "mean")
    return (
        mean is not None
        and mean.args[0] == of
        and bool(mean.option("keepdims"))
        and tuple(sorted(axis % rank for axis in mean.option("axes"))) == axes
    )


def _is_square(
    expr: Expr, of: Expr, calls: Mapping[str, Call], constants: Mapping[str, Any]
) -> bool:
    product = made_by(expr, calls, "mul")
    if product is not None:
        return product.args == (of, of)
    power = made_by(expr, calls, "pow")
    if power is None or power.args[0] != of or not isinstance(power.args[1], Constant):
        return False
    return bool((np.asarray(constants[power.args[1].name]) == 2).all())


def with_attention(network: Program, shapes: Shapes) -> Program:
    """`attention` for `softmax(scale * query @ key.T + mask) @ value`, however it is written."""
    calls, counts, constants = calls_of(network), uses(network), dict(network.constants)
    for name, call in bindings(network):
        if call.primitive != "matmul" or not isinstance(call.args[0], Variable):
            continue
        weights = made_by(call.args[0], calls, "softmax")
        if weights is None or counts[call.args[0].name] != 1:
            continue
        if weights.option("axis") not in (-1, shapes[call.args[0].name].ndim - 1):
            continue
        found = _scores(weights.args[0], calls, counts, constants, shapes)
        if found is None:
            continue
        query, turned, scale, masks = found
        if len(masks) > 1:
            continue
        key = _turned_back(turned, calls)
        if key is None:
            continue
        options: list[tuple[str, Any]] = [("scale", scale)]
        new: dict[str, np.ndarray] = {}
        args: tuple[Expr, ...] = (query, key, call.args[1])
        for kind, mask in masks:
            label = fresh(network, f"{name}.mask")
            if kind == "bool" and _is_causal(mask, shapes[call.args[0].name].shape):
                options.append(("causal", True))
                continue
            new[label] = mask
            args = (*args, Constant(label))
            if kind == "bool":
                options.append(("mask", "bool"))
        if isinstance(key, Call):
            label = fresh(network, f"{name}.key")
            args = (query, Variable(label), *args[2:])
            network = inserted(network, name, label, key)
        made = Call("attention", args, tuple(sorted(options)))
        return rewritten(with_constants(network, new), {name: made})
    return network


def _is_causal(mask: np.ndarray, scores: tuple[int, ...]) -> bool:
    seen = np.tri(*scores[-2:], dtype=np.bool_)
    return bool((np.broadcast_to(mask, np.broadcast_shapes(mask.shape, seen.shape)) == seen).all())


_Scores: TypeAlias = tuple[Expr, Expr, float, list[tuple[str, np.ndarray]]]


def _scores(
    expr: Expr,
    calls: Mapping[str, Call],
    counts: Mapping[str, int],
    constants: Mapping[str, Any],
    shapes: Shapes,
) -> _Scores | None:
    """Query, turned key, scale and masks of attention scores."""
    scale = 1.0
    masks: list[tuple[str, np.ndarray]] = []
    while isinstance(expr, Variable) and expr.name in calls and counts[expr.name] == 1:
        call = calls[expr.name]
        match call.primitive, call.args:
            case "matmul", (query, turned):
                return query, turned, scale, masks
            case "mul" | "div", (x, Constant(factor)) if np.size(constants[factor]) == 1:
                number = float(np.reshape(constants[factor], -1)[0])
                scale *= number if call.primitive == "mul" else 1 / number
            case "add", (x, Constant(mask)) if not masks:
                masks.append(("add", np.asarray(constants[mask]) * np.float32(1.0)))
                if scale != 1.0:
                    return None  # a mask under a factor is another mask
            case "where", (Constant(seen), x, Constant(low)) if _hides(constants[low]):
                masks.append(("bool", np.asarray(constants[seen])))
            case "where", (Constant(hidden), Constant(low), x) if _hides(constants[low]):
                masks.append(("bool", ~np.asarray(constants[hidden])))
            case _:
                return None
        expr = x
    return None


def _hides(value: Any) -> bool:
    """Is this so low that the softmax gives it exactly nothing beside any real score?"""
    return bool((np.asarray(value) <= -1e4).all())


def _turned_back(expr: Expr, calls: Mapping[str, Call]) -> Expr | None:
    """A key whose last two axes are exchanged; where a transposition did that and more, a
    transposition is left."""
    call = made_by(expr, calls, "transpose")
    if call is None:
        return None
    axes = tuple(call.option("axes"))
    plain = (*axes[:-2], axes[-1], axes[-2])
    if plain == tuple(range(len(axes))):
        return call.args[0]
    return Call("transpose", call.args, (("axes", plain),))
