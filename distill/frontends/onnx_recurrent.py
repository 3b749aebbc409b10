"""ONNX's recurrent layers: x is (T, N, features), weights have an axis of directions in front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from distill.frontends import operators as o
from distill.frontends.building import Builder, Unsupported, Value
from distill.frontends.graph import Rule

_DEFAULTS = {"lstm": ("Sigmoid", "Tanh", "Tanh"), "gru": ("Sigmoid", "Tanh")}
_ORDER = {"lstm": (0, 2, 3, 1), "gru": (1, 0, 2), "rnn": (0,)}
"""Which block of ONNX's rows each gate of ours is."""


def _blocks(array: np.ndarray, order: Sequence[int]) -> np.ndarray:
    parts = np.split(array, len(order))
    return np.concatenate([parts[place] for place in order])


def _options(primitive: str, attributes: Mapping[str, Any], directions: int) -> dict[str, Any]:
    given = [str(name) for name in attributes.get("activations") or ()]
    if attributes.get("clip") or attributes.get("layout") or attributes.get("input_forget"):
        raise Unsupported("with clip, layout or input_forget")
    if primitive == "rnn":
        names = set(given or ["Tanh"])
        if len(names) > 1 or not names <= {"Tanh", "Relu", "Sigmoid"}:
            raise Unsupported(f"with the activations {', '.join(given)}")
        return {"activation": names.pop().lower()}
    if given and tuple(given) != _DEFAULTS[primitive] * directions:
        raise Unsupported(f"with the activations {', '.join(given)}")
    if primitive == "gru":
        return {"linear_before_reset": bool(attributes.get("linear_before_reset", 0))}
    return {}


def recurrent(primitive: str) -> Rule:
    def rule(
        b: Builder,
        inputs: tuple[Any, ...],
        *,
        attributes: Mapping[str, Any],
        outputs: int = 1,
        **_: Any,
    ) -> Any:
        given: list[Any] = [*inputs, *(None,) * (8 - len(inputs))]
        x, weights, recurrence, *rest = given
        bias, lengths, first_h, first_c, peepholes = rest
        if lengths is not None or peepholes is not None:
            raise Unsupported("with lengths of sequences or peepholes")
        if not all(w is None or w.is_constant for w in (weights, recurrence, bias)):
            raise Unsupported("with computed weights")
        directions, hidden = weights.shape[0], recurrence.shape[-1]
        options = _options(primitive, attributes, directions)
        order = _ORDER[primitive]
        turned = b.transpose(x, (1, 0, 2))
        states = [first_h, first_c] if primitive == "lstm" else [first_h]
        found, ends = [], []
        for direction in range(directions):
            w = _blocks(weights.sample[direction], order)
            r = _blocks(recurrence.sample[direction], order)
            if bias is None:
                halves = [np.zeros(len(w), w.dtype)] * 2
            else:
                halves = [_blocks(half, order) for half in np.split(bias.sample[direction], 2)]
            labels = [v.label if v is not None else "" for v in (weights, recurrence, bias, bias)]
            suffix = f".{direction}" if directions > 1 else ""
            params = [
                b.constant(array, f"{label}{suffix}{tail}" if label else "")
                for array, label, tail in zip((w, r, *halves), labels, ("", "", ".0", ".1"))
            ]
            zeros = b.constant(np.zeros((1, hidden), w.dtype))
            first = [zeros if s is None else b.select(s, 0, direction) for s in states]
            backward = direction == 1 or attributes.get("direction") == "reverse"
            steps = o.recurrent(b, primitive, turned, first, params, reverse=backward, **options)
            found.append(b.slice(steps, -1, 0, hidden))
            ends.append(b.select(steps, 1, 0 if backward else steps.shape[1] - 1))
        return _outputs(b, found, ends, hidden, outputs)

    return rule


def _outputs(
    b: Builder, found: Sequence[Value], ends: Sequence[Value], hidden: int, outputs: int
) -> Any:
    """Y (T, directions, N, hidden), Y_h and Y_c (directions, N, hidden)."""
    every = b.transpose(o.stacked(b, found, 1), (2, 1, 0, 3))
    if outputs == 1:
        return every
    last = [
        o.stacked(b, [b.slice(end, -1, at, at + hidden) for end in ends], 0)
        for at in range(0, ends[0].shape[-1], hidden)
    ]
    return (every, *last)


RECURRENT: Mapping[str, Rule] = {
    "RNN": recurrent("rnn"),
    "GRU": recurrent("gru"),
    "LSTM": recurrent("lstm"),
}
