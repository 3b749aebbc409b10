"""Small recurrent networks, trained here with seeds, and how far their programs are proved.

Each network learns a regular language (parity, counters modulo 3 and 5, Tomita's seven grammars)
or, with `--tasks`, is read from task folders whose network has a step.  Printed for each: proven
for all lengths, to a length, or refuted at a length with the word, and what stopped it.

    python -m benchmarks.recurrent --time 60 --json rows.json
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

KINDS = ("tanh", "relu", "gru", "lstm")


@dataclass(frozen=True)
class Language:
    """A machine over two symbols: `move[state][symbol]`, and the states that accept."""

    name: str
    move: tuple[tuple[int, int], ...]
    accepting: frozenset[int]

    def accepts(self, words: np.ndarray) -> np.ndarray:
        """Whether each prefix is in the language, (B, L)."""
        table = np.array(self.move)
        good = np.isin(np.arange(len(table)), list(self.accepting))
        state = np.zeros(len(words), np.int64)
        answers = []
        for t in range(words.shape[1]):
            state = table[state, words[:, t]]
            answers.append(good[state])
        return np.stack(answers, axis=1)


def languages() -> tuple[Language, ...]:
    """Parity, the numbers of ones modulo 3 and 5, and Tomita's languages (Tomita 1982)."""

    def counter(modulus: int) -> Language:
        move = tuple((s, (s + 1) % modulus) for s in range(modulus))
        return Language(f"count_mod_{modulus}", move, frozenset({0}))

    tomita = {
        1: (((1, 0), (1, 1)), {0}),
        2: (((2, 1), (0, 2), (2, 2)), {0}),
        3: (((0, 1), (2, 0), (1, 3), (4, 4), (3, 3)), {0, 1, 3}),
        4: (((1, 0), (2, 0), (3, 0), (3, 3)), {0, 1, 2}),
        5: (((1, 2), (0, 3), (3, 0), (2, 1)), {0}),
        6: (((2, 1), (0, 2), (1, 0)), {0}),
        7: (((0, 1), (2, 1), (2, 3), (4, 3), (4, 4)), {0, 1, 2, 3}),
    }
    named = tuple(
        Language(f"tomita_{number}", move, frozenset(good))
        for number, (move, good) in tomita.items()
    )
    return (counter(2), counter(3), counter(5), *named)


def trained(language: Language, kind: str, *, hidden: int, seed: int, steps: int) -> Any:
    """A network that was trained on words of up to 20 symbols, with noise on its state so that it
    learns to forget small differences; and the accuracy on words of 20."""
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = _network(kind, hidden)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.01)
    accuracy = 0.0
    for step in range(steps):
        length = int(rng.integers(4, 21))
        words = rng.integers(0, 2, (128, length))
        given = torch.tensor(words[:, :, None], dtype=torch.float32)
        wanted = torch.tensor(language.accepts(words).astype(np.int64))
        scores = network.noisy(given, 0.25 if step > steps // 3 else 0.05)
        loss = torch.nn.functional.cross_entropy(scores.reshape(-1, 2), wanted.reshape(-1))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 49:
            words = rng.integers(0, 2, (512, 20))
            with torch.no_grad():
                scores = network(torch.tensor(words[:, :, None], dtype=torch.float32))
            accuracy = float((scores.argmax(-1).numpy() == language.accepts(words)).mean())
            if accuracy == 1.0 and step > steps // 2:
                break
    return network.eval(), accuracy


def _network(kind: str, hidden: int) -> Any:
    import torch

    class Network(torch.nn.Module):
        """One recurrent layer and a linear map to two scores."""

        def __init__(self) -> None:
            super().__init__()
            cells = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}
            if kind in cells:
                self.layer = cells[kind](1, hidden, batch_first=True)
            else:
                self.layer = torch.nn.RNN(1, hidden, nonlinearity=kind, batch_first=True)
            self.score = torch.nn.Linear(hidden, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.score(self.layer(x)[0])

        def noisy(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
            state, found = None, []
            for t in range(x.shape[1]):
                after, state = self.layer(x[:, t : t + 1], state)
                parts = state if isinstance(state, tuple) else (state,)
                noised = tuple(part + sigma * torch.randn_like(part) for part in parts)
                state = noised if isinstance(state, tuple) else noised[0]
                found.append(self.score(after[:, 0]))
            return torch.stack(found, dim=1)

    return Network()


def target_of(network: Any) -> Any:
    """The claim: after each symbol, whether the word so far is accepted; words of any length."""
    from distill.frontends.torch import from_module
    from distill.oracle import from_torch
    from dsl.claim import Claim, Decode, Target
    from dsl.domain import Domain
    from dsl.parser import parse_expression

    pack = parse_expression("[[v] for v in x]", "pack")
    claim = Claim(pack, "float32", decode=Decode("argmax"))
    domain = Domain("x: seq(int[0..1], 1..)")
    return Target(domain, claim, from_torch(network), from_module(network, "float32"))


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    chosen = [language for language in languages() if options.only in language.name]
    for language in chosen:
        for kind in options.kinds.split(","):
            hidden = {"tanh": 8, "relu": 8, "gru": 6, "lstm": 5}[kind]
            network, accuracy = trained(
                language, kind, hidden=hidden, seed=options.seed, steps=options.steps
            )
            row = {"name": f"{language.name}_{kind}", "accuracy": round(accuracy, 4)}
            yield row | _measured(target_of(network), options.time)


def _measured(target: Any, seconds: float) -> dict[str, Any]:
    from distill import pipeline
    from dsl.errors import DistillError
    from dsl.printer import count_lines, to_python

    started, processor = time.monotonic(), time.process_time()
    try:
        result = pipeline.compile_target(target, seconds=seconds, only=("constant", "recurrent"))
    except DistillError as error:
        return {"outcome": "error", "stopped": error.finding}
    row = {
        "outcome": outcome(result.verdict),
        "lines": count_lines(result.program),
        "seconds": round(time.monotonic() - started, 1),
        "processor": round(time.process_time() - processor, 1),
        "program": to_python(result.program),
    }
    return row | _details(result.verdict)


def outcome(verdict: Any) -> str:
    """The verdict in a few words."""
    from dsl.claim import Proved, Refuted

    evidence = dict(getattr(verdict, "evidence", {}))
    match verdict:
        case Proved() if evidence.get("kind") == "invariant":
            return "all lengths"
        case Proved():
            return f"to length {evidence.get('proven_to_length', '?')}"
        case Refuted(_, example):
            word = next(iter(example.inputs.values()))
            return f"refuted at length {len(word)}"
    return type(verdict).__name__.lower()


def _details(verdict: Any) -> dict[str, Any]:
    evidence = dict(getattr(verdict, "evidence", {}))
    kept = ("period", "memory", "regions", "stopped", "no_invariant", "proven_to_length")
    found = {key: evidence[key] for key in kept if key in evidence}
    example = getattr(verdict, "counterexample", None)
    if example is not None:
        found["word"] = {key: list(value) for key, value in example.inputs.items()}
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent", description=__doc__)
    parser.add_argument("--time", type=float, default=60.0, help="seconds for each network")
    parser.add_argument("--steps", type=int, default=900, help="training steps at most")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--only", default="", help="a part of the names of languages")
    parser.add_argument("--json", help="where to write the rows")
    options = parser.parse_args(arguments)
    import torch

    torch.set_num_threads(1)
    found = []
    for row in rows(options):
        found.append(row)
        print(
            f"{row['name']:<20} accuracy {row['accuracy']:<7} {row['outcome']:<24} "
            f"{row.get('lines', 0):>3} lines {row.get('processor', 0):>6} s  "
            f"{row.get('regions', '')} {row.get('stopped', '')}",
            flush=True,
        )
        if options.json:
            Path(options.json).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    done = sum(row["outcome"] == "all lengths" for row in found)
    print(f"{done} of {len(found)} proven for all lengths")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
