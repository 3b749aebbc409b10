"""Small networks and graphs, made by hand or from a seed."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from dsl import networks
from dsl.claim import Claim, Decode, Target
from dsl.domain import Domain
from dsl.parser import parse_expression
from dsl.program import Assign, Call, Constant, Program, Variable
from verify.graph import Builder, Graph, matrix


def layers(
    sizes: tuple[int, ...], seed: int, activation: str = "relu", scale: float = 1.0
) -> Program:
    """A network of dense layers with float32 weights."""
    rng = np.random.default_rng(seed)
    body, constants, last = [], [], "x"
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weight = (rng.normal(size=(fan_out, fan_in)) * scale / np.sqrt(fan_in)).astype(np.float32)
        bias = (rng.normal(size=fan_out) * 0.3 * scale).astype(np.float32)
        constants += [(f"w{number}", weight), (f"b{number}", bias)]
        arguments = (Variable(last), Constant(f"w{number}"), Constant(f"b{number}"))
        body.append(Assign((f"z{number}",), (Call("linear", arguments),)))
        last = f"z{number}"
        if number < len(sizes) - 2:
            body.append(Assign((f"a{number}",), (Call(activation, (Variable(last),)),)))
            last = f"a{number}"
    return Program("network", (("x", None),), tuple(body), Variable(last), tuple(constants))


def target(network: Program, domain: str, decode: Decode, pack: str = "") -> Target:
    """A claim about a network, run by its own float32 evaluation."""
    inputs = Domain(domain)
    text = pack or f"[{', '.join(inputs.names)}]"

    def runtime(batch: np.ndarray) -> np.ndarray:
        return networks.run(network, batch)

    claim = Claim(pack=parse_expression(text, "pack"), dtype="float32", decode=decode)
    return Target(inputs, claim, runtime, network=lambda shape: network)


def random_graph(seed: int, name: str, inputs: int = 3, noise: float = 0.0) -> tuple[Graph, int]:
    """Two affine layers around a function (or "product"), and a third; its last node."""
    rng = np.random.default_rng(seed)
    b = Builder()
    x = b.input(inputs)

    def affine(source: int, size: int) -> int:
        weight = rng.normal(size=(size, b.nodes[source].size))
        return b.affine(((source, matrix(weight)),), rng.normal(size=size), unit=noise)

    def applied(source: int) -> int:
        if name == "product":
            return b.product(affine(source, b.nodes[source].size), source, unit=noise)
        if name in ("reciprocal", "sqrt", "log"):
            source = b.affine(((b.function("power", source, parameter=2.0), None),), 0.5)
        parameter = float(rng.integers(2, 4)) if name == "power" else 0.0
        return b.function(name, source, parameter=parameter, noise=4 * noise)

    hidden = applied(affine(x, 6))
    scaled = b.affine(((affine(hidden, 5), matrix(0.3 * np.eye(5))),), 0.0)
    last = affine(applied(scaled), 3)
    both = b.affine(((last, None), (affine(hidden, 3), None)), 0.0)
    return b.graph(), both


def random_boxes(seed: int, count: int, inputs: int, width: float) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    centre = rng.uniform(-1.5, 1.5, (count, inputs))
    half = width * rng.random((count, inputs)) / 2
    return centre - half, centre + half


def linear_policy(*rows: tuple[float, ...]) -> Program:
    """Scores that are linear in the inputs, one row of weights for each."""
    weight = np.array(rows, np.float32)
    call = Call("linear", (Variable("x"), Constant("w")))
    return Program(
        "policy", (("x", None),), (Assign(("y",), (call,)),), Variable("y"), (("w", weight),)
    )
