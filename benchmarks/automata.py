"""Machines learned from recurrent networks, side by side with AALpy's L*.

Each network is asked for words.  Printed for both learners: states, words asked for, seconds of
processor time, and errors found later: of all words up to `--length`, and of long random words,
how many the machine answers otherwise than the network.  AALpy (`pip install aalpy`, Muskardin et
al. 2022) gets membership queries with a cache, Rivest and Schapire's counterexamples and random
words as its equivalence oracle, as in the papers that extract machines from networks.

    python -m benchmarks.automata PATH/automata-rnn --peers DIRECTORY_WITH_AALPY
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from synth.recurrent.automata import Automaton, learned
from synth.recurrent.teaching import teacher_of
from synth.recurrent.traces import Teacher

Run = Callable[[np.ndarray], np.ndarray]
"""Words of symbol numbers (B, L) to the answers after every prefix (B, L + 1)."""


def teachers(path: Path) -> Iterator[tuple[str, Teacher]]:
    """The networks of task folders that answer whole words over a small alphabet."""
    from distill import task

    for folder in sorted(found.parent for found in path.rglob("task.toml")):
        teacher = teacher_of(task.load(folder), np.random.default_rng(0))
        if teacher is None or teacher.advance is None or teacher.every_step:
            continue
        if teacher.alphabet <= 16:
            yield folder.name, teacher


def ours(teacher: Teacher, length: int) -> dict[str, Any]:
    """What `synth.recurrent.automata` learns."""
    started = time.process_time()
    found = learned(teacher, np.random.default_rng(0), time.monotonic() + 600)
    seconds = time.process_time() - started
    if found is None:
        return {"states": None, "asked": None, "seconds": round(seconds, 1)}
    row = {"states": len(found), "asked": found.asked, "seconds": round(seconds, 1)}
    return row | errors(_runs(found), teacher, length)


def _runs(found: Automaton) -> Run:
    return lambda words: found.run(words)[0]


def theirs(teacher: Teacher, length: int, walks: int) -> dict[str, Any]:
    """What AALpy's L* learns with the same network as its system."""
    from aalpy.base import SUL
    from aalpy.learning_algs import run_Lstar
    from aalpy.oracles import RandomWordEqOracle

    symbols = teacher.symbols()

    assert teacher.advance is not None, "the network is asked step by step"
    advance = teacher.advance
    first, start = teacher.run(symbols[np.zeros((1, 0), np.int64)])
    assert start is not None
    begin = start[0]

    class Network(SUL):  # type: ignore[misc]
        """The network, step by step."""

        def __init__(self) -> None:
            super().__init__()
            self.state = begin
            self.words = 0

        def pre(self) -> None:
            self.state = begin
            self.words += 1

        def post(self) -> None:
            pass

        def step(self, letter: int | None) -> bool:
            if letter is None:
                return bool(first[0, 0])
            answer, self.state = advance(symbols[letter][None], self.state)
            return bool(answer[0])

    system = Network()
    alphabet = list(range(teacher.alphabet))
    longest = teacher.longest or 20
    oracle = RandomWordEqOracle(
        alphabet, system, num_walks=walks, min_walk_len=1, max_walk_len=longest
    )
    random.seed(0)
    started = time.process_time()
    machine = run_Lstar(
        alphabet,
        system,
        oracle,
        automaton_type="dfa",
        cache_and_non_det_check=False,
        max_learning_rounds=60,
        print_level=0,
    )
    seconds = time.process_time() - started
    row = {"states": machine.size, "asked": system.words, "seconds": round(seconds, 1)}
    return row | errors(_aalpy_runs(machine), teacher, length)


def _aalpy_runs(machine: Any) -> Run:
    order = {state: number for number, state in enumerate(machine.states)}
    moves = np.array(
        [[order[s.transitions[a]] for a in sorted(s.transitions)] for s in machine.states]
    )
    accepts = np.array([bool(s.is_accepting) for s in machine.states])
    first = order[machine.initial_state]

    def run(words: np.ndarray) -> np.ndarray:
        states = np.full((len(words), words.shape[1] + 1), first)
        for t in range(words.shape[1]):
            states[:, t + 1] = moves[states[:, t], words[:, t]]
        return accepts[states].astype(np.int64)

    return run


def errors(run: Run, teacher: Teacher, length: int) -> dict[str, Any]:
    """Words on which a machine is wrong: of all short ones, and of random ones of 25 and 50
    symbols where the network can be run that far."""
    symbols = teacher.symbols()
    size = len(symbols)
    index = np.arange(size**length)
    words = np.stack([index // size ** (length - 1 - i) % size for i in range(length)], axis=1)
    differ = run(words) != teacher.run(symbols[words])[0]
    wrong = sum(int(differ[:: size ** (length - n), n].sum()) for n in range(length + 1))
    row = {"wrong": wrong, "words": sum(size**n for n in range(length + 1))}
    if teacher.advance is not None:
        rng = np.random.default_rng(1)
        for longer in (25, 50):
            words = rng.integers(0, size, (1000, longer))
            answers = teacher.run(symbols[words])[0]
            row[f"wrong_{longer}"] = int((run(words)[:, -1] != answers[:, -1]).sum())
    return row


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.automata", description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--length", type=int, default=12)
    parser.add_argument("--walks", type=int, default=500, help="random words of each equivalence")
    parser.add_argument("--peers", help="a directory in which aalpy is installed")
    parser.add_argument("--json", help="where to write the rows")
    options = parser.parse_args(arguments)
    if options.peers:
        sys.path.append(options.peers)
    rows = []
    for name, teacher in teachers(Path(options.path)):
        row: dict[str, Any] = {"name": name, "ours": ours(teacher, options.length)}
        row["aalpy"] = theirs(teacher, options.length, options.walks)
        rows.append(row)
        print(json.dumps(row), flush=True)
        if options.json:
            Path(options.json).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
