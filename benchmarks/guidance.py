"""Guided against unguided search: candidates tried until an exact program is found.

`python -m benchmarks.guidance [SECONDS]`: ten rules, each learned by a small network from a fixed
seed; the same enumeration runs twice on the network, once with the expressions that its
activations hold as new leaves and once without.  A search that ends without a program counts with
the candidates that it had tried by then: the ratios are lower bounds there (marked `>`).
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from distill import api
from distill.observation import observed
from dsl.claim import Target
from dsl.printer import expression
from examples.train import Perceptron, fitted
from synth.expressions import Effort, disagreements, search
from synth.problem import Problem


@dataclass(frozen=True, slots=True)
class Rule:
    """A function of integers from 0 to `size` - 1."""

    text: str
    function: Callable[..., int]
    size: int = 8
    inputs: int = 3


RULES = (
    Rule("(a + b + c) % 8", lambda a, b, c: (a + b + c) % 8),
    Rule("max(a, b) + min(b, c)", lambda a, b, c: max(a, b) + min(b, c)),
    Rule("abs(a - b) + abs(b - c)", lambda a, b, c: abs(a - b) + abs(b - c)),
    Rule("(a + 2 * b) // 3 + c % 2", lambda a, b, c: (a + 2 * b) // 3 + c % 2),
    Rule("int(a + b > 2 * c) + int(b == c)", lambda a, b, c: int(a + b > 2 * c) + int(b == c)),
    Rule("max(a, b, c) - min(a, b, c)", lambda a, b, c: max(a, b, c) - min(a, b, c)),
    Rule("(a * b + c) % 7", lambda a, b, c: (a * b + c) % 7, 7),
    Rule("abs(a + b - c - d)", lambda a, b, c, d: abs(a + b - c - d), 5, 4),
    Rule("max(a + b, c + d)", lambda a, b, c, d: max(a + b, c + d), 5, 4),
    Rule("abs(a - b) + max(c, d)", lambda a, b, c, d: abs(a - b) + max(c, d), 5, 4),
)


def target_of(rule: Rule, number: int, folder: Path) -> Target:
    """The network that learned a rule, read back from its file."""
    import torch

    torch.set_num_threads(1)
    sizes = (rule.size,) * rule.inputs
    network: Perceptron = fitted(rule.function, sizes, 96, seed=number)
    path = folder / f"rule_{number}.pt2"
    batch = torch.export.Dim("batch", min=1)
    example = torch.zeros((2, rule.inputs), dtype=torch.long)
    torch.export.save(
        torch.export.export(network.eval(), (example,), dynamic_shapes=({0: batch},)), path
    )
    names = "abcd"[: rule.inputs]
    domain = ", ".join(f"{name}: int[0..{rule.size - 1}]" for name in names)
    target, _ = api.target(str(path), domain, decode="argmax", dtype="int64")
    return target


def candidates(target: Target, effort: Effort, seconds: float) -> tuple[int, str | None]:
    """How many candidates were tried, and the exact program if there is one."""
    deadline = time.monotonic() + seconds
    observations, complete = observed(target, 0, deadline)
    problem = Problem(target, observations, complete, deadline)
    attempts = search(problem, effort)
    while True:
        try:
            hypothesis = next(attempts)
        except StopIteration as end:
            return int(end.value), None
        if not disagreements(problem, hypothesis.program, 1):
            return hypothesis.tried, expression(hypothesis.program.result)


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0]) if arguments else 60.0
    rows = []
    print(f"{'rule':<34} {'guided':>12} {'unguided':>13} {'ratio':>8}")
    with TemporaryDirectory() as folder:
        for number, rule in enumerate(RULES):
            target = target_of(rule, number, Path(folder))
            guided, found = candidates(target, Effort(), seconds)
            unguided, plain = candidates(target, Effort(guided=False), seconds)
            ratio = unguided / max(guided, 1)
            rows.append({"rule": rule.text, "guided": guided, "unguided": unguided})
            rows[-1] |= {"found_guided": found, "found_unguided": plain, "ratio": ratio}
            mark = "" if plain is not None else ">"
            miss = "" if found is not None else "  (guided search found none)"
            print(
                f"{rule.text:<34} {guided:>12,} {mark:>1}{unguided:>12,} {ratio:>8.1f}{miss}",
                flush=True,
            )
    print(f"median ratio {median(row['ratio'] for row in rows):.1f}")
    print(json.dumps(rows), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
