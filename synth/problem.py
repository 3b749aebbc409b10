"""What a proposer works on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from dsl.claim import Hypothesis, Target


@dataclass(frozen=True)
class Observations:
    """Inputs of one shape with the decoded values and margins of the original runtime."""

    inputs: dict[str, np.ndarray]
    values: np.ndarray
    margins: np.ndarray

    def __len__(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class DataSet:
    """Inputs that the user supplied: arrays with one row for each input, by the name of the part;
    claims are measured on the part `observed`, the others are for learning."""

    parts: Mapping[str, np.ndarray]
    observed: str

    @property
    def others(self) -> dict[str, np.ndarray]:
        return {name: rows for name, rows in self.parts.items() if name != self.observed}


@dataclass(frozen=True)
class Problem:
    """A target with what is already known of it.

    `observations` hold every input of the domain if `complete`, else a sample that includes all
    counterexamples found so far.  `deadline` is a value of time.monotonic().
    """

    target: Target
    observations: tuple[Observations, ...]
    complete: bool
    deadline: float
    seed: int = 0
    data: DataSet | None = None

    def rng(self) -> np.random.Generator:
        return np.random.default_rng(self.seed)

    @property
    def time_left(self) -> float:
        return self.deadline - time.monotonic()


class Proposer(Protocol):
    """`propose` of a module in synth/, listed in `synth.proposers`."""

    def __call__(self, problem: Problem) -> Iterator[Hypothesis]: ...


def observe(target: Target, batches: Sequence[dict[str, np.ndarray]]) -> tuple[Observations, ...]:
    """The target's values on some batches."""
    result = []
    for batch in batches:
        evaluation = target.evaluate(batch)
        result.append(Observations(batch, evaluation.values, evaluation.margins))
    return tuple(result)
