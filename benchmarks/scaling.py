"""How verification scales with workers: speed-up, overhead of an item, data moved.

    python -m benchmarks.scaling [--seconds 30] [--jobs 1 2] [--dask] [--json FILE]

makes claims on which one worker works about `--seconds`, one for exhaustive verification and one
for branch and bound, proves each with each number of workers, and compares the verdicts with their
evidence. The overhead of an item is that of items that do nothing. `cpu_speedup` is the CPU time of
the items on one worker by that of the busiest of several: what the wall clock would show on a
machine that nobody else uses.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from distill import execution, task
from distill.certificate import verdict_table
from dsl.claim import LATER, Proved, Target, Verdict, Workers
from dsl.parser import parse
from verify import branch_and_bound, enumeration

_EMPTY_ITEMS = 400
PROGRAM = parse("def program(a, b, c):\n    return int(a + 2 * b - c > 3)\n")
BOX_NAMES = "abcdef"
ZERO = parse(f"def program({', '.join(BOX_NAMES)}):\n    return 0\n")


class Deep(torch.nn.Module):
    """Says whether a + 2 * b - c > 3; `width` and `depth` only cost time."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.first = torch.nn.Linear(3, width)
        self.layers = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(depth))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        x = inputs.float()
        score = x[:, 0] + 2 * x[:, 1] - x[:, 2] - 3.5
        busy = torch.relu(self.first(x / 100))
        for layer in self.layers:
            busy = torch.relu(layer(busy))
        score = score + 0.001 * torch.tanh(busy.mean(1))
        return torch.stack([-score, score], 1)


def saved(folder: Path, last: int, depth: int) -> task.Task:
    torch.manual_seed(0)
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    example = torch.zeros(2, 3, dtype=torch.int64)
    network = Deep(128, depth).eval()
    exported = torch.export.export(network, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(exported, str(folder / "model.pt2"))
    inputs = ", ".join(f"{name}: int[0..{last}]" for name in "abc")
    (folder / "task.toml").write_text(
        f'name = "deep"\ndomain = "{inputs}"\npack = "[a, b, c]"\n'
        '[input]\ndtype = "int64"\n[output]\ndecode = "argmax"\n'
    )
    return task.read(folder)


def nothing(target: Target, item: Any) -> int:
    """An item that costs no time: what is measured is its way there and back."""
    return 0


def timed(target: Target, item: Any) -> tuple[int, float, Any]:
    """The process that worked on an item, the CPU seconds that it took, and the result."""
    function, inner = item
    started = time.process_time()
    result = function(target, inner)
    return os.getpid(), time.process_time() - started, result


@dataclass
class Metered:
    """Workers that note the CPU seconds that each process spends on items."""

    inner: Workers
    spent: dict[int, float] = field(default_factory=dict)

    @property
    def count(self) -> int:
        return self.inner.count

    def run(
        self,
        target: Target,
        function: Callable[[Target, Any], Any],
        items: Iterable[Any],
        total: int | None = None,
    ) -> Iterator[Any]:
        pairs = (item if item is LATER else (function, item) for item in items)
        for process, seconds, result in self.inner.run(target, timed, pairs, total):
            self.spent[process] = self.spent.get(process, 0.0) + seconds
            yield result


Prove = Callable[[Target], Verdict | None]


def enumerated(target: Target) -> Verdict | None:
    return enumeration.verify(
        PROGRAM, target, deadline=time.monotonic() + 3600, seed=0, evidence={}
    )


def bounded(target: Target) -> Verdict | None:
    return branch_and_bound.verify(
        ZERO, target, deadline=time.monotonic() + 3600, seed=0, evidence={}
    )


def proved(target: Target, prove: Prove) -> tuple[float, dict[str, Any]]:
    """Seconds and the verdict's table."""
    started = time.perf_counter()
    verdict = prove(target)
    assert isinstance(verdict, Proved), verdict
    return time.perf_counter() - started, verdict_table(verdict)


def exhaustive(folder: Path, seconds: float) -> task.Task:
    """A claim on 10^6 inputs that takes one worker about so long."""
    described = saved(folder, 99, 2)
    once = proved(task.target(described), enumerated)[0]
    return saved(folder, 99, max(1, int(2 * seconds / once)))


def greatest(network: torch.nn.Module) -> float:
    """The greatest absolute value on the box: the best of a grid, climbed."""
    axis = torch.linspace(-2, 2, 7)
    grid = torch.cartesian_prod(*[axis] * len(BOX_NAMES))
    points = grid[network(grid).abs().flatten().argsort(descending=True)[:200]].detach()
    for step in range(400):
        points.requires_grad_(True)
        value = network(points).abs().sum()
        (slope,) = torch.autograd.grad(value, points)
        points = (points + 0.1 * 0.98**step * slope.sign()).clamp(-2, 2).detach()
    return float(network(points).abs().max().detach())


def bounding(folder: Path, seconds: float) -> task.Task:
    """A claim that values are small on a box, made tight until one worker takes about so long."""
    torch.manual_seed(0)
    sizes = (len(BOX_NAMES), 32, 32, 1)
    layers: list[torch.nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [torch.nn.Linear(before, after), torch.nn.Tanh()]
    network = torch.nn.Sequential(*layers[:-1])
    with torch.no_grad():
        for layer in network[::2]:
            layer.weight *= 2.0
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    exported = torch.export.export(
        network.eval(), (torch.zeros(2, len(BOX_NAMES)),), dynamic_shapes=({0: batch},)
    )
    torch.export.save(exported, str(folder / "model.pt2"))
    largest = greatest(network)
    for excess in (0.05, 0.02, 0.01, 0.004, 0.002, 0.001, 0.0004, 0.0002):
        inputs = ", ".join(f"{name}: real[-2,2]" for name in BOX_NAMES)
        (folder / "task.toml").write_text(
            f'name = "small"\ndomain = "{inputs}"\npack = "[{", ".join(BOX_NAMES)}]"\n'
            f'tolerance = {largest * (1 + excess)}\n[output]\ndecode = "value"\n'
        )
        described = task.read(folder)
        if proved(task.target(described), bounded)[0] >= 0.7 * seconds:
            break
    return described


@contextlib.contextmanager
def cluster(count: int) -> Iterator[str]:
    """The address of a local Dask cluster of processes."""
    import distributed

    with distributed.LocalCluster(
        n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None
    ) as local:
        yield local.scheduler_address.replace("tcp://", "dask://")


def measured(described: task.Task, prove: Prove, jobs: int, address: str | None) -> dict[str, Any]:
    """Seconds of a proof, of opening the workers, and of an empty item."""
    target = task.target(described)
    started = time.perf_counter()
    with execution.workers(described, target, jobs=jobs, executor=address) as pool:
        meter = Metered(pool)
        ready = replace(target, workers=meter)
        # The first items open the model in every worker.
        list(ready.spread(nothing, range(8 * jobs)))
        opened = time.perf_counter() - started
        started = time.perf_counter()
        list(ready.spread(nothing, range(_EMPTY_ITEMS)))
        overhead = (time.perf_counter() - started) / _EMPTY_ITEMS
        meter.spent.clear()
        seconds, verdict = proved(ready, prove)
    return {
        "workers": f"{'dask' if address else 'processes' if jobs > 1 else 'serial'} {jobs}",
        "seconds": round(seconds, 2),
        "busiest_cpu": round(max(meter.spent.values(), default=0.0), 2),
        "opening": round(opened, 2),
        "overhead_ms": round(1000 * overhead, 3),
        "verdict": json.dumps(verdict, sort_keys=True),
    }


def table(described: task.Task, prove: Prove, several: Sequence[int], dask: bool) -> dict[str, Any]:
    """A row for each number of workers, with what each gains over the first."""
    rows = [measured(described, prove, jobs, None) for jobs in several]
    if dask:
        with cluster(2) as address:
            rows.append(measured(described, prove, 2, address))
    same = len({row.pop("verdict") for row in rows}) == 1
    for row in rows:
        row["speedup"] = round(rows[0]["seconds"] / row["seconds"], 2)
        row["cpu_speedup"] = round(rows[0]["busiest_cpu"] / max(row["busiest_cpu"], 0.01), 2)
    return {"same_verdict": same, "rows": rows}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dask", action="store_true", help="a local cluster of two workers too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    result: dict[str, Any] = {"cores": os.cpu_count(), "load_average": os.getloadavg()[0]}
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
        described = exhaustive(Path(one), options.seconds)
        target = task.target(described)
        blocks = enumeration.blocks_of(target.domain)
        item = enumeration.Item(PROGRAM, blocks[0], 0.0)
        result |= {
            "items": len(blocks),
            "bytes_sent": len(pickle.dumps(item)),
            "bytes_returned": len(pickle.dumps(enumeration.compared(target, item))),
            "enumeration": table(described, enumerated, options.jobs, options.dask),
        }
        described = bounding(Path(other), options.seconds)
        result["branch_and_bound"] = table(described, bounded, options.jobs, options.dask)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    kinds = ("enumeration", "branch_and_bound")
    return 0 if all(result[kind]["same_verdict"] for kind in kinds) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
