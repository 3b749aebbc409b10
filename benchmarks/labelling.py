"""Random labelling programs: how many are found again, from clean tables and from networks.

Each program labels the pairs (a, b) of a square table.  Its clean table is searched first; then a
small network learns half of the pairs, and the table of its answers is searched.  The seeds of the
published figures are `PUBLISHED`; development uses others.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from dsl.claim import Claim, Decode, Target
from dsl.domain import Domain
from dsl.evaluate import run
from dsl.parser import parse, parse_expression
from dsl.printer import expression
from dsl.program import Program
from synth.inequalities.proposer import propose
from synth.problem import Problem, observe

PUBLISHED = tuple(range(6000, 6040))
SIZES = (61, 79, 97, 113)
_NEAR = 0.98
_SCARCE = 0.12
_MATTERS = 0.03


@dataclass(frozen=True, slots=True)
class Labelling:
    """A program over `a` and `b`, both from 0 to `size - 1`, with its table (size, size)."""

    seed: int
    kind: str
    size: int
    program: Program
    table: np.ndarray


@dataclass(frozen=True, slots=True)
class Outcome:
    """`agreement` of what was found with the labelling; 0 where nothing was found."""

    seed: int
    kind: str
    source: str
    agreement: float
    noise: float
    seconds: float
    found: str

    @property
    def verdict(self) -> str:
        return "exact" if self.agreement == 1 else "near" if self.agreement >= _NEAR else "not"


def labelling(seed: int) -> Labelling:
    """The labelling of a seed: both labels are frequent, and each part of it matters."""
    rng = np.random.default_rng([seed, 0x1AB])
    while True:
        size = int(rng.choice(SIZES))
        kind = str(rng.choice(("score", "gated score", "list", "gates")))
        parts, text = _TEXTS[kind](rng, size)
        program = parse(text)
        table = _table(program, size)
        if min(table.mean(), 1 - table.mean()) < _SCARCE:
            continue
        if all(_matters(text, part, table, size) for part in parts):
            return Labelling(seed, kind, size, program, table)


def _table(program: Program, size: int) -> np.ndarray:
    a, b = np.meshgrid(np.arange(size), np.arange(size), indexing="ij")
    return run(program, {"a": a.ravel(), "b": b.ravel()}).astype(bool).reshape(size, size)


def _matters(text: str, part: str, table: np.ndarray, size: int) -> bool:
    """Does replacing a part by a constant change enough cells, whichever constant it is?"""
    for constant in ("0 == 0", "0 == 1"):
        other = parse(text.replace(part, f"({constant})", 1))
        if (_table(other, size) != table).mean() < _MATTERS:
            return False
    return True


def _round(value: float) -> int:
    """An integer of at most two digits before its zeros."""
    unit = 10 ** max(0, len(str(int(value))) - 2)
    return int(max(1, int(value) // unit * unit))


def _inequality(rng: np.random.Generator, size: int) -> str:
    x, y = (int(v) for v in rng.integers(size // 6, size - size // 8, 2))
    match str(rng.choice(("power", "power", "linear", "quadratic", "product", "distance"))):
        case "power":
            p, q = (int(v) for v in rng.integers(1, 5, 2))
            while math.gcd(p, q) > 1:
                p, q = (int(v) for v in rng.integers(1, 5, 2))
            ratio = x**p / y**q
            left, right = _powered("a", p), _powered("b", q)
            if ratio >= 1:
                return f"({left} < {_round(ratio)} * {right})"
            return f"({_round(1 / ratio)} * {left} < {right})"
        case "linear":
            p, q = int(rng.integers(1, 4)), int(rng.choice((-3, -2, -1, 1, 2, 3)))
            bound = p * x + q * y
            sign = "+" if q > 0 else "-"
            limit = _round(abs(bound)) * (1 if bound >= 0 else -1)
            return f"({p} * a {sign} {abs(q)} * b < {limit})"
        case "quadratic":
            p, q = (int(v) for v in rng.integers(1, 4, 2))
            return f"({p} * a ** 2 + {q} * b ** 2 < {_round(p * x * x + q * y * y)})"
        case "product":
            return f"(a * b < {_round(x * y)})"
        case _:
            return f"(abs(a - b) < {_round(max(4, abs(x - y)))})"


def _powered(name: str, exponent: int) -> str:
    return name if exponent == 1 else f"{name} ** {exponent}"


def _grower(rng: np.random.Generator) -> str:
    name = str(rng.choice(("a", "b")))
    shapes = (
        "{0}",
        "{0} ** 2",
        "{0} ** 2 + {0}",
        "{0} ** 3",
        "math.isqrt({0} ** 3)",
        "math.isqrt({1} * {0})",
    )
    shape = str(rng.choice(shapes))
    return shape.format(name, int(rng.integers(2, 4)))


def _residue(rng: np.random.Generator) -> tuple[str, int]:
    m = int(rng.integers(3, 9))
    return f"(({_grower(rng)}) % {m})", m


def _test(rng: np.random.Generator, size: int) -> str:
    """An inequality, or now and then a residue that is small."""
    if rng.random() < 0.7:
        return _inequality(rng, size)
    if rng.random() < 0.3:
        m = int(rng.integers(3, 7))
        p = int(rng.integers(1, 3))
        return f"(({p} * a + b) % {m} < {int(rng.integers(1, m))})"
    residue, m = _residue(rng)
    return f"({residue} < {int(rng.integers(1, m))})"


def _score(rng: np.random.Generator, size: int) -> tuple[tuple[str, ...], str]:
    residue, m = _residue(rng)
    one, two = _inequality(rng, size), _inequality(rng, size)
    w, v = (int(x) for x in rng.integers(1, max(2, m // 2) + 1, 2))
    bound = int(rng.integers(2, m + w + v - 1))
    return (one, two), _function(f"({residue} + {w} * {one} + {v} * {two}) >= {bound}")


def _gated_score(rng: np.random.Generator, size: int) -> tuple[tuple[str, ...], str]:
    residue, m = _residue(rng)
    one, two, gate = (_inequality(rng, size) for _ in range(3))
    w, v = (int(x) for x in rng.integers(1, max(2, m // 2) + 1, 2))
    high = int(rng.integers(m // 2 + 1, m + w + v - 1))
    low = int(rng.integers(0, high - 1)) if high > 1 else 0
    score = f"({residue} + {w} * {one} + {v} * {two})"
    text = f"{score} >= {high} or ({low} <= {score} and {score} <= {low + 1} and {gate})"
    return (gate,), _function(text)


def _list(rng: np.random.Generator, size: int) -> tuple[tuple[str, ...], str]:
    tests = [_test(rng, size) for _ in range(3)]
    first = bool(rng.integers(2))
    text = f"{first} if {tests[0]} else ({not first} if {tests[1]} else {tests[2]})"
    return tuple(tests), _function(text)


def _gates(rng: np.random.Generator, size: int) -> tuple[tuple[str, ...], str]:
    tests = [_test(rng, size) for _ in range(int(rng.integers(2, 4)))]
    text = tests[0]
    for test in tests[1:]:
        text = f"({text} {rng.choice(('and', 'or', '!='))} {test})"
    return tuple(tests), _function(text)


def _function(text: str) -> str:
    # The condition is parsed by itself first, so that an error names it.
    parse_expression(text, "labelling")
    return f"import math\n\n\ndef label(a, b):\n    return {text}\n"


_TEXTS: dict[str, Any] = {
    "score": _score,
    "gated score": _gated_score,
    "list": _list,
    "gates": _gates,
}


def searched(source: Labelling, table: np.ndarray, name: str, seconds: float) -> Outcome:
    """What the search finds in a table, compared with the labelling."""
    started = time.monotonic()
    problem = problem_of(table, seconds)
    best: Program | None = None
    for hypothesis in propose(problem):
        best = hypothesis.program
        break
    spent = time.monotonic() - started
    agreement, text = 0.0, ""
    if best is not None:
        agreement = float((_table(best, source.size) == source.table).mean())
        text = " ; ".join(
            [expression(s.values[0]) for s in best.body if hasattr(s, "values")]
            + [expression(best.result)]
        )
    noise = float((table != source.table).mean())
    return Outcome(source.seed, source.kind, name, agreement, noise, spent, text)


def problem_of(table: np.ndarray, seconds: float) -> Problem:
    """The problem whose network answers with a table."""
    size = len(table)
    flat = table.astype(np.int64)

    def answers(packed: np.ndarray) -> np.ndarray:
        rows = packed.astype(np.int64)
        return flat[rows[:, 0], rows[:, 1]][:, None].astype(np.float64)

    domain = Domain(f"a: int[0..{size - 1}], b: int[0..{size - 1}]")
    claim = Claim(parse_expression("[a, b]", "pack"), decode=Decode("round"))
    target = Target(domain, claim, answers)
    observations = observe(target, list(domain.batches()))
    return Problem(target, observations, True, time.monotonic() + seconds)


def learned(source: Labelling, *, steps: int = 1500) -> np.ndarray:
    """The table of a small network (token embeddings, one hidden layer) trained on half of the
    pairs with weight decay."""
    import torch

    generator = torch.Generator().manual_seed(source.seed)
    size, width = source.size, 32
    inputs = torch.cartesian_prod(torch.arange(size), torch.arange(size))
    labels = torch.tensor(source.table.ravel().astype(np.int64))
    train = torch.randperm(len(labels), generator=generator)[: len(labels) // 2]
    shapes = ((size, width), (size, width), (2 * width, 128), (128, 2))
    scales = (0.3, 0.3, (2 * width) ** -0.5, 128**-0.5)
    weights = [
        (torch.randn(shape, generator=generator) * scale).requires_grad_()
        for shape, scale in zip(shapes, scales, strict=True)
    ]
    biases = [torch.zeros(n, requires_grad=True) for n in (128, 2)]

    def logits(pairs: Any) -> Any:
        embedded = torch.cat([weights[0][pairs[:, 0]], weights[1][pairs[:, 1]]], 1)
        return torch.relu(embedded @ weights[2] + biases[0]) @ weights[3] + biases[1]

    optimiser = torch.optim.AdamW([*weights, *biases], lr=5e-3, weight_decay=0.3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, steps)
    for _ in range(steps):
        batch = train[torch.randint(len(train), (512,), generator=generator)]
        loss = torch.nn.functional.cross_entropy(logits(inputs[batch]), labels[batch])
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()
    with torch.no_grad():
        return np.asarray(logits(inputs).argmax(1).numpy().astype(bool)).reshape(size, size)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks labelling", description=__doc__)
    parser.add_argument("--first", type=int, default=PUBLISHED[0])
    parser.add_argument("--count", type=int, default=len(PUBLISHED))
    parser.add_argument("--time", type=float, default=60.0, help="seconds for each search")
    parser.add_argument("--sources", default="clean,network")
    parser.add_argument("--out", default="")
    options = parser.parse_args(arguments)
    outcomes: list[Outcome] = []
    for seed in range(options.first, options.first + options.count):
        source = labelling(seed)
        for name in options.sources.split(","):
            table = source.table if name == "clean" else learned(source)
            outcome = searched(source, table, name, options.time)
            outcomes.append(outcome)
            print(
                f"{seed} {source.kind:<12} {name:<8} noise {outcome.noise:6.2%} "
                f"{outcome.verdict:<6} {outcome.agreement:8.3%} {outcome.seconds:5.0f} s  "
                f"{outcome.found[:150]}",
                flush=True,
            )
            if outcome.verdict != "exact":
                print("      truth:", expression(source.program.result)[:200], flush=True)
    for name in options.sources.split(","):
        mine = [o for o in outcomes if o.source == name]
        counts = {v: sum(o.verdict == v for o in mine) for v in ("exact", "near", "not")}
        print(f"{name}: {counts} of {len(mine)}")
    if options.out:
        rows = [{**{k: getattr(o, k) for k in o.__slots__}, "verdict": o.verdict} for o in outcomes]
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(rows, file, indent=1)
    return 0
