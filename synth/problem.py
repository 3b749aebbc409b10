"""What a proposer works on."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

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
    data: dict[str, Any] = field(default_factory=dict)  # data sets supplied by the user

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
