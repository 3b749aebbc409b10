"""Two programs, two checkpoints, or one of each: equal on a domain, or where they differ.

Every input is compared where they can be counted; else random ones, which prove nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from dsl import types as t
from dsl.agreement import equal_rows
from dsl.claim import Target
from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.evaluate import run_defined
from dsl.program import Program
from verify.sampling import upper_bound

MOST = 40_000_000
SAMPLES = 200_000
_KEPT = 5
_BLOCK = 1 << 15


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared, and what the user called it."""

    name: str
    content: Program | Target

    def values(self, batch: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """The answers, and where there are any."""
        match self.content:
            case Program():
                return run_defined(self.content, batch)
            case Target():
                answers = self.content.evaluate(batch).values
                return answers, np.ones(len(answers), bool)


@dataclass(frozen=True, slots=True)
class Example:
    """An input on which the sides differ; None stands for no value."""

    inputs: Mapping[str, Any]
    first: Any
    second: Any


@dataclass(frozen=True)
class Difference:
    """What was found: `complete` where every input of the domain was compared.  `ranges` says
    between which values of each scalar input the differences lie; `raw` is the largest difference
    of raw outputs that was seen, for two networks."""

    names: tuple[str, str]
    domain: Domain
    compared: int
    different: int
    complete: bool
    examples: tuple[Example, ...] = ()
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    raw: float | None = None

    @property
    def equal(self) -> bool:
        """Is there a proof that they are equal?"""
        return self.complete and self.different == 0

    @property
    def bound(self) -> float:
        """A bound of the share of different inputs, with 99 % confidence unless complete."""
        if self.complete:
            return self.different / max(self.compared, 1)
        return upper_bound(self.different, self.compared)

    def __str__(self) -> str:
        return "\n".join(lines_of(self))

    def _repr_html_(self) -> str:
        from html import escape

        return f"<pre>{escape(str(self))}</pre>"


def difference(
    first: Side, second: Side, domain: Domain, *, seconds: float = 300.0, seed: int = 0
) -> Difference:
    """Compares two sides on a domain.  Raises D137 where a program takes other inputs."""
    for side in (first, second):
        if isinstance(side.content, Program) and set(side.content.parameters) != set(domain.names):
            raise DistillError(
                "D137",
                f"{side.name} takes {', '.join(side.content.parameters)}, the domain gives "
                f"{', '.join(domain.names)}",
                remedy="give a domain with these names with -d",
            )
    deadline = time.monotonic() + seconds
    counted = domain.raw_size is not None and domain.raw_size <= MOST
    loop = any(
        isinstance(s.content, Target) and s.content.claim.closed_loop for s in (first, second)
    )
    batches = domain.batches(_BLOCK) if counted and not loop else _random(domain, seed)
    compared = different = 0
    examples: list[Example] = []
    ranges: dict[str, tuple[float, float]] = {}
    raw: float | None = None
    complete = counted and not loop
    for batch in batches:
        if time.monotonic() > deadline:
            complete = False
            break
        ours, ours_defined = first.values(batch)
        theirs, theirs_defined = second.values(batch)
        both = ours_defined & theirs_defined
        same = (equal_rows(ours, theirs, _tolerance(first, second)) & both) | (
            ~ours_defined & ~theirs_defined
        )
        raw = _raw_difference(first, second, batch, raw)
        compared += len(same)
        wrong = np.flatnonzero(~same)
        different += len(wrong)
        for row in wrong[: max(0, _KEPT - len(examples))].tolist():
            examples.append(
                Example(
                    domain.row(dict(batch), row),
                    _plain(ours[row]) if ours_defined[row] else None,
                    _plain(theirs[row]) if theirs_defined[row] else None,
                )
            )
        if len(wrong):
            _widen(ranges, domain, batch, wrong)
    if compared == 0:
        raise DistillError("D112", f"no input satisfies `{domain}`")
    names = (first.name, second.name)
    return Difference(names, domain, compared, different, complete, tuple(examples), ranges, raw)


def _random(domain: Domain, seed: int) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng([seed, 0xD1])
    for _ in range(SAMPLES // 10_000):
        yield from domain.sample(10_000, rng)


def _tolerance(first: Side, second: Side) -> float:
    return max(
        (
            s.content.claim.decode.tolerance
            for s in (first, second)
            if isinstance(s.content, Target)
        ),
        default=0.0,
    )


def _raw_difference(
    first: Side, second: Side, batch: Mapping[str, np.ndarray], before: float | None
) -> float | None:
    """The largest difference of raw outputs so far; None unless both are networks whose outputs
    have one shape."""
    if not (isinstance(first.content, Target) and isinstance(second.content, Target)):
        return None
    if first.content.claim.feedback is not None:
        return None
    few = {name: column[:1024] for name, column in batch.items()}
    a, b = (np.asarray(s.content.raw(few), np.float64) for s in (first, second))  # type: ignore[union-attr]
    if a.shape != b.shape or not a.size:
        return before
    return max(before or 0.0, float(np.abs(a - b).max()))


def _widen(
    ranges: dict[str, tuple[float, float]],
    domain: Domain,
    batch: Mapping[str, np.ndarray],
    rows: np.ndarray,
) -> None:
    for name, kind in domain.fields:
        if isinstance(kind, (t.Int, t.Real)):
            column = batch[name][rows]
            low, high = column.min().item(), column.max().item()
            if name in ranges:
                low, high = min(low, ranges[name][0]), max(high, ranges[name][1])
            ranges[name] = (low, high)


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def lines_of(found: Difference) -> list[str]:
    """The difference for reading."""
    a, b = found.names
    count = f"{found.compared:,}".replace(",", " ")
    if found.equal:
        lines = [f"EQUAL  {a} and {b} give the same on all {count} inputs of {found.domain}"]
    elif found.different == 0:
        lines = [
            f"TESTED  no difference on {count} random inputs of {found.domain} (at most "
            f"{100 * found.bound:.3g} % differ, with 99 % confidence)"
        ]
    else:
        share = 100 * found.different / found.compared
        among = "inputs" if found.complete else "inputs compared"
        lines = [f"DIFFERENT  on {found.different} of {count} {among} ({share:.3g} %)"]
        for example in found.examples:
            inputs = ", ".join(f"{name}={value!r}" for name, value in example.inputs.items())
            lines.append(
                f"  = input  {inputs}: {a} gives {example.first!r}, {b} {example.second!r}"
            )
        if found.ranges:
            spans = ", ".join(
                f"{name} in {_end(low)}..{_end(high)}" for name, (low, high) in found.ranges.items()
            )
            lines.append(f"  = where  {spans}")
    if found.raw is not None:
        lines.append(f"  = raw    outputs differ by at most {found.raw:.4g} where compared")
    return lines


def _end(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.4g}"
