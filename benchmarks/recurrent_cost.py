"""What a proof of a recurrent network costs, by the length of words and the size of the machine.

Two networks by hand: parity that forgets small differences, over words of one length, and shift
registers, whose machines have two to the power of their width states, over words of 24 symbols.
Prints seconds of processor time; `--svg FILE` draws them on logarithmic axes.

    python -m benchmarks.recurrent_cost --svg docs/_static/recurrent_cost.svg
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dsl import networks
from dsl.claim import Claim, Decode, Proved, Target
from dsl.domain import Domain
from dsl.parser import parse, parse_expression
from dsl.program import Assign, Call, Constant, Program, Variable
from dsl.rolling import Rolled, written_out
from verify import sequences

_SYMBOLS = 24
Points = list[tuple[int, float]]

PARITY = """def program(x):
    odd = 0
    out = []
    for x_t in x:
        odd = (odd + x_t) % 2
        out.append(odd)
    return out
"""
REGISTER = """def program(x):
    last = 0
    out = []
    for x_t in x:
        last = (2 * last + x_t) % {states}
        out.append(last // {half})
    return out
"""


def rolled_step(weights: dict[str, object], width: int) -> Rolled:
    """h' = W2 relu(W1 [h, x] + b1) + b2 from h = 0, and y = V h' + c."""
    joined = Call("concat", (Variable("h"), Variable("x")), (("axis", 1),))
    body = [Assign(("joined",), (joined,))]
    for value, source, names in (
        ("first", "joined", ("w1", "b1")),
        ("second", "active", ("w2", "b2")),
        ("y", "second", ("v", "c")),
    ):
        linear = Call("linear", (Variable(source), *map(Constant, names)))
        body.append(Assign((value,), (linear,)))
        if value == "first":
            body.append(Assign(("active",), (Call("relu", (Variable("first"),)),)))
    after = Call("concat", (Variable("second"),), (("axis", 1),))
    body.append(Assign(("after",), (after,)))
    constants = tuple((name, np.asarray(value, np.float32)) for name, value in weights.items())
    result = Call("tuple", (Variable("y"), Variable("after")))
    step = Program("step", (("x", None), ("h", None)), tuple(body), result, constants)
    return Rolled(step, np.zeros(width, np.float32), 8, True, 0)


def parity(slope: float = 40.0) -> Rolled:
    """clip(slope * (z - 0.5) + 0.5, 0, 1) of z = h + x, less that of z - 1."""
    edge = 0.5 / slope
    weights: dict[str, object] = {
        "w1": [[1, 1]] * 4,
        "b1": [edge - 0.5, -edge - 0.5, edge - 1.5, -edge - 1.5],
        "w2": [[slope, -slope, -slope, slope]],
        "b2": [0],
        "v": [[1]],
        "c": [0],
    }
    return rolled_step(weights, 1)


def register(width: int) -> Rolled:
    """The last symbols, the newest first; the oldest is shown."""
    shifted = np.zeros((width, width + 1))
    shifted[0, width] = 1
    shifted[np.arange(1, width), np.arange(width - 1)] = 1
    weights: dict[str, object] = {
        "w1": shifted,
        "b1": np.zeros(width),
        "w2": np.eye(width),
        "b2": np.zeros(width),
        "v": np.eye(width)[-1:],
        "c": [0],
    }
    return rolled_step(weights, width)


def seconds_of(step: Rolled, text: str, length: int) -> float:
    """Of processor time, for the proof over all words of a length."""
    domain = Domain(f"x: seq(int[0..1], {length})")
    pack = parse_expression("[[v] for v in x]", "pack")

    def network(shape: tuple[int, ...]) -> Program:
        return written_out(step, shape[0], shape[1:])

    def runtime(batch: np.ndarray) -> np.ndarray:
        return networks.run(network(batch.shape[1:]), batch)

    target = Target(domain, Claim(pack, decode=Decode("round")), runtime, network)
    started = time.process_time()
    deadline = time.monotonic() + 600
    found = sequences.verify(parse(text), target, deadline=deadline, seed=0, evidence={})
    if not isinstance(found, Proved):
        raise SystemExit(f"{length} symbols: {found}")
    return time.process_time() - started


def by_length(greatest: int) -> Points:
    lengths = [n for n in (10, 30, 100, 300, 1000, 3000, 10_000) if n <= greatest]
    return [(length, seconds_of(parity(), PARITY, length)) for length in lengths]


def by_states(greatest: int) -> Points:
    points = []
    for width in range(3, 14):
        states = 2**width
        if states <= greatest:
            text = REGISTER.format(states=states, half=states // 2)
            points.append((states, seconds_of(register(width), text, _SYMBOLS)))
    return points


def slope(points: Points) -> float:
    """Of the logarithms, over the upper half of the points: 1 where cost is linear."""
    upper = np.log(np.array(points[len(points) // 2 :]))
    return float(np.polyfit(upper[:, 0], upper[:, 1], 1)[0])


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent_cost")
    parser.add_argument("--greatest", type=int, default=10_000, help="length and number of states")
    parser.add_argument("--svg", help="where to draw the curves")
    options = parser.parse_args(arguments)
    curves = {"symbols": by_length(options.greatest), "states": by_states(options.greatest)}
    for name, points in curves.items():
        print(f"{name}: slope {slope(points):.2f}")
        for size, seconds in points:
            print(f"  {size:>6} {seconds:8.2f} s")
    if options.svg:
        Path(options.svg).write_text(drawn(curves), encoding="utf-8")
    return 0


def drawn(curves: dict[str, Points]) -> str:
    """The curves as SVG, decades on both axes."""
    seconds = [second for points in curves.values() for _, second in points]
    low, high = math.floor(math.log10(min(seconds))), math.ceil(math.log10(max(seconds)))
    left, top, side, rise = 60.0, 20.0, 320.0, 200.0

    def place(size: float, second: float) -> tuple[float, float]:
        across = left + side * (math.log10(size) - 0.5) / 3.5
        return across, top + rise * (high - math.log10(second)) / (high - low)

    parts = []
    for power in range(low, high + 1):
        _, y = place(1, 10.0**power)
        parts.append(f'<line x1="{left}" x2="{left + side}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="2" y="{y + 4:.1f}">{10.0**power:g} s</text>')
    for power in range(1, 5):
        x, _ = place(10.0**power, 1)
        parts.append(f'<text x="{x - 10:.1f}" y="{top + rise + 18}">{10**power}</text>')
    for number, (name, points) in enumerate(curves.items()):
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in points))
        parts.append(f'<polyline points="{line}" class="c{number}"/>')
        x, y = place(*points[-1])
        parts.append(f'<text x="{x + 6:.1f}" y="{y + 4:.1f}" class="t{number}">{name}</text>')
    style = (
        "text{font:12px sans-serif;fill:#555}line{stroke:#ccc}polyline{fill:none;stroke-width:2}"
        ".c0{stroke:#1f6fb2}.t0{fill:#1f6fb2}.c1{stroke:#c2571a}.t1{fill:#c2571a}"
    )
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 450 250" width="450">'
    return "\n".join([head, f"<style>{style}</style>", *parts, "</svg>", ""])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
