"""How exhaustive verification scales with workers: speed-up, overhead of an item, data moved.

    python -m benchmarks.scaling [--seconds 30] [--jobs 1 2] [--dask] [--json FILE]

makes a network so large that one worker takes about `--seconds`, proves the same program with each
number of workers, and compares the verdicts with their evidence. The overhead of an item is that of
items that do nothing. `cpu_speedup` is the CPU time of one worker alone by that of the busiest of
several: what the wall clock would show on a machine that nobody else uses.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pickle
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from distill import execution, task
from distill.certificate import verdict_table
from dsl.claim import Proved, Target
from dsl.parser import parse
from verify import enumeration

_EMPTY_ITEMS = 400
PROGRAM = parse("def program(a, b, c):\n    return int(a + 2 * b - c > 3)\n")


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


def timed(target: Target, item: Any) -> tuple[int, float]:
    """The process that compared a block, and the CPU seconds that it took."""
    started = time.process_time()
    enumeration.compared(target, item)
    return os.getpid(), time.process_time() - started


def busiest(target: Target) -> float:
    """The CPU seconds of the busiest worker over all blocks."""
    items = [enumeration.Item(PROGRAM, b, 0.0) for b in enumeration.blocks_of(target.domain)]
    spent: dict[int, float] = {}
    for process, seconds in target.spread(timed, items):
        spent[process] = spent.get(process, 0.0) + seconds
    return max(spent.values())


def proved(target: Target) -> tuple[float, dict[str, Any]]:
    """Seconds and the verdict's table."""
    started = time.perf_counter()
    verdict = enumeration.verify(
        PROGRAM, target, deadline=time.monotonic() + 3600, seed=0, evidence={}
    )
    assert isinstance(verdict, Proved), verdict
    return time.perf_counter() - started, verdict_table(verdict)


@contextlib.contextmanager
def cluster(count: int) -> Iterator[str]:
    """The address of a local Dask cluster of processes."""
    import distributed

    with distributed.LocalCluster(
        n_workers=count, threads_per_worker=1, processes=True, dashboard_address=None
    ) as local:
        yield local.scheduler_address.replace("tcp://", "dask://")


def measured(
    described: task.Task, target: Target, jobs: int, address: str | None
) -> dict[str, Any]:
    """Seconds of a proof, of opening the workers, and of an empty item."""
    started = time.perf_counter()
    with execution.workers(described, target, jobs=jobs, executor=address) as pool:
        ready = replace(target, workers=pool)
        # The first items open the model in every worker.
        list(ready.spread(nothing, range(8 * jobs)))
        opened = time.perf_counter() - started
        started = time.perf_counter()
        list(ready.spread(nothing, range(_EMPTY_ITEMS)))
        overhead = (time.perf_counter() - started) / _EMPTY_ITEMS
        seconds, verdict = proved(ready)
        cpu = busiest(ready)
    return {
        "workers": f"{'dask' if address else 'processes' if jobs > 1 else 'serial'} {jobs}",
        "seconds": round(seconds, 2),
        "busiest_cpu": round(cpu, 2),
        "opening": round(opened, 2),
        "overhead_ms": round(1000 * overhead, 3),
        "verdict": json.dumps(verdict, sort_keys=True),
    }


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dask", action="store_true", help="a local cluster of two workers too")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        described = saved(Path(folder), 99, 2)
        target = task.target(described)
        once = proved(target)[0]
        depth = max(1, int(2 * options.seconds / once))
        described = saved(Path(folder), 99, depth)
        target = task.target(described)
        blocks = enumeration.blocks_of(target.domain)
        item = pickle.dumps(enumeration.Item(PROGRAM, blocks[0], 0.0))
        tally = pickle.dumps(
            enumeration.compared(target, enumeration.Item(PROGRAM, blocks[0], 0.0))
        )
        rows = [measured(described, target, jobs, None) for jobs in options.jobs]
        if options.dask:
            with cluster(2) as address:
                rows.append(measured(described, target, 2, address))
    same = len({row.pop("verdict") for row in rows}) == 1
    for row in rows:
        row["speedup"] = round(rows[0]["seconds"] / row["seconds"], 2)
        row["cpu_speedup"] = round(rows[0]["busiest_cpu"] / row["busiest_cpu"], 2)
    result = {
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "items": len(blocks),
        "bytes_sent": len(item),
        "bytes_returned": len(tally),
        "same_verdict": same,
        "rows": rows,
    }
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
