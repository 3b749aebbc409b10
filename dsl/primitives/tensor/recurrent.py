"""Recurrent layers as single operations.

x is (B, T, features), a first state (B, hidden) or (1, hidden); weights are (gates * hidden, in).
The result is the state after every step, (B, T, hidden); with `reverse` the steps go from the
last to the first, and results keep their places.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from dsl.primitives.tensor.base import Box, TensorPrimitive, registered
from dsl.primitives.tensor.elementwise import ELEMENTWISE
from dsl.primitives.tensor.linear import LINEAR


def _steps(length: int, reverse: bool) -> range:
    return range(length - 1, -1, -1) if reverse else range(length)


class _Arithmetic:
    """The same formulas for arrays and for boxes: `op(name, *args, **options)` is either."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.boxes = isinstance(args[0], Box)

    def op(self, name: str, *args: Any, **options: Any) -> Any:
        table = LINEAR if name in LINEAR else ELEMENTWISE
        return (table[name].bounds if self.boxes else table[name].numpy)(*args, **options)

    def at(self, x: Any, step: int) -> Any:
        return Box(x.low[:, step], x.high[:, step]) if self.boxes else x[:, step]

    def parts(self, x: Any, count: int) -> list[Any]:
        if not self.boxes:
            return np.split(x, count, axis=-1)
        ends = (np.split(x.low, count, axis=-1), np.split(x.high, count, axis=-1))
        return [Box(low, high) for low, high in zip(*ends)]

    def stacked(self, found: dict[int, Any]) -> Any:
        order = [found[step] for step in sorted(found)]
        if self.boxes:
            return Box(
                np.stack([x.low for x in order], axis=1), np.stack([x.high for x in order], axis=1)
            )
        return np.stack(order, axis=1)

    def joined(self, a: Any, b: Any) -> Any:
        if not self.boxes:
            return np.concatenate([a, b], axis=-1)
        return Box(
            np.concatenate([a.low, b.low], axis=-1), np.concatenate([a.high, b.high], axis=-1)
        )

    def one_less(self, x: Any) -> Any:
        one = np.ones((), x.low.dtype if self.boxes else x.dtype)
        return self.op("sub", Box(one, one) if self.boxes else one, x)


class _Recurrent(TensorPrimitive, ABC):
    """A recurrent layer; `run` is written once for arrays and boxes."""

    def numpy(self, *args: Any, **options: Any) -> Any:
        return self.run(*args, **options)

    def bounds(self, *args: Box, **options: Any) -> Box:
        found = self.run(*args, **options)
        assert isinstance(found, Box)
        return found

    @abstractmethod
    def run(self, *args: Any, **options: Any) -> Any:
        """The layer on arrays or on boxes."""

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 2.0 * result[0] * sum(float(np.prod(arg)) for arg in args[2:])


class Rnn(_Recurrent):
    """Elman's network: h' = activation(W_ih x + b_ih + W_hh h + b_hh); arguments x, h0, W_ih,
    W_hh, b_ih, b_hh."""

    name = "rnn"

    def run(self, *args: Any, activation: str = "tanh", reverse: bool = False, **_: Any) -> Any:
        x, state, w_input, w_state, b_input, b_state = args
        kind = _Arithmetic(args)
        found: dict[int, Any] = {}
        for step in _steps(x.shape[1], reverse):
            driven = kind.op("linear", kind.at(x, step), w_input, b_input)
            state = kind.op(
                activation, kind.op("add", driven, kind.op("linear", state, w_state, b_state))
            )
            found[step] = state
        return kind.stacked(found)


class Gru(_Recurrent):
    """A gated recurrent unit, gates in the order reset, update, new; arguments as `rnn`.

    `linear_before_reset`: the reset gate multiplies W_hh h + b_hh (cuDNN, PyTorch); else it
    multiplies h before the product.
    """

    name = "gru"

    def run(
        self, *args: Any, reverse: bool = False, linear_before_reset: bool = True, **_: Any
    ) -> Any:
        x, state, w_input, w_state, b_input, b_state = args
        kind = _Arithmetic(args)
        w_new = _rows(w_state, 2)
        b_new = _rows(b_state, 2)
        found: dict[int, Any] = {}
        for step in _steps(x.shape[1], reverse):
            driven = kind.parts(kind.op("linear", kind.at(x, step), w_input, b_input), 3)
            held = kind.parts(kind.op("linear", state, w_state, b_state), 3)
            reset, update = (
                kind.op("sigmoid", kind.op("add", driven[i], held[i])) for i in range(2)
            )
            if linear_before_reset:
                inner = kind.op("mul", reset, held[2])
            else:
                inner = kind.op("linear", kind.op("mul", reset, state), w_new, b_new)
            new = kind.op("tanh", kind.op("add", driven[2], inner))
            state = kind.op(
                "add", kind.op("mul", kind.one_less(update), new), kind.op("mul", update, state)
            )
            found[step] = state
        return kind.stacked(found)


class Lstm(_Recurrent):
    """A long short-term memory, gates in the order input, forget, cell, output; arguments x, h0,
    c0, W_ih, W_hh, b_ih, b_hh.  The result holds h and c side by side, (B, T, 2 * hidden)."""

    name = "lstm"

    def run(self, *args: Any, reverse: bool = False, **_: Any) -> Any:
        x, state, cell, w_input, w_state, b_input, b_state = args
        kind = _Arithmetic(args)
        found: dict[int, Any] = {}
        for step in _steps(x.shape[1], reverse):
            driven = kind.op("linear", kind.at(x, step), w_input, b_input)
            sums = kind.op("add", driven, kind.op("linear", state, w_state, b_state))
            i, f, g, o = kind.parts(sums, 4)
            kept = kind.op("mul", kind.op("sigmoid", f), cell)
            cell = kind.op("add", kept, kind.op("mul", kind.op("sigmoid", i), kind.op("tanh", g)))
            state = kind.op("mul", kind.op("sigmoid", o), kind.op("tanh", cell))
            found[step] = kind.joined(state, cell)
        return kind.stacked(found)


def _rows(weights: Any, block: int) -> Any:
    """The third of the rows that belongs to one gate."""
    if isinstance(weights, Box):
        return Box(np.split(weights.low, 3)[block], np.split(weights.high, 3)[block])
    return np.split(weights, 3)[block]


RECURRENT = registered(Rnn, Gru, Lstm)
