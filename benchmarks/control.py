"""Networks of real inputs: the size of the best program, and what is proven of it by volume.

Each task below a path is compiled in a process of its own; then its program is compared with the
network by branch and bound for `--prove` seconds: of several numbers, for each from the start,
until hardly anything is open.  `--programs` takes the programs that an earlier run has kept
(`--out`) instead of searching.  For real values the deviation is what 100 000 fresh inputs show,
and the bound is one that is proven.  With `--clock processor` all seconds are of each process's own
processor time.
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

import numpy as np

from benchmarks.clocks import by_processor_time
from distill import emit, measuring, pipeline, task
from dsl.agreement import agreeing
from dsl.claim import Proved, Target, Verdict
from dsl.evaluate import run_defined
from dsl.parser import parse
from dsl.printer import count_lines, to_python
from dsl.program import Program, size
from verify import branch_and_bound, cells

_HARDLY = 0.005
"""The share that may be open for a longer proof not to be tried."""


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks control", description=__doc__)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--time", type=float, default=60.0, help="seconds of search")
    parser.add_argument("--prove", type=float, nargs="+", default=[60.0], help="seconds of proof")
    parser.add_argument("--programs", help="a folder in which an earlier run kept its programs")
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
    command += ["--time", str(options.time), "--clock", options.clock]
    command += ["--prove", *map(str, options.prove)]
    if options.programs:
        command += ["--programs", str(Path(options.programs).resolve())]
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
    started = time.monotonic()
    described = task.read(folder)
    target = task.target(described)
    program, verdict = _program(described.name, target, options)
    row: dict[str, Any] = {
        "name": described.name,
        "nodes": size(program),
        "lines": count_lines(program),
        "search_s": round(time.monotonic() - started, 1),
        "verdict": type(verdict).__name__ if verdict is not None else "",
        "method": getattr(verdict, "method", ""),
    }
    row["agreement"], largest = _compared(program, target)
    if isinstance(verdict, Proved):
        return {**row, "proven": 1.0, "refuted": 0.0, "open": 0.0, "deviation": largest}
    if target.claim.decode.rule == "value":
        row["deviation"] = largest
        bound = max(measuring.rounded_up(1.1 * largest), target.claim.decode.tolerance)
        decode = replace(target.claim.decode, tolerance=bound)
        target = replace(target, claim=replace(target.claim, decode=decode))
        row["within"] = bound
    return {**row, **_proven(program, target, options.prove)}


def _program(
    name: str, target: Target, options: argparse.Namespace
) -> tuple[Program, Verdict | None]:
    """The best program and what is known of it: one that was kept, or one that is searched."""
    if options.programs:
        text = (Path(options.programs) / name / "program.py").read_text(encoding="utf-8")
        return parse(text), None
    result = pipeline.compile_target(target, seconds=options.time)
    if options.out:
        place = Path(options.out) / name
        place.mkdir(parents=True, exist_ok=True)
        place.joinpath("program.py").write_text(emit.program_text(result), encoding="utf-8")
        place.joinpath("summary.txt").write_text(emit.summary(result), encoding="utf-8")
    return parse(to_python(result.program)), result.verdict


def _compared(program: Program, target: Target) -> tuple[float, float]:
    """On how many random inputs a program equals the network, and how far it is off at most."""
    right = total = 0
    largest = 0.0
    for batch in target.domain.sample(100_000, np.random.default_rng(20_260_102)):
        values = target.evaluate(batch).values
        same = agreeing(program, batch, values, target.claim.decode)
        right, total = right + int(same.sum()), total + len(same)
        if target.claim.decode.rule == "value":
            ours, _ = run_defined(program, batch)
            largest = max(largest, float(np.abs(ours - values).max()))
    return right / total, largest


def _proven(program: Program, target: Target, budgets: Sequence[float]) -> dict[str, Any]:
    """What is proven within each number of seconds; the last one counts."""
    row: dict[str, Any] = {"after": {}}
    for seconds in budgets:
        proving = time.monotonic()
        whole = cells.verify(program, target, deadline=proving + seconds, seed=0, evidence={})
        if isinstance(whole, Proved):
            shares = {"proven": 1.0, "refuted": 0.0, "open": 0.0}
        else:
            found = branch_and_bound.coverage(program, target, proving + seconds)
            if found is None:
                return {**row, "error": branch_and_bound.reason(program, target)}
            shares = {"proven": found.proven, "refuted": found.refuted, "open": found.open}
        row |= {**shares, "prove_s": round(time.monotonic() - proving, 1)}
        row["after"][f"{seconds:g}"] = shares
        if shares["open"] < _HARDLY:
            break
    return row


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
        for seconds, shares in row.get("after", {"": row}).items():
            text += (
                f"  {seconds} s:" * bool(seconds) + f"  proven {100 * shares['proven']:.2f} %  "
                f"refuted {100 * shares['refuted']:.3f} %  open {100 * shares['open']:.2f} %"
            )
    return text + ("  " + row["error"] if row.get("error") else "")
