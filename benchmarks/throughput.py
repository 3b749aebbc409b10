"""How fast exhaustive verification is, next to the bare network on the same inputs.

`python -m benchmarks.throughput [FOLDER ...]`: for networks of several sizes, and those of task
folders, inputs per second of the whole
proof (drawing inputs, packing, network, decoding, program, comparison, digest) and of the runtime
alone on inputs that are packed already, both on one core, in turns within one run, in seconds of
processor time.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from distill import oracle, task
from dsl.claim import Claim, Decode, Proved, Refuted, Target
from dsl.domain import BLOCK, Domain
from dsl.parser import parse, parse_expression
from verify import enumeration

_ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Case:
    """A perceptron of layers `widths` over `names` with `values` values each, whose first output is
    the greatest everywhere: what `return 0` claims is proved."""

    name: str
    names: str
    values: int
    widths: tuple[int, ...]


CASES = (
    Case("MLP 3-16-3", "abc", 100, (16, 3)),
    Case("MLP 5-16-16-3", "abcde", 16, (16, 16, 3)),
    Case("MLP 4-64-64-4", "abcd", 32, (64, 64, 4)),
    Case("MLP 3-256-256-10", "abc", 64, (256, 256, 10)),
)


def target_of(case: Case) -> Target:
    import torch

    torch.manual_seed(0)
    sizes = (len(case.names), *case.widths)
    layers: list[torch.nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.ReLU()]
    module = torch.nn.Sequential(*layers[:-1]).eval()
    with torch.no_grad():
        module[-1].bias[0] += 1000.0
    domain = Domain(", ".join(f"{name}: int[0..{case.values - 1}]" for name in case.names))
    claim = Claim(parse_expression(f"[{', '.join(case.names)}]"), decode=Decode("argmax"))
    return Target(domain, claim, oracle.from_torch(module))


def rates(target: Target, rounds: int) -> dict[str, float]:
    """Inputs per second of the proof and of the runtime, medians of several rounds."""
    program = parse(f"def program({', '.join(target.domain.names)}):\n    return 0\n")
    size = target.domain.raw_size
    assert size is not None
    packed = [target.pack(batch) for batch in target.domain.batches(BLOCK)]
    proof, bare = [], []
    for _ in range(rounds):
        started = time.process_time()
        for block in packed:
            target.runtime(block)
        bare.append(size / (time.process_time() - started))
        started = time.process_time()
        verdict = enumeration.verify(
            program, target, deadline=time.monotonic() + 600, seed=0, evidence={}
        )
        proof.append(size / (time.process_time() - started))
        assert isinstance(verdict, (Proved, Refuted))
    return {
        "inputs": size,
        "proof": median(proof),
        "runtime": median(bare),
        "ratio": median(p / b for p, b in zip(proof, bare)),
    }


def main(folders: list[str]) -> int:
    import torch

    torch.set_num_threads(1)
    np.seterr(all="ignore")
    rows = {case.name: rates(target_of(case), _ROUNDS) for case in CASES}
    rows |= {Path(folder).name[:20]: rates(task.load(folder), 3) for folder in folders}
    print(f"{'network':<20} {'inputs':>9} {'proof M/s':>10} {'runtime M/s':>12} {'ratio':>6}")
    for name, row in rows.items():
        print(
            f"{name:<20} {row['inputs']:>9} {row['proof'] / 1e6:>10.2f} "
            f"{row['runtime'] / 1e6:>12.2f} {row['ratio']:>6.2f}"
        )
    print(json.dumps(rows), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
