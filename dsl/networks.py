"""Whole networks: programs of tensor primitives, evaluated, bounded, measured.

The form is docs/decisions/0001-networks.md: every `Assign` binds one name to one `Call` over
variables and constants, and axis 0 of what depends on an input is the batch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from dsl import types as t
from dsl.primitives.tensor import TENSOR, Box, point
from dsl.primitives.tensor.base import item_of
from dsl.program import Assign, Call, Constant, Literal, Program, Variable


def bindings(network: Program) -> Iterator[tuple[str, Call]]:
    """The names and calls of a network, in order.  Raises ValueError for other programs."""
    for statement in network.body:
        match statement:
            case Assign((name,), (Call() as call,)):
                yield name, call
            case _:
                raise ValueError(f"{network.name} is no network: {statement}")


def trace(
    network: Program,
    *packed: np.ndarray,
    dtype: Any = None,
    changed: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
) -> dict[str, np.ndarray]:
    """Every value of a network on a batch, by name, inputs included; those `changed` go on as what
    their function gives.

    `dtype=np.float64` evaluates with weights and inputs widened; `dtype=object` leaves exact
    inputs as they are and takes each weight as the fraction that it is.
    """
    values = _started(network, packed, dtype)
    for name, call in bindings(network):
        arguments = [
            values[_key(arg)] if not isinstance(arg, Literal) else np.asarray(arg.value)
            for arg in call.args
        ]
        values[name] = _applied(call, arguments, dtype)
        if changed and name in changed:
            values[name] = changed[name](values[name])
    return {name: value for name, value in values.items() if isinstance(name, str)}


def run(network: Program, *packed: np.ndarray, dtype: Any = None) -> np.ndarray:
    """The output of a network on a batch, the first of several; values are dropped after their
    last use."""
    return outputs(network, *packed, dtype=dtype)[0]


def outputs(network: Program, *packed: np.ndarray, dtype: Any = None) -> tuple[np.ndarray, ...]:
    """Every item of the record that a network gives, or its one output."""
    last = _last_uses(network)
    values = _started(network, packed, dtype)
    for place, (name, call) in enumerate(bindings(network)):
        arguments = [
            values[_key(arg)] if not isinstance(arg, Literal) else np.asarray(arg.value)
            for arg in call.args
        ]
        values[name] = _applied(call, arguments, dtype)
        for arg in call.args:
            if isinstance(arg, Variable) and last[arg.name] == place:
                values.pop(arg.name, None)
    return tuple(_spread(values[_key(result)], len(packed[0])) for result in results(network))


def _spread(result: np.ndarray, rows: int) -> np.ndarray:
    """A result with a row for each of the batch."""
    if len(result) == rows:
        return result
    return np.broadcast_to(result, (rows, *result.shape[1:]))


def results(network: Program) -> tuple[Variable | Constant, ...]:
    """What a network gives: the items of its record, or its one result."""
    match network.result:
        case Call("tuple", args):
            found = args
        case one:
            found = (one,)
    return tuple(item for item in found if isinstance(item, (Variable, Constant)))


def bounds(network: Program, *boxes: Box) -> dict[str, Box]:
    """A box for every value of a network, by interval arithmetic, inputs included."""
    values: dict[Any, Box] = {}
    for (name, _), box in zip(network.inputs, boxes, strict=True):
        values[name] = box
    constants = dict(network.constants)
    for name, call in bindings(network):
        arguments = []
        for arg in call.args:
            match arg:
                case Variable(key):
                    arguments.append(values[key])
                case Constant(key):
                    arguments.append(point(constants[key]))
                case Literal(value):
                    arguments.append(point(value))
        values[name] = TENSOR[call.primitive].bounds(*arguments, **dict(call.options))
    return values


def shapes(network: Program, *shape: tuple[int, ...]) -> dict[str, t.Tensor]:
    """The type of every value for inputs of a shape (batch axis left out), where it is -1.

    Without shapes those of the declared inputs are taken.
    """
    kinds: dict[Any, t.Tensor] = {}
    for place, (name, kind) in enumerate(network.inputs):
        declared = kind if isinstance(kind, t.Tensor) else t.Tensor(t.Real(), (-1,))
        kinds[name] = t.Tensor(declared.item, (-1, *shape[place])) if shape else declared
    for key, value in network.constants:
        kinds[Constant(key)] = t.Tensor(item_of(value.dtype), value.shape)
    for name, call in bindings(network):
        arguments = [
            t.Tensor(item_of(np.asarray(arg.value).dtype), np.asarray(arg.value).shape)
            if isinstance(arg, Literal)
            else kinds[_key(arg)]
            for arg in call.args
        ]
        kinds[name] = TENSOR[call.primitive].type(*arguments, **dict(call.options))
    return {name: kind for name, kind in kinds.items() if isinstance(name, str)}


def parameters(network: Program) -> dict[str, np.ndarray]:
    """The weights: constants of real numbers, by name."""
    return {
        name: value
        for name, value in network.constants
        if isinstance(value, np.ndarray) and value.dtype.kind == "f"
    }


def operations(network: Program) -> dict[str, int]:
    """How often each primitive is used, by name, in the order of first use."""
    counts: dict[str, int] = {}
    for _, call in bindings(network):
        counts[call.primitive] = counts.get(call.primitive, 0) + 1
    return counts


def _started(network: Program, packed: tuple[np.ndarray, ...], dtype: Any) -> dict[Any, Any]:
    values: dict[Any, Any] = {}
    for (name, _), array in zip(network.inputs, packed, strict=True):
        values[name] = _widened(np.asarray(array), dtype)
    for name, value in network.constants:
        values[Constant(name)] = _widened(value, dtype)
    return values


def _applied(call: Call, arguments: list[Any], dtype: Any) -> np.ndarray:
    options = dict(call.options)
    if dtype is not None and call.primitive == "cast" and np.dtype(options["dtype"]).kind == "f":
        if np.dtype(dtype) == object:
            return np.asarray(TENSOR["cast"].numpy(np.asarray(arguments[0], object), **options))
        options["dtype"] = np.dtype(dtype).name
    if dtype is not None and np.dtype(dtype) != object:
        arguments = [_same(argument, dtype) for argument in arguments]
    return np.asarray(TENSOR[call.primitive].numpy(*arguments, **options))


def _same(argument: Any, dtype: Any) -> Any:
    return argument.astype(dtype) if argument.dtype.kind == "f" else argument


def _widened(array: np.ndarray, dtype: Any) -> np.ndarray:
    if dtype is None or array.dtype.kind != "f" or array.dtype == dtype:
        return array
    if np.dtype(dtype) == object:
        from fractions import Fraction

        return np.asarray(np.frompyfunc(Fraction, 1, 1)(array.astype(np.float64)), object)
    return array.astype(dtype)


def _key(expr: Any) -> Any:
    match expr:
        case Variable(name):
            return name
        case Constant():
            return expr
    raise ValueError(f"a network's call has the argument {expr}")


def _last_uses(network: Program) -> Mapping[str, int]:
    last: dict[str, int] = {}
    for place, (_, call) in enumerate(bindings(network)):
        for arg in call.args:
            if isinstance(arg, Variable):
                last[arg.name] = place
    for result in results(network):
        if isinstance(result, Variable):
            last[result.name] = -1  # kept
    return last
