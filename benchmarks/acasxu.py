"""VNN-LIB properties of all networks below a folder, decided here and by a public verifier.

    python -m benchmarks.acasxu FOLDER [--pattern 'prop_*.vnnlib'] [--time SECONDS]
        [--marabou PYTHON] [--json OUT]

Each folder below FOLDER with a model.onnx and property files is one network.  `--marabou` names an
interpreter in whose environment `pip install maraboupy onnx onnxruntime` was run; the peer then
gets the same instance, in a process of its own, right after ours, and may use --time seconds of the
processor.  Times are of the decision itself, without imports and reading: wall-clock, and
processor time, which counts where others use the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from distill.properties import decisions

_PEER = r"""
import json, resource, sys, time
sys.path.insert(0, sys.argv[4])
from verify.vnnlib import parsed
from maraboupy import Marabou, MarabouCore
network = Marabou.read_onnx(sys.argv[1])
stated = parsed(open(sys.argv[2]).read())
limit = int(float(sys.argv[3]))
spent = int(time.process_time()) + limit
resource.setrlimit(resource.RLIMIT_CPU, (spent, spent + 5))
options = Marabou.createOptions(verbosity=0, timeoutInSeconds=100 * limit, numWorkers=1)
inputs = [int(v) for array in network.inputVars for v in array.flatten()]
outputs = [int(v) for array in network.outputVars for v in array.flatten()]
started, busy = time.monotonic(), time.process_time()
answer = "unsat"
for case in stated.cases:
    made = getattr(network, "getInputQuery", None) or network.getMarabouQuery
    query = made()
    for variable, low, high in zip(inputs, case.low, case.high):
        query.setLowerBound(variable, float(low))
        query.setUpperBound(variable, float(high))
    for condition in case.conditions:
        equation = MarabouCore.Equation(MarabouCore.Equation.LE)
        for (kind, index), factor in condition.terms:
            equation.addAddend(-float(factor), inputs[index] if kind == "X" else outputs[index])
        equation.setScalar(float(condition.constant))
        query.addEquation(equation)
    found, _, statistics = MarabouCore.solve(query, options, "")
    if statistics.hasTimedOut():
        answer = "timeout"
    elif found == "sat" and answer == "unsat":
        answer = "sat"
    elif found != "unsat":
        answer = str(found).lower()
print(json.dumps([answer, time.monotonic() - started, time.process_time() - busy]))
"""


def marabou(python: str, model: Path, stated: Path, seconds: float) -> tuple[str, float, float]:
    """The peer's answer, its seconds by the clock and of the processor."""
    command = [python, "-c", _PEER, str(model), str(stated), str(seconds), os.getcwd()]
    started = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30 * seconds + 30)
    except subprocess.TimeoutExpired:
        return "timeout", 30 * seconds, seconds
    if done.returncode == -signal.SIGXCPU:
        return "timeout", time.monotonic() - started, seconds
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    if not lines:
        print(done.stderr[-500:], file=sys.stderr)
        return "error", 0.0, 0.0
    answer, spent, busy = json.loads(lines[-1])
    return str(answer), float(spent), float(busy)


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    found = []
    for model in sorted(Path(options.folder).rglob("model.onnx")):
        for stated in sorted(model.parent.glob(options.pattern)):
            busy = time.process_time()
            (decision,) = decisions(model, [stated], seconds=options.time)
            row: dict[str, Any] = {
                "network": model.parent.name,
                "property": stated.stem,
                "answer": decision.answer,
                "seconds": round(decision.seconds, 3),
                "cpu": round(time.process_time() - busy, 3),
                "boxes": decision.boxes,
            }
            if options.marabou:
                answer, spent, cpu = marabou(options.marabou, model, stated, options.time)
                row |= {"marabou": answer, "marabou_seconds": round(spent, 3)}
                row["marabou_cpu"] = round(cpu, 3)
            found.append(row)
            print("  ".join(f"{value!s:<12}" for value in row.values()), flush=True)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--pattern", default="prop_*.vnnlib")
    parser.add_argument("--time", type=float, default=60.0)
    parser.add_argument("--marabou", default="")
    parser.add_argument("--json", default="")
    options = parser.parse_args()
    found = rows(options)
    ours, busy = (sum(row[key] for row in found) for key in ("seconds", "cpu"))
    print(f"{len(found)} instances, {ours:.1f} s in total ({busy:.1f} s cpu)", end="")
    if options.marabou:
        both = [row for row in found if row["marabou"] in ("sat", "unsat")]
        differing = [row for row in both if row["marabou"] != row["answer"]]
        theirs = sum(row["marabou_seconds"] for row in found)
        cpu = sum(row["marabou_cpu"] for row in found)
        print(f"; Marabou {theirs:.1f} s ({cpu:.1f} s cpu), {len(both)} decided,", end="")
        print(f" {len(differing)} differ", end="")
    print()
    if options.json:
        Path(options.json).write_text(json.dumps(found, indent=1), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
