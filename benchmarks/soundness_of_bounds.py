"""Random networks and boxes: bounds against samples, decisions against grids.

    python -m benchmarks.soundness_of_bounds [--networks 1000] [--samples 1000000] [--seed 0]

Each network has two to four layers, up to six inputs, one of eight activations and weights of
random size.  Its ranges and linear bounds on random boxes, by backward substitution and by forms
carried forwards, are compared with samples (random points and corners) in float64 and, with room
for the runtime's rounding, in float32; then a random inequality of its outputs is decided, and
compared with the samples.  Ends with 1 at any violation.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from itertools import pairwise

import numpy as np

from dsl import networks
from dsl.program import Assign, Call, Constant, Program, Variable
from verify import bounds
from verify.branching import explore
from verify.graph import Builder, matrix
from verify.lowering import View, lowered
from verify.violations import Problem

ACTIVATIONS = ("relu", "leaky_relu", "tanh", "sigmoid", "gelu", "silu", "abs", "sin")
_BOXES = 8
_BLOCK = 20_000


def random_network(rng: np.random.Generator) -> tuple[Program, int]:
    """A network with float32 weights, and its number of inputs."""
    depth = int(rng.integers(2, 5))
    sizes = [int(n) for n in (rng.integers(1, 7), *rng.integers(2, 17, depth - 1), 3)]
    activation = ACTIVATIONS[int(rng.integers(len(ACTIVATIONS)))]
    scale = float(rng.choice([0.5, 1.0, 3.0]))
    body, constants, last = [], [], "x"
    for number, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        weight = rng.normal(size=(fan_out, fan_in)) * scale / math.sqrt(fan_in)
        constants.append((f"w{number}", weight.astype(np.float32)))
        constants.append((f"b{number}", (rng.normal(size=fan_out) * scale).astype(np.float32)))
        arguments = (Variable(last), Constant(f"w{number}"), Constant(f"b{number}"))
        body.append(Assign((f"z{number}",), (Call("linear", arguments),)))
        last = f"z{number}"
        if number < len(sizes) - 2:
            body.append(Assign((f"a{number}",), (Call(activation, (Variable(last),)),)))
            last = f"a{number}"
    return Program("network", (("x", None),), tuple(body), Variable(last), tuple(constants)), sizes[
        0
    ]


def outside(network: Program, inputs: int, samples: int, rng: np.random.Generator) -> int:
    """How many sampled outputs lie outside of their bounds, in float64 and in float32."""
    wrong = 0
    centre = rng.uniform(-1, 1, (_BOXES, inputs))
    half = rng.random((_BOXES, inputs)) * rng.choice([1e-4, 0.05, 0.5], (_BOXES, 1))
    # The corners are float32 numbers, so that float32 samples lie in the box.
    low = (centre - half).astype(np.float32).astype(np.float64)
    high = (centre + half).astype(np.float32).astype(np.float64)
    for unit, dtype in ((0.0, np.float64), (2.0**-24, np.float32)):
        builder = Builder()
        source = builder.cast(builder.input(inputs), unit)
        view = lowered(network, View(source, np.arange(inputs)), builder, unit)
        node = builder.affine(((view.node, matrix(np.eye(3))),), 0.0)
        builder.function("relu", node)  # on whose argument's range something depends
        graph = builder.graph()
        states = [
            bounds.ranges(graph, low, high),
            bounds.ranges(graph, low, high, refine=False, forward=True),
        ]
        box, entry = np.repeat(np.arange(_BOXES), 3), np.tile(np.arange(3), _BOXES)
        lines = [
            (sign, bounds.entry_bounds(state, node, box, entry, sign))
            for state in states
            for sign in (1.0, -1.0)
        ]
        for start in range(0, samples, _BLOCK * _BOXES):
            count = max(1, min(_BLOCK, (samples - start) // _BOXES))
            share = rng.random((count, _BOXES, inputs))
            share[: count // 10] = np.round(share[: count // 10])
            points = np.clip(low + share * (high - low), low, high).astype(dtype)
            exact = np.clip(points.astype(np.float64), low, high)
            flat = exact.reshape(-1, inputs).astype(dtype)
            values = networks.run(network, flat, dtype=dtype).astype(np.float64)
            table = values.reshape(count, _BOXES, 3)
            # What float64 itself rounds when it evaluates the sample.
            slack = 1e-12 * (1 + np.abs(table)) if dtype == np.float64 else 0.0
            for state in states:
                wrong += int((state.low[node] > table + slack).sum())
                wrong += int((state.high[node] < table - slack).sum())
            for sign, line in lines:
                a = line.coefficients.reshape(_BOXES, 3, inputs)
                below = np.einsum("cbi,bei->cbe", exact, a) + line.constant.reshape(_BOXES, 3)
                wrong += int((below > sign * table + slack).sum())
    return wrong


def contradicted(network: Program, inputs: int, samples: int, rng: np.random.Generator) -> int:
    """1 if an inequality was decided against what samples show, else 0."""
    builder = Builder()
    view = lowered(network, View(builder.input(inputs), np.arange(inputs)), builder, 0.0)
    low, high = np.full(inputs, -0.5), np.full(inputs, 0.5)
    points = rng.uniform(low, high, (min(samples, 100_000), inputs))
    gaps = networks.run(network, points, dtype=np.float64) @ np.array([1.0, -1.0, 0.0])
    level = float(gaps.max() + rng.normal() * 0.1 * (np.ptp(gaps) + 1e-6))
    row = np.array([[1.0, -1.0, 0.0]])
    node = builder.affine(((view.node, matrix(row)),), np.array([-level]))
    problem = Problem(builder.graph(), node, ((0,),), np.zeros(inputs, bool))
    found = explore(
        problem, low, high, deadline=time.monotonic() + 2.0, goal="decide", most_boxes=2000
    )
    proved = found.exhausted and not len(found.counterexamples)
    return int(proved and bool((gaps > level + 1e-9).any()))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--networks", type=int, default=1000)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    wrong = against = 0
    started = time.monotonic()
    for number in range(options.networks):
        rng = np.random.default_rng([options.seed, number])
        network, inputs = random_network(rng)
        here = outside(network, inputs, options.samples, rng)
        there = contradicted(network, inputs, options.samples, rng)
        if here or there:
            print(f"network {number}: {here} values outside, {there} decisions contradicted")
        wrong, against = wrong + here, against + there
    print(
        f"{options.networks} networks, {options.samples} samples each: {wrong} values outside of "
        f"their bounds, {against} decisions contradicted  ({time.monotonic() - started:.0f}s)"
    )
    return 1 if wrong or against else 0


if __name__ == "__main__":
    sys.exit(main())
