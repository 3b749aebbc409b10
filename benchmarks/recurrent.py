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

from benchmarks.clocks import by_processor_time

KINDS = ("tanh", "relu", "gru", "lstm")
HIDDEN = {"tanh": 12, "relu": 12, "gru": 8, "lstm": 6}
_SEEDS = 4
_NOISE = {"tanh": 0.4, "relu": 0.4, "gru": 0.4, "lstm": 0.4}
_LESS = 0.7
"""What is left of the noise at every further seed."""
_SIZE = 0.02
"""The price of large states, which would drown the noise; for ReLU, which has no bound."""


@dataclass(frozen=True)
class Language:
    """A machine over two symbols: `move[state][symbol]`, and the states that accept."""

    name: str
    move: tuple[tuple[int, int], ...]
    accepting: frozenset[int]

    def states(self, words: np.ndarray) -> np.ndarray:
        """The state after each prefix, (B, L)."""
        table = np.array(self.move)
        state = np.zeros(len(words), np.int64)
        states = []
        for t in range(words.shape[1]):
            state = table[state, words[:, t]]
            states.append(state)
        return np.stack(states, axis=1)

    def accepts(self, words: np.ndarray) -> np.ndarray:
        """Whether each prefix is in the language, (B, L)."""
        good = np.isin(np.arange(len(self.move)), list(self.accepting))
        return np.asarray(good[self.states(words)])


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


def trained(language: Language, kind: str, *, seed: int, steps: int) -> tuple[Any, float]:
    """A network and its accuracy on words of 20: the first of four seeds that learns the language
    without a mistake, else the best of them.  Noise on the state, more and more of it, teaches the
    network to forget small differences."""
    best: tuple[Any, float] = (None, -1.0)
    for attempt in range(_SEEDS):
        noise = _NOISE[kind] * _LESS**attempt
        found = _trained_once(language, kind, noise, seed=seed + 1000 * attempt, steps=steps)
        if found[1] > best[1]:
            best = found
        if best[1] == 1.0:
            break
    return best


def _trained_once(
    language: Language, kind: str, noise: float, *, seed: int, steps: int
) -> tuple[Any, float]:
    import torch

    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    network = _network(kind, HIDDEN[kind])
    # A second reading of the state, of what the language has to remember; dropped afterwards.
    memory = torch.nn.Linear(HIDDEN[kind], len(language.move))
    weights = [*network.parameters(), *memory.parameters()]
    optimizer = torch.optim.Adam(weights, lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, 5e-4)
    entropy = torch.nn.functional.cross_entropy
    for step in range(steps):
        length = int(rng.integers(2, 4 + min(10, 30 * step // steps)))
        words = _stretches(rng, (64, length))
        given = torch.tensor(words[:, :, None], dtype=torch.float32)
        wanted = torch.tensor(language.accepts(words).astype(np.int64)).reshape(-1)
        states = torch.tensor(language.states(words)).reshape(-1)
        hidden = network.noisy(given, noise * min(1.0, 3 * step / steps))
        flat = hidden.reshape(-1, hidden.shape[-1])
        loss = entropy(network.score(flat), wanted) + entropy(memory(flat), states)
        if kind == "relu":
            loss = loss + _SIZE * (flat**2).mean()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
    words = _stretches(rng, (4096, 20))
    with torch.no_grad():
        scores = network(torch.tensor(words[:, :, None], dtype=torch.float32))
    accuracy = float((scores.argmax(-1).numpy() == language.accepts(words)).mean())
    return network.eval(), accuracy


def _stretches(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Random words, every second of which mostly repeats one symbol."""
    words = rng.integers(0, 2, shape)
    repeated = np.where(rng.random(shape) < 0.8, words[:, :1], words)
    return np.where((np.arange(shape[0]) % 2 == 0)[:, None], words, repeated)


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
            """The states after every symbol, where noise is added before each."""
            layer = self.layer
            given = x @ layer.weight_ih_l0.T + layer.bias_ih_l0
            state = torch.zeros(len(x), hidden)
            memory = torch.zeros(len(x), hidden)
            found = []
            for t in range(x.shape[1]):
                noised = state + sigma * torch.randn_like(state)
                own = noised @ layer.weight_hh_l0.T + layer.bias_hh_l0
                if kind == "gru":
                    r, z, n = given[:, t].chunk(3, dim=1)
                    own_r, own_z, own_n = own.chunk(3, dim=1)
                    keep = torch.sigmoid(z + own_z)
                    fresh = torch.tanh(n + torch.sigmoid(r + own_r) * own_n)
                    state = (1 - keep) * fresh + keep * noised
                elif kind == "lstm":
                    i, f, g, o = (given[:, t] + own).chunk(4, dim=1)
                    memory = memory + sigma * torch.randn_like(memory)
                    memory = torch.sigmoid(f) * memory + torch.sigmoid(i) * torch.tanh(g)
                    state = torch.sigmoid(o) * torch.tanh(memory)
                else:
                    state = (torch.tanh if kind == "tanh" else torch.relu)(given[:, t] + own)
                found.append(state)
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


def kept(folder: str | None, language: Language, kind: str, options: Any) -> tuple[Any, float]:
    """The trained network, from the folder where it is there already."""
    if folder is None:
        return trained(language, kind, seed=options.seed, steps=options.steps)
    import torch

    path = Path(folder) / f"{language.name}_{kind}_{options.steps}_{options.seed}.pt"
    if not path.exists():
        network, accuracy = trained(language, kind, seed=options.seed, steps=options.steps)
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save({"accuracy": accuracy, **network.state_dict()}, path)
    weights = torch.load(path, weights_only=True)
    accuracy = weights.pop("accuracy")
    network = _network(kind, HIDDEN[kind])
    network.load_state_dict(weights)
    return network.eval(), accuracy


def rows(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    chosen = [language for language in languages() if options.only in language.name]
    for language in chosen:
        for kind in options.kinds.split(","):
            started = time.process_time()
            network, accuracy = kept(options.networks, language, kind, options)
            row = {"name": f"{language.name}_{kind}", "accuracy": round(accuracy, 4)}
            row["training"] = round(time.process_time() - started, 1)
            if options.train:
                yield row | {"outcome": f"trained in {row['training']} s"}
            elif options.proof:
                yield row | _proved_alone(target_of(network), options.time)
            else:
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


def _proved_alone(target: Any, seconds: float) -> dict[str, Any]:
    """The proof of the table of the machine that is learned, without a search for programs."""
    from dsl.printer import count_lines
    from synth.recurrent.automata import learned
    from synth.recurrent.tabulation import tabulated
    from synth.recurrent.teaching import teacher_of
    from verify import invariants

    rng, started = np.random.default_rng(0), time.process_time()
    teacher = teacher_of(target, rng)
    assert teacher is not None
    found = learned(teacher, rng, time.monotonic() + seconds)
    inputs = tuple(target.domain.types.items())
    program = None if found is None else tabulated(found, teacher, inputs, "program")
    if found is None or program is None:
        return {"outcome": "no machine", "processor": round(time.process_time() - started, 1)}
    deadline = time.monotonic() + seconds
    verdict = invariants.verify(program, target, deadline=deadline, seed=0, evidence={})
    row = {
        "outcome": outcome(verdict),
        "states": len(found),
        "lines": count_lines(program),
        "processor": round(time.process_time() - started, 1),
    }
    return row | _details(verdict)


def outcome(verdict: Any) -> str:
    """The verdict in a few words."""
    from dsl.claim import Proved, Refuted

    evidence = dict(getattr(verdict, "evidence", {}))
    match verdict:
        case Proved() if evidence.get("kind") == "invariant":
            return "all lengths"
        case Proved():
            wrong = evidence.get("differs")
            beyond = "" if wrong is None else f", wrong at {wrong['length']}"
            return f"to length {evidence.get('proven_to_length', '?')}{beyond}"
        case Refuted(_, example):
            word = next(iter(example.inputs.values()))
            return f"refuted at length {len(word)}"
    return type(verdict).__name__.lower()


def _details(verdict: Any) -> dict[str, Any]:
    evidence = dict(getattr(verdict, "evidence", {}))
    kept = ("differs", "period", "memory", "regions", "stopped", "no_invariant", "proven_to_length")
    found = {key: evidence[key] for key in kept if key in evidence}
    example = getattr(verdict, "counterexample", None)
    if example is not None:
        found["word"] = {key: list(value) for key, value in example.inputs.items()}
    return found


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recurrent", description=__doc__)
    parser.add_argument("--time", type=float, default=60.0, help="seconds for each network")
    parser.add_argument("--steps", type=int, default=900, help="training steps")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--only", default="", help="a part of the names of languages")
    parser.add_argument("--networks", help="a folder in which trained networks are kept")
    parser.add_argument("--train", action="store_true", help="train only")
    parser.add_argument(
        "--proof", action="store_true", help="prove the learned machine's table; search no program"
    )
    parser.add_argument(
        "--clock",
        choices=("clock", "processor"),
        default="clock",
        help="--time counts processor time: a shared machine",
    )
    parser.add_argument("--json", help="where to write the rows")
    options = parser.parse_args(arguments)
    if options.clock == "processor":
        by_processor_time()
    import torch

    torch.set_num_threads(1)
    found = []
    for row in rows(options):
        found.append(row)
        print(
            f"{row['name']:<20} accuracy {row['accuracy']:<7} {row['outcome']:<30} "
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
