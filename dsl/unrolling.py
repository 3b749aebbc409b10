"""Layers over whole sequences written out step by step.

Networks of `rnn`, `gru` and `lstm` layers, with operations between them that treat every step
alike, become programs in which each step is computed by itself; `dsl.rolling` then finds their
step.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import numpy as np

from dsl.networks import bindings
from dsl.primitives.tensor.elementwise import ELEMENTWISE
from dsl.program import Assign, Call, Constant, Expr, Program, Variable

Axis: TypeAlias = Literal["time", "items", "one"]


@dataclass(frozen=True, slots=True)
class Wide:
    """A value with an axis of time: one expression (B, k) for each step.  `axes` are those behind
    the batch: time, the items of a step, and any of a single entry."""

    steps: tuple[Expr, ...]
    axes: tuple[Axis, ...] = ("time", "items")


Value: TypeAlias = Expr | Wide


class Entangled(Exception):
    """An operation mixes steps in a way that is not known here."""


@dataclass
class Writer:
    """Bindings of the new program."""

    network: Program
    body: list[Assign] = field(default_factory=list)
    constants: dict[str, Any] = field(default_factory=dict)
    count: int = 0

    def call(self, primitive: str, *args: Expr, **options: Any) -> Expr:
        self.count += 1
        name = f"v{self.count}"
        call = Call(primitive, args, tuple(sorted(options.items())))
        self.body.append(Assign((name,), (call,)))
        return Variable(name)

    def constant(self, array: np.ndarray, name: str) -> Expr:
        self.constants.setdefault(name, array)
        return Constant(name)


def unrolled(network: Program, shape: tuple[int, ...]) -> Program | None:
    """The network, for packed inputs of `shape`, with its layers written out; None where steps
    are entangled in other ways."""
    if len(network.inputs) != 1 or not isinstance(network.result, Variable):
        return None
    writer = Writer(network, constants=dict(network.constants))
    ((name, _),) = network.inputs
    values: dict[str, Value] = {name: _items(writer, Variable(name), shape)}
    try:
        live = _live(network)
        for key, call in bindings(network):
            if key not in live:
                continue
            args = [values[a.name] if isinstance(a, Variable) else a for a in call.args]
            values[key] = _written(writer, call, args)
    except Entangled:
        return None
    match values[network.result.name]:
        case Wide(steps):
            stacked = [_with_time(writer, step) for step in steps]
            result = writer.call("concat", *stacked, axis=1)
        case expr:
            result = expr
    constants = tuple(writer.constants.items())
    return Program(network.name, network.inputs, tuple(writer.body), result, constants)


def _live(network: Program) -> set[str]:
    """The names on which the result depends."""
    needed = {network.result.name} if isinstance(network.result, Variable) else set()
    for key, call in reversed(list(bindings(network))):
        if key in needed:
            needed |= {arg.name for arg in call.args if isinstance(arg, Variable)}
    return needed


def _with_time(writer: Writer, step: Expr) -> Expr:
    """(B, k) as (B, 1, k); the width is read off the step by `rolled`, so it is asked for here."""
    return writer.call("reshape", step, shape=(-1, 1, _width(writer, step)))


def _width(writer: Writer, expr: Expr) -> int:
    """The last axis of a value of the new program, (B, k)."""
    definitions = {s.names[0]: s.values[0] for s in writer.body}
    while True:
        match expr:
            case Variable(name) if name in definitions:
                call = definitions[name]
                assert isinstance(call, Call)
                match call.primitive:
                    case "linear":
                        return _axis(writer, call.args[1], 0)
                    case "matmul":
                        return _axis(writer, call.args[1], 1)
                    case "slice" if call.option("stop") is not None and call.option("axis") == 1:
                        return int(call.option("stop")) - int(call.option("start", 0))
                    case "reshape" if len(call.option("shape")) == 2:
                        return int(call.option("shape")[1])
                    case "concat":
                        return sum(_width(writer, arg) for arg in call.args)
                    case name if name in ELEMENTWISE:
                        expr = next(a for a in call.args if isinstance(a, Variable))
                        continue
        raise Entangled


def _axis(writer: Writer, expr: Expr, axis: int) -> int:
    if not isinstance(expr, Constant):
        raise Entangled
    return int(writer.constants[expr.name].shape[axis])


def _items(writer: Writer, x: Expr, shape: tuple[int, ...]) -> Wide:
    steps = []
    for t in range(shape[0]):
        part = writer.call("slice", x, axis=1, start=t, stop=t + 1)
        steps.append(writer.call("reshape", part, shape=(-1, *shape[1:])))
    return Wide(tuple(steps))


def _written(writer: Writer, call: Call, args: list[Value]) -> Value:
    wide = [arg for arg in args if isinstance(arg, Wide)]
    plain = [arg for arg in args if not isinstance(arg, Wide)]
    options = dict(call.options)
    if not wide:
        return writer.call(call.primitive, *plain, **options)
    lengths = {len(arg.steps) for arg in wide}
    if len(lengths) != 1:
        raise Entangled
    match call.primitive:
        case "transpose":
            return _transposed(wide[0], options)
        case "reshape":
            return _reshaped(writer, wide[0], options)
    if any(arg.axes != ("time", "items") for arg in wide):
        raise Entangled
    match call.primitive:
        case "rnn" | "gru" | "lstm" if isinstance(args[0], Wide) and not options.get("reverse"):
            return Wide(tuple(_layer(writer, call.primitive, args[0], plain, options)))
        case "slice":
            return _sliced(writer, wide[0], options)
        case "concat" if options.get("axis") in (2, -1) and not plain:
            rows = zip(*(arg.steps for arg in wide))
            return Wide(tuple(writer.call("concat", *row, axis=1) for row in rows))
        case "linear" | "matmul" | "gather":
            if call.primitive == "gather" and (options.get("axis") or options.get("along")):
                raise Entangled
        case name if name not in ELEMENTWISE:
            raise Entangled
    for arg in plain:
        if isinstance(arg, Variable) or (
            isinstance(arg, Constant)
            and call.primitive in ELEMENTWISE
            and writer.constants[arg.name].ndim > 1
        ):
            raise Entangled
    columns = [
        arg.steps if isinstance(arg, Wide) else (arg,) * lengths.copy().pop() for arg in args
    ]
    return Wide(tuple(writer.call(call.primitive, *row, **options) for row in zip(*columns)))


def _sliced(writer: Writer, x: Wide, options: dict[str, Any]) -> Value:
    axis = int(options.get("axis", 0))
    if axis == 1:
        part = slice(options.get("start"), options.get("stop"), options.get("step"))
        return Wide(x.steps[part])
    if axis < 2:
        raise Entangled
    return Wide(
        tuple(writer.call("slice", step, **(options | {"axis": axis - 1})) for step in x.steps)
    )


def _transposed(x: Wide, options: dict[str, Any]) -> Wide:
    batch, *order = options["axes"]
    if batch != 0 or len(order) != len(x.axes):
        raise Entangled
    return Wide(x.steps, tuple(x.axes[axis - 1] for axis in order))


def _reshaped(writer: Writer, x: Wide, options: dict[str, Any]) -> Value:
    """Only axes of one entry may come and go."""
    batch, *shape = options["shape"]
    if batch != -1:
        raise Entangled
    if len(x.steps) == 1 and len(shape) == 1:
        return x.steps[0]
    if x.axes == ("time", "items") and len(shape) == 2 and shape[0] == len(x.steps):
        return x
    left = [axis for axis in x.axes if axis != "one"]
    size = {"time": len(x.steps), "items": _width(writer, x.steps[0])}
    axes: list[Axis] = []
    for length in shape:
        if left and size[left[0]] == length:
            axes.append(left.pop(0))
        elif length == 1:
            axes.append("one")
        else:
            raise Entangled
    if left:
        raise Entangled
    return Wide(x.steps, tuple(axes))


def _layer(
    writer: Writer, kind: str, x: Wide, rest: list[Expr], options: dict[str, Any]
) -> list[Expr]:
    """The result of every step of a recurrent layer: the layer itself, on one item at a time."""
    states = rest[:2] if kind == "lstm" else rest[:1]
    weights = rest[len(states) :]
    width, size = _axis(writer, weights[0], 1), _axis(writer, weights[1], 1)
    found = []
    for item in x.steps:
        single = writer.call("reshape", item, shape=(-1, 1, width))
        after = writer.call(kind, single, *states, *weights, **options)
        state = writer.call("reshape", after, shape=(-1, size * len(states)))
        found.append(state)
        states = _parts(writer, state, len(states), size) if len(states) > 1 else [state]
    return found


def _parts(writer: Writer, x: Expr, count: int, size: int) -> list[Expr]:
    return [
        writer.call("slice", x, axis=1, start=i * size, stop=(i + 1) * size) for i in range(count)
    ]
