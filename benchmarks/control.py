"""Networks of real inputs: the size of the best program, and what is proven of it by volume.

Each task below a path is compiled in a process of its own; then its program is compared with the
network by branch and bound for `--prove` seconds.  For real values the deviation is what 100 000
fresh inputs show, and the bound is one that is proven.  With `--clock processor` all seconds are of
each process's own processor time.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.clocks import by_processor_time


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks control", description=__doc__)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--time", type=float, default=60.0, help="seconds of search")
    parser.add_argument("--prove", type=float, default=60.0, help="seconds of proof")
    parser.add_argument("--clock", choices=("clock", "processor"), default="clock")
    parser.add_argument("--json", help="a file to which each row is appended, one a line")
    parser.add_argument("--out", help="a folder in which the programs are kept")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        if options.clock == "processor":
            by_processor_time()
        print(json.dumps(_row(Path(options.paths[0]), options)))
        return 0
    for path in options.paths:
        for folder in sorted(p.parent for p in Path(path).rglob("task.toml")):
            row = _in_process(folder, options)
            print(_line(row), flush=True)
            if options.json:
                with open(options.json, "a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
    return 0


def _in_process(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks", "control", str(folder), "--one"]
    command += ["--time", str(options.time), "--prove", str(options.prove)]
    command += ["--clock", options.clock]
    if options.out:
        command += ["--out", options.out]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        cwd=Path(__file__).resolve().parent.parent,
    )
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        return {"name": folder.name, "error": last[:160]}
    row: dict[str, Any] = json.loads(lines[-1])
    return row


def _row(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import numpy as np

    from distill import emit, measuring, pipeline, task
    from dsl.agreement import agreeing
    from dsl.claim import Proved
    from dsl.evaluate import run_defined
    from dsl.parser import parse
    from dsl.printer import count_lines, to_python
    from dsl.program import size
    from verify import branch_and_bound, cells

    started = time.monotonic()
    described = task.read(folder)
    target = task.target(described)
    result = pipeline.compile_target(target, seconds=options.time)
    program = parse(to_python(result.program))
    row: dict[str, Any] = {
        "name": described.name,
        "nodes": size(program),
        "lines": count_lines(program),
        "search_s": round(time.monotonic() - started, 1),
        "verdict": type(result.verdict).__name__,
        "method": getattr(result.verdict, "method", ""),
    }
    if options.out:
        place = Path(options.out) / described.name
        place.mkdir(parents=True, exist_ok=True)
        place.joinpath("program.py").write_text(emit.program_text(result), encoding="utf-8")
        place.joinpath("summary.txt").write_text(emit.summary(result), encoding="utf-8")
    batches = target.domain.sample(100_000, np.random.default_rng(20_260_102))
    right = total = 0
    largest = 0.0
    for batch in batches:
        values = target.evaluate(batch).values
        same = agreeing(program, batch, values, target.claim.decode)
        right, total = right + int(same.sum()), total + len(same)
        if target.claim.decode.rule == "value":
            ours, _ = run_defined(program, batch)
            largest = max(largest, float(np.abs(ours - values).max()))
    row["agreement"] = right / total
    if isinstance(result.verdict, Proved):
        return {**row, "proven": 1.0, "refuted": 0.0, "open": 0.0, "deviation": largest}
    if target.claim.decode.rule == "value":
        row["deviation"] = largest
        bound = max(measuring.rounded_up(1.1 * largest), target.claim.decode.tolerance)
        decode = replace(target.claim.decode, tolerance=bound)
        target = replace(target, claim=replace(target.claim, decode=decode))
        row["within"] = bound
    proving = time.monotonic()
    whole = cells.verify(program, target, deadline=proving + options.prove, seed=0, evidence={})
    if isinstance(whole, Proved):
        row |= {"proven": 1.0, "refuted": 0.0, "open": 0.0}
        return {**row, "prove_s": round(time.monotonic() - proving, 1)}
    found = branch_and_bound.coverage(program, target, proving + options.prove)
    if found is None:
        row["error"] = branch_and_bound.reason(program, target)
        return row
    row |= {"proven": found.proven, "refuted": found.refuted, "open": found.open}
    return {**row, "prove_s": round(time.monotonic() - proving, 1)}


def _line(row: dict[str, Any]) -> str:
    if "nodes" not in row:
        return f"{row['name']:<24} {row['error']}"
    text = (
        f"{row['name']:<24} {row['verdict']:<8} {row['nodes']:>5} nodes {row['lines']:>3} lines  "
        f"agrees {100 * row['agreement']:.3f} %"
    )
    if "deviation" in row:
        text += f"  off {row['deviation']:.3g}"
    if "within" in row:
        text += f"  (bound {row['within']:g})"
    if "proven" in row:
        text += (
            f"  proven {100 * row['proven']:.2f} %  refuted {100 * row['refuted']:.3f} %  "
            f"open {100 * row['open']:.2f} %"
        )
    return text + ("  " + row["error"] if row.get("error") else "")
