"""Recurrent networks by hand, as programs of tensor primitives with a runtime."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dsl import networks
from dsl.claim import Claim, Decode, Target
from dsl.domain import Domain
from dsl.parser import parse_expression
from dsl.program import Assign, Call, Constant, Program, Variable
from dsl.rolling import Rolled, written_out


def step(weights: dict[str, np.ndarray], *, relu: bool) -> Program:
    """h' = W2 act(W1 [h, x] + b1) + b2 (without W2: h' = W1 [h, x] + b1); y = V h' + c."""
    body = [Assign(("joined",), (Call("concat", (Variable("h"), Variable("x")), (("axis", 1),)),))]
    args = (Variable("joined"), Constant("w1"), Constant("b1"))
    body.append(Assign(("first",), (Call("linear", args),)))
    last = "first"
    if relu:
        body.append(Assign(("active",), (Call("relu", (Variable("first"),)),)))
        args = (Variable("active"), Constant("w2"), Constant("b2"))
        body.append(Assign(("second",), (Call("linear", args),)))
        last = "second"
    args = (Variable(last), Constant("v"), Constant("c"))
    body.append(Assign(("y",), (Call("linear", args),)))
    body.append(Assign(("after",), (Call("concat", (Variable(last),), (("axis", 1),)),)))
    result = Call("tuple", (Variable("y"), Variable("after")))
    constants = {name: np.asarray(value, np.float32) for name, value in weights.items()}
    inputs = (("x", None), ("h", None))
    return Program("step", inputs, tuple(body), result, tuple(constants.items()))


def target(found: Rolled, domain: str, decode: str = "round") -> Target:
    """The claim about a step, carried out over words of the domain."""
    names = Domain(domain).names
    items = ", ".join(f"item_{name}" for name in names)
    source = names[0] if len(names) == 1 else f"zip({', '.join(names)})"
    pack = parse_expression(f"[[{items}] for {items} in {source}]", "pack")

    def network(shape: tuple[int, ...]) -> Program:
        return written_out(found, shape[0], shape[1:])

    def runtime(batch: np.ndarray) -> np.ndarray:
        return networks.run(network(batch.shape[1:]), batch)

    rule = Decode(decode)  # type: ignore[arg-type]
    return Target(Domain(domain), Claim(pack, decode=rule), runtime, network)


def parity() -> Rolled:
    """|h - x| by two units: the parity of the ones so far."""
    weights = {
        "w1": [[1, -1], [-1, 1]],
        "b1": [0, 0],
        "w2": [[1, 1]],
        "b2": [0],
        "v": [[1]],
        "c": [0],
    }
    return Rolled(step(weights, relu=True), np.zeros(1, np.float32), 8, True, 0)


def forgetful_parity(slope: float = 40.0) -> Rolled:
    """Parity with a state that is clipped to 0 and 1, so that small differences are forgotten."""
    # g(z) = clip(slope * (z - 0.5) + 0.5, 0, 1) of z = h + x - 2 (h and x), by two units each.
    edge = 0.5 / slope
    weights = {
        "w1": [[1, 1], [1, 1], [1, 1], [1, 1]],
        "b1": [-0.5 + edge, -0.5 - edge, -1.5 + edge, -1.5 - edge],
        "w2": [[slope, -slope, -slope, slope]],
        "b2": [0],
        "v": [[1]],
        "c": [0],
    }
    return Rolled(step(weights, relu=True), np.zeros(1, np.float32), 8, True, 0)


def opposites(slope: float = 40.0) -> Rolled:
    """Parity and its opposite, side by side; the answer, 0.4 times their sum, knows neither."""
    found = forgetful_parity(slope).step
    weights: dict[str, np.ndarray] = {
        name: np.asarray(value, np.float64) for name, value in found.constants
    }
    w1, w2 = weights["w1"], weights["w2"]
    weights["w1"] = np.stack([w1[:, 0], 0 * w1[:, 0], w1[:, 1]], axis=1)
    weights |= {"w2": np.concatenate([w2, -w2]), "b2": np.array([0, 1])}
    weights["v"] = np.array([[0.4, 0.4]])
    return Rolled(step(weights, relu=True), np.array([0, 1], np.float32), 8, True, 0)


def binary_addition(slope: float = 40.0) -> Rolled:
    """The digit of a + b + carry, and the carry for the next, of two numbers written from their
    lowest digit on.  The state is (sum, carry)."""
    edge = 0.5 / slope
    steps = [0.5, 1.5, 2.5]
    w1 = [[0, 1, 1, 1] for _ in range(6)]
    b1 = [sign * edge - at for at in steps for sign in (1, -1)]
    digit = [slope, -slope, -slope, slope, slope, -slope]
    carry = [0, 0, slope, -slope, 0, 0]
    weights = {"w1": w1, "b1": b1, "w2": [digit, carry], "b2": [0, 0], "v": [[1, 0]], "c": [0]}
    return Rolled(step(weights, relu=True), np.zeros(2, np.float32), 8, True, 0)


def running_sum(drift: float = 0.0) -> Rolled:
    """The sum of all items; each step adds a little too much where there is drift."""
    weights = {"w1": [[1, 1]], "b1": [drift], "v": [[1]], "c": [0]}
    return Rolled(step(weights, relu=False), np.zeros(1, np.float32), 8, True, 0)


def changed(found: Rolled, name: str, place: tuple[int, ...], by: float) -> Rolled:
    """The network with one weight changed."""
    constants = []
    for key, value in found.step.constants:
        value = value.copy()
        if key == name:
            value[place] += by
        constants.append((key, value))
    return replace(found, step=replace(found.step, constants=tuple(constants)))
