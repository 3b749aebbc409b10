"""Canonical passes: from a network to an equal, plainer one.

Each is named for its result and changes nothing but what it says.  Some are exact; those that
merge products change the last bits, and `canonical` records by how much on given inputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl.networks import bindings, outputs, results, trace
from dsl.primitives.tensor import TENSOR
from dsl.program import Assign, Call, Constant, Expr, Program, Variable
from dsl.recognition import (
    with_attention,
    with_layer_norms,
    with_matrix_products,
    with_pairs_of_factors,
)
from dsl.rewriting import Pass, Shapes, calls_of, fresh, made_by, rewritten, uses, with_constants


@dataclass(frozen=True, slots=True)
class Applied:
    """A pass that changed something: operations before and after, and the largest difference of
    any output entry on the rows it was measured on."""

    name: str
    before: int
    after: int
    difference: float


def canonical(
    network: Program, *packed: np.ndarray, passes: Sequence[tuple[str, Pass]] | None = None
) -> tuple[Program, tuple[Applied, ...]]:
    """The network after all passes, or those given, again and again until none changes it, and what
    each did."""
    record: list[Applied] = []
    current = network
    for _ in range(len(network.body) + 1):
        before = current
        for name, function in PASSES if passes is None else passes:
            shapes = trace(current, *packed)
            changed = without_dead_code(function(current, shapes), shapes)
            if changed.body == current.body and changed.result == current.result:
                continue
            effect = largest_difference(current, changed, *packed)
            record.append(Applied(name, len(current.body), len(changed.body), effect))
            current = changed
        if before is current:
            break
    return current, tuple(record)


def largest_difference(one: Program, other: Program, *packed: np.ndarray) -> float:
    """The largest difference between entries of the outputs of two networks."""
    worst = 0.0
    for a, b in zip(outputs(one, *packed), outputs(other, *packed), strict=True):
        if a.shape != b.shape:
            return float("inf")
        apart = np.abs(a.astype(np.float64) - b.astype(np.float64))
        worst = max(worst, float(apart.max(initial=0.0)))
    return worst


def without_dead_code(network: Program, shapes: Shapes) -> Program:
    """Only what the result needs."""
    needed = {item.name for item in results(network)}
    kept: list[Assign] = []
    for name, call in reversed(list(bindings(network))):
        if name in needed:
            kept.append(Assign((name,), (call,)))
            needed |= {arg.name for arg in call.args if isinstance(arg, (Variable, Constant))}
    constants = tuple((name, value) for name, value in network.constants if name in needed)
    return replace(network, body=tuple(reversed(kept)), constants=constants)


def with_folded_constants(network: Program, shapes: Shapes) -> Program:
    """No operation on constants alone."""
    constants = dict(network.constants)
    replaced: dict[str, Call | Variable | Constant] = {}
    new: dict[str, np.ndarray] = {}
    for name, call in bindings(network):
        if call.args and all(isinstance(arg, Constant) for arg in call.args):
            arrays = [constants[arg.name] for arg in call.args if isinstance(arg, Constant)]
            label = fresh(network, f"{name}.folded")
            new[label] = np.asarray(TENSOR[call.primitive].numpy(*arrays, **dict(call.options)))
            replaced[name] = Constant(label)
    return rewritten(with_constants(network, new), replaced) if replaced else network


def without_no_ops(network: Program, shapes: Shapes) -> Program:
    """No operation that gives its argument back."""
    replaced: dict[str, Call | Variable | Constant] = {}
    constants = dict(network.constants)
    for name, call in bindings(network):
        if not call.args or not isinstance(call.args[0], Variable):
            continue
        x, value = shapes[call.args[0].name], shapes[name]
        if x.shape != value.shape or x.dtype != value.dtype:
            continue
        if _gives_back(call, constants):
            replaced[name] = call.args[0]
    return rewritten(network, replaced) if replaced else network


def _gives_back(call: Call, constants: Mapping[str, Any]) -> bool:
    """Does a call whose result has the shape and dtype of its argument change nothing?"""
    options = dict(call.options)
    match call.primitive:
        case "reshape" | "expand" | "cast":
            return True
        case "transpose":
            return tuple(options["axes"]) == tuple(range(len(options["axes"])))
        case "slice":
            return int(options.get("step", 1)) == 1
        case "concat":
            return len(call.args) == 1
        case "clip":
            return options.get("low") is None and options.get("high") is None
        case "mul" | "div" | "add" | "sub" if isinstance(call.args[1], Constant):
            neutral = 1 if call.primitive in ("mul", "div") else 0
            return bool((np.asarray(constants[call.args[1].name]) == neutral).all())
    return False


def with_joined_moves(network: Program, shapes: Shapes) -> Program:
    """One reshape for several in a row, one transposition for two."""
    calls = calls_of(network)
    replaced: dict[str, Call | Variable | Constant] = {}
    for name, call in bindings(network):
        if call.primitive not in ("reshape", "transpose"):
            continue
        inner = made_by(call.args[0], calls, call.primitive)
        if inner is None:
            continue
        if call.primitive == "reshape":
            replaced[name] = Call("reshape", inner.args, call.options)
        else:
            first, second = inner.option("axes"), call.option("axes")
            axes = tuple(first[axis] for axis in second)
            replaced[name] = Call("transpose", inner.args, (("axes", axes),))
    return rewritten(network, replaced) if replaced else network


def with_linear_products(network: Program, shapes: Shapes) -> Program:
    """`linear` for every product with a constant matrix, with what is added to it as its bias."""
    calls, counts, constants = calls_of(network), uses(network), dict(network.constants)
    replaced: dict[str, Call | Variable | Constant] = {}
    new: dict[str, np.ndarray] = {}
    for name, call in bindings(network):
        match call.primitive, call.args:
            case "matmul", (Variable(), Constant(weight)) if constants[weight].ndim == 2:
                label = fresh(network, f"{weight}.T")
                new[label] = np.ascontiguousarray(constants[weight].T)
                replaced[name] = Call("linear", (call.args[0], Constant(label)))
            case "add", (Variable() as x, Constant() as bias) | (
                Constant() as bias,
                Variable() as x,
            ):
                inner = made_by(x, calls, "linear")
                if inner is None or len(inner.args) != 2 or counts[x.name] != 1:
                    continue
                shape, width = np.shape(constants[bias.name]), shapes[name].shape[-1:]
                same = shapes[name].shape == shapes[x.name].shape
                if not same or shape[-1:] != width or int(np.prod(shape)) != width[0]:
                    continue
                label = bias.name
                if len(shape) != 1:
                    label = fresh(network, f"{bias.name}.flat")
                    new[label] = np.reshape(constants[bias.name], -1)
                replaced[name] = Call("linear", (*inner.args, Constant(label)))
    return rewritten(with_constants(network, new), replaced) if replaced else network


def with_merged_affine_maps(network: Program, shapes: Shapes) -> Program:
    """One linear map for two in a row, where that takes no more weights; an embedding whose rows
    are the images of the rows of another."""
    calls, counts, constants = calls_of(network), uses(network), dict(network.constants)
    for name, call in bindings(network):
        if call.primitive != "linear" or not isinstance(call.args[1], Constant):
            continue
        x, weight = call.args[0], constants[call.args[1].name]
        bias = _constant(call, 2, constants)
        if not isinstance(x, Variable) or counts[x.name] != 1 or (bias is False):
            continue
        wide = weight.astype(np.float64)
        table = made_by(x, calls, "gather")
        if table is not None and _is_embedding(table, constants):
            rows = constants[_name(table.args[0])]
            image = rows.astype(np.float64) @ wide.T + (0.0 if bias is None else bias)
            if image.size > rows.size + weight.size:
                continue
            label = fresh(network, f"{_name(table.args[0])}.{_name(call.args[1])}")
            new = {label: image.astype(rows.dtype)}
            call = Call("gather", (Constant(label), table.args[1]), table.options)
            return rewritten(with_constants(network, new), {name: call})
        inner = made_by(x, calls, "linear")
        if inner is None or not isinstance(inner.args[1], Constant):
            continue
        first, first_bias = constants[inner.args[1].name], _constant(inner, 2, constants)
        if first_bias is False or first.shape[1] * weight.shape[0] > first.size + weight.size:
            continue
        label = fresh(network, f"{_name(inner.args[1])}.{_name(call.args[1])}")
        new = {label: (wide @ first.astype(np.float64)).astype(weight.dtype)}
        args: tuple[Expr, ...] = (inner.args[0], Constant(label))
        if bias is not None or first_bias is not None:
            total = np.zeros(len(weight)) if bias is None else bias.astype(np.float64)
            if first_bias is not None:
                total = total + wide @ first_bias.astype(np.float64)
            new[f"{label}.bias"] = total.astype(weight.dtype)
            args = (*args, Constant(f"{label}.bias"))
        return rewritten(with_constants(network, new), {name: Call("linear", args)})
    return network


def _name(expr: Expr) -> str:
    assert isinstance(expr, Constant)
    return expr.name


def _constant(call: Call, place: int, constants: Mapping[str, Any]) -> Any:
    """A constant argument; None if there is none, False if it is computed."""
    if len(call.args) <= place:
        return None
    arg = call.args[place]
    return constants[arg.name] if isinstance(arg, Constant) else False


def _is_embedding(call: Call, constants: Mapping[str, Any]) -> bool:
    table, index = call.args
    is_rows = call.option("axis", 0) == 0 and not call.option("along", False)
    return (
        is_rows
        and isinstance(table, Constant)
        and isinstance(index, Variable)
        and constants[table.name].ndim == 2
    )


def with_embeddings(network: Program, shapes: Shapes) -> Program:
    """A row of a matrix for its product with a one-hot vector."""
    calls, constants = calls_of(network), dict(network.constants)
    replaced: dict[str, Call | Variable | Constant] = {}
    new: dict[str, np.ndarray] = {}
    for name, call in bindings(network):
        if call.primitive != "linear" or len(call.args) != 2:
            continue
        if not isinstance(call.args[1], Constant):
            continue
        index = _one_hot(call.args[0], calls, constants, shapes)
        if index is not None:
            label = fresh(network, f"{call.args[1].name}.rows")
            new[label] = np.ascontiguousarray(constants[call.args[1].name].T)
            options = (("along", False), ("axis", 0))
            replaced[name] = Call("gather", (Constant(label), index), options)
    return rewritten(with_constants(network, new), replaced) if replaced else network


def _one_hot(
    expr: Expr, calls: Mapping[str, Call], constants: Mapping[str, Any], shapes: Shapes
) -> Variable | None:
    """The index x of `cast(eq(reshape(x, (..., 1)), arange))`."""
    while (inner := made_by(expr, calls, "cast")) is not None:
        expr = inner.args[0]
    test = made_by(expr, calls, "eq")
    if test is None or not isinstance(test.args[1], Constant):
        return None
    row = np.asarray(constants[test.args[1].name])
    lead = made_by(test.args[0], calls, "reshape")
    if lead is None or not isinstance(lead.args[0], Variable):
        return None
    index = shapes[lead.args[0].name]
    if lead.option("shape")[1:] != (*index.shape[1:], 1) or index.dtype.kind not in "iu":
        return None
    # Other numbers than those of the row would give 0, and no row: none may be possible.
    return None if not np.array_equal(row.reshape(-1), np.arange(row.size)) else lead.args[0]


def numbered(network: Program) -> Program:
    """The network with its values called v0, v1, ... in order: equal for graphs that differ only
    in the names of their operations."""
    names = {name: f"x{place}" for place, name in enumerate(network.parameters)}
    body = []

    def renamed(expr: Expr) -> Expr:
        match expr:
            case Variable(name):
                return Variable(names[name])
            case Call(primitive, args, options):
                return Call(primitive, tuple(renamed(arg) for arg in args), options)
            case _:
                return expr

    for place, (name, call) in enumerate(bindings(network)):
        new = renamed(call)
        names[name] = f"v{place}"
        body.append(Assign((names[name],), (new,)))
    inputs = tuple((names[name], kind) for name, kind in network.inputs)
    return replace(network, inputs=inputs, body=tuple(body), result=renamed(network.result))


def with_rectifiers(network: Program, shapes: Shapes) -> Program:
    """`relu` for the greater of a number and 0."""
    constants = dict(network.constants)
    replaced: dict[str, Call | Variable | Constant] = {}
    for name, call in bindings(network):
        match call.primitive, call.args:
            case "maximum", (Variable() as x, Constant(zero)) | (Constant(zero), Variable() as x):
                same = shapes[x.name].shape == shapes[name].shape
                if same and not np.asarray(constants[zero]).any():
                    replaced[name] = Call("relu", (x,))
            case "clip", (x,) if call.option("low") == 0 and call.option("high") is None:
                replaced[name] = Call("relu", (x,))
    return rewritten(network, replaced) if replaced else network


PASSES: Sequence[tuple[str, Pass]] = (
    ("constants folded", with_folded_constants),
    ("no-ops removed", without_no_ops),
    ("rectifiers recognised", with_rectifiers),
    ("moves joined", with_joined_moves),
    ("products with constants are linear maps", with_linear_products),
    ("one-hot products are rows", with_embeddings),
    ("affine maps merged", with_merged_affine_maps),
    ("products of two factors", with_pairs_of_factors),
    ("sums of products are matrix products", with_matrix_products),
    ("normalisation recognised", with_layer_norms),
    ("attention recognised", with_attention),
    ("dead code removed", without_dead_code),
)
