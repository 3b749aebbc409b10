"""What is claimed of a network: the function that it computes on a domain, after decoding.

`Target` is that function, run by the original runtime.  Proposers look for a short program that
equals it; verifiers decide whether one does.  Both see a network only through this page.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np

from dsl.domain import Domain
from dsl.program import Expr, Program

Batch: TypeAlias = Mapping[str, np.ndarray]
"""Inputs of the domain, one column per name: scalars (B,), sequences (B, L) of one length,
arrays (B, *shape).  Tokens are NumPy strings, integers int64, reals float64."""

Runtime: TypeAlias = Callable[[np.ndarray], np.ndarray]
"""The original network: a packed batch in, raw outputs out.  Rows do not influence each other."""

Step: TypeAlias = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""One step of a recurrent network: (input (B, *x), state (B, h)) -> (raw output, next state)."""

Translation: TypeAlias = Callable[[tuple[int, ...]], Program | None]
"""The network in this language for packed inputs of a shape (batch axis left out); None where it
cannot be translated.  See docs/decisions/0001-networks.md."""

Rule: TypeAlias = Literal["argmax", "argmin", "threshold", "round", "value"]


@dataclass(frozen=True, slots=True)
class Decode:
    """How raw outputs become the value that is claimed.

    argmax / argmin: the index of the greatest / least entry of the last axis; the first, if
    several tie (the last, with `tie="high"`); then `labels[index]` where labels are given.
    threshold: entry > `threshold`; equal counts as False.  With labels and a last axis of that
    many entries, the text of the true labels joined by blanks (a set, in the order of labels).
    round: the nearest integer; x.5 goes to the lower.  A last axis of one entry is dropped.
    value: the number itself, claimed within `tolerance`.
    `mapping` then renames the result (for example {0: True, 1: False}).
    """

    rule: Rule
    threshold: float = 0.0
    tolerance: float = 0.0
    labels: tuple[Any, ...] | None = None
    tie: Literal["low", "high"] = "low"


@dataclass(frozen=True, slots=True)
class Feedback:
    """Greedy generation: the decoded last entry is packed again as the next token.

    `start` is the position whose output is the first answer; -1 is the last of the prompt.
    At most `steps` tokens (an expression over the domain's names, such as `len(s)`), ended by
    the label `until`, which is not part of the answer.
    """

    steps: Expr
    until: Any = None
    tokens: tuple[tuple[Any, int], ...] = ()  # label -> token id; identity where absent


@dataclass(frozen=True, slots=True)
class Claim:
    """The words between a domain and a network.

    `pack` builds the network's input from the domain's names; `dtype` and `shape` say how it is
    stored (shape without the batch axis, -1 for a free axis).  `positions` selects entries of
    the first axis after the batch: None for all, an expression for one index, a pair of
    expressions for a range.  `closed_loop` restricts sequences to those in which each item is
    among the labels that the network itself gives after the items before it.
    """

    pack: Expr
    dtype: str = "float32"
    shape: tuple[int, ...] | None = None
    positions: Expr | tuple[Expr, Expr] | None = None
    decode: Decode = field(default_factory=lambda: Decode("argmax"))
    feedback: Feedback | None = None
    closed_loop: bool = False


@dataclass(frozen=True, slots=True)
class Evaluation:
    """Decoded values, (B,) or (B, L), and for each row how far its raw outputs are from a
    change of any decision (infinite where there is none to change)."""

    values: np.ndarray
    margins: np.ndarray


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A network given by its step; `start` is the first state (h,)."""

    step: Step
    start: np.ndarray
    program: Program | None = None  # inputs x, h; result a record (y, h)


LATER = object()
"""In the place of an item: the next one depends on results that have not been taken yet."""


class Workers(Protocol):
    """Where the heavy loops over a target run; see `distill.execution`."""

    count: int

    def run(
        self,
        target: Target,
        function: Callable[[Target, Any], Any],
        items: Iterable[Any],
        total: int | None = None,
    ) -> Iterator[Any]:
        """`function(target, item)` for every item, in the order of the items.  Who takes items
        ahead of their results may meet `LATER`."""
        ...


@dataclass(frozen=True, slots=True)
class Target:
    """A claim about one network: what every proposer and every verifier works on.

    `network` gives the traced network in this language (packed inputs to raw outputs before
    selection and decoding), where the front end could translate it.
    """

    domain: Domain
    claim: Claim
    runtime: Runtime
    network: Translation = lambda shape: None
    recurrence: Recurrence | None = None
    fingerprint: str = ""
    workers: Workers | None = None

    def spread(
        self,
        function: Callable[[Target, Any], Any],
        items: Iterable[Any],
        *,
        total: int | None = None,
    ) -> Iterator[Any]:
        """`function(self, item)` for every item, in the order of the items: here, or by workers.
        The function belongs to a module; items and results are plain data."""
        if self.workers is None:
            return (function(self, item) for item in items)
        return self.workers.run(self, function, items, total)

    def pack(self, batch: Batch) -> np.ndarray:
        """The network's input for a batch, (B, ...), in the claim's dtype."""
        from dsl.decoding import packed

        return packed(self.claim, batch)

    def raw(self, batch: Batch) -> np.ndarray:
        """The selected raw outputs of the original runtime, before decoding."""
        from dsl.decoding import selected

        return selected(self.claim, self.runtime(self.pack(batch)), batch)

    def evaluate(self, batch: Batch) -> Evaluation:
        """The decoded values of the original runtime, with margins."""
        from dsl.generation import evaluated

        return evaluated(self, batch)


@dataclass(frozen=True, slots=True)
class Hypothesis:
    """A program that may equal the target, and where it came from.

    `evidence` is JSON-like data for the report and for verifiers (a machine's states and
    regions, an attention picture, decodability figures); `tried` counts the candidates that
    the proposer has looked at so far.
    """

    program: Program
    proposer: str
    tried: int = 0
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Counterexample:
    """An input on which program and network differ, as a call that can be pasted."""

    inputs: Mapping[str, Any]
    program_value: Any
    network_value: Any
    margin: float = float("nan")


@dataclass(frozen=True, slots=True)
class Proved:
    """`method` proved the claim on `proven_domain` (text); `evidence` lets a checker redo it."""

    method: str
    proven_domain: str
    arithmetic: str
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refuted:
    """Replayed in the original runtime.  `disagreement` is the fraction of the domain, if known."""

    method: str
    counterexample: Counterexample
    found: int = 1
    disagreement: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Unknown:
    """No verdict: the reason, and what is established all the same (fractions of the domain)."""

    reason: str
    proven_fraction: float = 0.0
    refuted_fraction: float = 0.0
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tested:
    """No difference on `samples` random inputs: disagreement at most `bound` with 99 % confidence
    (Clopper-Pearson)."""

    samples: int
    bound: float
    evidence: Mapping[str, Any] = field(default_factory=dict)


Verdict: TypeAlias = Proved | Refuted | Unknown | Tested
