"""Whether `--time` is honoured: every task below some folders, compiled by the command itself.

`python -m benchmarks deadlines FOLDER ... [--time 10 20 30] [--most N] [--clock processor]`: for
each task the seconds asked for and taken, from the start of the process to its end, the overshoot,
the seconds that passed before the model was loaded, those of processor time, and what the compiler
was at when the time was up.  `late` marks what is over the larger of 5 seconds and a tenth.

On a machine that others use, seconds by the clock say little: with `--clock processor` the compiler
is given its own processor time for a clock, deadlines and alarms included, and all columns are in
these seconds: those of an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks.clocks import by_processor_time

_LONGEST = 600.0


@dataclass(frozen=True, slots=True)
class Run:
    """One compilation: seconds by the clock and of the processor, and the phase in which the time
    that was asked for passed (nothing where it was not used up)."""

    task: str
    asked: float
    taken: float
    loading: float
    processor: float
    phase: str
    verdict: str

    @property
    def overshoot(self) -> float:
        return self.taken - self.asked

    @property
    def late(self) -> bool:
        return self.overshoot > max(5.0, 0.1 * self.asked)


def run(folder: Path, seconds: float, clock: str) -> Run:
    """`distill compile FOLDER --time SECONDS` in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    with TemporaryDirectory() as out:
        command = [sys.executable, "-m", "benchmarks.deadlines", f"--{clock}", "compile"]
        command += [str(folder), "--time", str(seconds), "--json", "--json-events", "--out", out]
        before, started = os.times(), time.monotonic()
        with (Path(out) / "stdout").open("w+") as answer:
            with subprocess.Popen(
                command,
                stdout=answer,
                stderr=subprocess.PIPE,
                text=True,
                env=environment,
                cwd=Path(__file__).resolve().parent.parent,
            ) as process:
                events = _events(process, started)
                process.wait()
            passed, after = time.monotonic() - started, os.times()
            answer.seek(0)
            verdict = _verdict(answer.read())
    processor = after.children_user + after.children_system
    processor -= before.children_user + before.children_system
    by_clock = clock == "clock"
    taken = passed if by_clock else processor
    times = [(now if by_clock else own, name, text) for now, own, name, text in events]
    loading = next((at for at, name, _ in times if name == "observing"), taken)
    known = [text for at, _, text in times if at <= seconds]
    phase = known[-1] if known and taken > seconds else ""
    name = f"{folder.parent.name}/{folder.name}"
    return Run(name, seconds, taken, loading, processor, phase, verdict)


def _events(process: subprocess.Popen[str], started: float) -> list[tuple[float, float, str, str]]:
    """When each event was written, by our clock and by the compiler's own, its name, and what it
    says; ends a process that goes on for ever."""
    found = []
    assert process.stderr is not None
    for line in process.stderr:
        now = time.monotonic() - started
        if line.startswith("{"):
            row = json.loads(line)
            words = [str(row[key]) for key in ("name", "method", "doing") if row.get(key)]
            text = " ".join([str(row["event"]), *words])
            found.append((now, float(row["seconds"]), str(row["event"]), text))
        if now > _LONGEST:
            process.kill()
    return found


def _verdict(answer: str) -> str:
    lines = answer.strip().splitlines()
    if not lines:
        return "ERROR"
    table: dict[str, Any] = json.loads(lines[-1])
    return str(table["verdict"]["kind"]) if "verdict" in table else str(table.get("error"))


def compiled(clock: str, arguments: Sequence[str]) -> int:
    """The command itself, by the clock that was chosen."""
    if clock == "--processor":
        by_processor_time()
    from distill import cli

    return cli.main(arguments)


def main(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in ("--clock", "--processor") and "compile" in arguments[1:2]:
        return compiled(arguments[0], arguments[1:])
    parser = argparse.ArgumentParser(prog="python -m benchmarks deadlines", description=__doc__)
    parser.add_argument("paths", nargs="+")
    parser.add_argument("--time", type=float, nargs="+", default=[10.0, 20.0, 30.0])
    parser.add_argument("--most", type=int, help="of each folder, so many tasks spread evenly")
    parser.add_argument("--clock", choices=("clock", "processor"), default="clock")
    parser.add_argument("--json", help="where to write the rows")
    options = parser.parse_args(arguments)
    print(
        f"{'task':<40} {'asked':>6} {'taken':>7} {'over':>7} {'load':>6} {'cpu':>7} "
        f"{'verdict':<8} {'':<4} when the time was up"
    )
    runs: list[Run] = []
    for path in options.paths:
        folders = sorted(found.parent for found in Path(path).rglob("task.toml"))
        for folder in _spread(folders, options.most):
            for seconds in options.time:
                runs.append(run(folder, seconds, options.clock))
                print(_line(runs[-1]), flush=True)
                if options.json:
                    rows = [asdict(one) for one in runs]
                    Path(options.json).write_text(json.dumps(rows, indent=1), encoding="utf-8")
    late = sum(one.late for one in runs)
    largest = max((one.overshoot for one in runs), default=0.0)
    print(f"{len(runs)} runs, {late} late, overshoot at most {largest:.1f} s")
    return 1 if late else 0


def _spread(folders: Sequence[Path], most: int | None) -> Sequence[Path]:
    if most is None or most >= len(folders):
        return folders
    return [folders[i * len(folders) // most] for i in range(most)]


def _line(one: Run) -> str:
    return (
        f"{one.task[-40:]:<40} {one.asked:>6.0f} {one.taken:>7.1f} {one.overshoot:>+7.1f} "
        f"{one.loading:>6.1f} {one.processor:>7.1f} {one.verdict:<8} "
        f"{'late' if one.late else '':<4} {one.phase}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
