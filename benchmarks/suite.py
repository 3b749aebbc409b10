"""Runs every task folder below a path, each in a process of its own, and prints a table.

Agreement is that of the emitted text, parsed again, with the network on inputs that this runner
draws itself: all of them where the domain is small.  Failures stay in the table.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLUMNS = (
    "name",
    "suite",
    "verdict",
    "method",
    "proven_domain",
    "agreement",
    "samples",
    "nodes",
    "lines",
    "seconds",
    "memory_mb",
    "error",
)
_EXHAUSTIVE = 200_000
_SAMPLES = 100_000
_GRACE = 150.0


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    if options.one:
        print(json.dumps(_measured(Path(options.path), options.time, options.out)))
        return 0
    folders = sorted(path.parent for path in Path(options.path).rglob("task.toml"))
    if not folders:
        print(f"no task.toml under {options.path}", file=sys.stderr)
        return 2
    rows: list[dict[str, Any]] = []
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        work = {pool.submit(_run, folder, options): folder for folder in folders}
        for done in concurrent.futures.as_completed(work):
            row = done.result()
            rows.append(row)
            print(_line(row), flush=True)
            if options.json:
                _write(Path(options.json), rows)
    rows.sort(key=lambda row: (row["suite"], row["name"]))
    print(_totals(rows))
    if options.json:
        _write(Path(options.json), rows)
    return 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks suite", description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--time", type=float, default=300.0, help="seconds for each network")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--json", help="where to write the rows")
    parser.add_argument("--out", help="a folder in which the emitted programs are kept")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _run(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """The row of one task, measured in a process of its own."""
    command = [sys.executable, "-m", "benchmarks", "suite", str(folder), "--one"]
    command += ["--time", str(options.time)]
    if options.out:
        command += ["--out", str(Path(options.out) / folder.parent.name / folder.name)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    started = time.monotonic()
    try:
        finished = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=options.time + _GRACE,
            env=environment,
            cwd=Path(__file__).resolve().parent.parent,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _failed(folder, "it ran past its time", time.monotonic() - started)
    lines = finished.stdout.strip().splitlines()
    if finished.returncode != 0 or not lines:
        last = (finished.stderr.strip().splitlines() or ["no output"])[-1]
        return _failed(folder, last[:200], time.monotonic() - started)
    row: dict[str, Any] = json.loads(lines[-1])
    return row


def _failed(folder: Path, error: str, seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(COLUMNS)
    row |= {"name": folder.name, "suite": folder.parent.name, "verdict": "ERROR", "method": ""}
    row |= {"error": error, "seconds": round(seconds, 2), "agreement": 0.0, "samples": 0}
    return row


def _measured(folder: Path, seconds: float, out: str | None) -> dict[str, Any]:
    """Distils one task, and compares the text of the program with the network afresh."""
    from distill import datasets, emit, pipeline, task
    from distill.certificate import verdict_table
    from dsl.errors import DistillError
    from dsl.parser import parse
    from dsl.printer import count_lines
    from dsl.program import size

    _single_thread()
    started = time.monotonic()
    try:
        described = task.read(folder)
        target = task.target(described)
        data = datasets.of_task(dict(described.table), folder, target.domain)
        result = pipeline.compile_target(target, seconds=seconds, data=data)
    except DistillError as error:
        return _failed(folder, f"{error.code}: {error.finding}", time.monotonic() - started)
    spent = time.monotonic() - started
    program = parse(emit.program_text(result))
    agreement, samples = agreement_of(program, target)
    verdict = verdict_table(result.verdict)
    if out:
        emit.save(result, described, Path(out))
    return {
        "name": described.name,
        "suite": described.suite,
        "verdict": verdict["kind"],
        "method": verdict.get("method", ""),
        "proven_domain": proven_domain(verdict),
        "agreement": agreement,
        "samples": samples,
        "nodes": size(program),
        "lines": count_lines(program),
        "seconds": round(spent, 2),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "error": "",
    }


def proven_domain(verdict: Mapping[str, Any]) -> str:
    """Where the program is proven equal to the network, or within which distance of it: the domain
    of a proof, the length up to which it is right on all, or the share of a box's volume; nothing
    where nothing is proven."""
    if verdict["kind"] == "PROVED":
        return str(verdict["proven_domain"])
    from distill.emit import of_longer

    found = verdict.get("evidence", {})
    parts = []
    if found.get("agrees_up_to_length") is not None:
        parts.append(f"agrees on all inputs of up to {found['agrees_up_to_length']} items")
    if longer := of_longer(found):
        parts.append(longer)
    if found.get("proven"):
        parts.append(f"{100 * found['proven']:.2f} % of the volume")
        parts.append(f"{100 * found.get('refuted', 0.0):.2f} % differ")
    if found.get("within_proven") and found.get("within_open") == 0.0:
        parts.append(f"within {found['within']:.2g} everywhere")
    elif found.get("largest_difference") is not None:
        parts.append(f"within {found['largest_difference']:.2g} everywhere")
    elif found.get("within_proven"):
        share = 100 * found["within_proven"]
        parts.append(f"within {found['within']:.2g} on {share:.2f} % of the volume")
    return ", ".join(parts)


def _single_thread() -> None:
    import torch

    torch.set_num_threads(1)


def agreement_of(program: Any, target: Any) -> tuple[float, int]:
    """The fraction of inputs on which program and network agree, and how many were compared:
    the whole domain if it is small, else random inputs of this runner's own seed."""
    import numpy as np

    from dsl.forcing import is_causal
    from dsl.generation import within_reach
    from dsl.reachable import sample
    from verify.sampling import matching

    domain = target.domain
    small = domain.raw_size is not None and domain.raw_size <= _EXHAUSTIVE
    right = total = 0
    deadline = time.monotonic() + 100
    small = small and not target.claim.closed_loop and within_reach(target, domain.raw_size or 0)
    if small:
        batches, forcing = domain.batches(), False
    else:
        rng = np.random.default_rng(20_260_101)
        costly = target.claim.closed_loop or target.claim.feedback is not None
        chunk = 250 if costly else 5000
        batches = (b for _ in range(_SAMPLES // chunk) for b in sample(target, chunk, rng))
        forcing = target.claim.feedback is not None and is_causal(target, rng)
    for batch in batches:
        same = matching(program, target, batch, forcing)
        right += int(same.sum())
        total += len(same)
        if not small and time.monotonic() > deadline:
            break
    return (right / total if total else 0.0), total


def _line(row: dict[str, Any]) -> str:
    agreement = 100 * (row["agreement"] or 0.0)
    return (
        f"{row['suite'][:12]:<12} {row['name'][:32]:<32} {row['verdict']:<8} "
        f"{(row['method'] or '-')[:14]:<14} {agreement:>8.3f} % of {row['samples'] or 0:>7} "
        f"{row['nodes'] or 0:>6} nodes {row['lines'] or 0:>4} lines {row['seconds'] or 0:>7.1f} s "
        f"{row['memory_mb'] or 0:>5} MB  {_partial(row)}{row['error'] or ''}"
    )


def _partial(row: dict[str, Any]) -> str:
    """What is proven all the same of a program that is not proved."""
    return "" if row["verdict"] == "PROVED" or not row["proven_domain"] else row["proven_domain"]


def _totals(rows: list[dict[str, Any]]) -> str:
    counts = {
        verdict: sum(row["verdict"] == verdict for row in rows)
        for verdict in ("PROVED", "TESTED", "UNKNOWN", "REFUTED", "ERROR")
    }
    exact = sum(row["agreement"] == 1.0 for row in rows)
    return f"{len(rows)} networks, {exact} agree on every input compared; " + ", ".join(
        f"{count} {verdict}" for verdict, count in counts.items()
    )


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
