"""Real inputs with the network's raw outputs and decoded values, as matrices.

Inside this package every input is scaled to [-1, 1] over the domain's box; programs are written in
the domain's own units.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dsl import types as t
from dsl.claim import Target
from dsl.decoding import decoded
from dsl.program import Literal
from synth.tables import literal

MOST_INPUTS = 40
MOST_KINDS = 64
_BLOCK = 16_384


@dataclass(frozen=True)
class Box:
    """The inputs of a domain of numbers: names, middle and half width of each; `fixed` are those
    of one value."""

    target: Target
    names: tuple[str, ...]
    middle: np.ndarray
    half: np.ndarray
    fixed: tuple[tuple[str, float], ...]

    def batch(self, scaled: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs of the domain for scaled points (N, d)."""
        values = self.middle + scaled * self.half
        batch = {name: values[:, i] for i, name in enumerate(self.names)}
        batch |= {name: np.full(len(scaled), value) for name, value in self.fixed}
        return {name: batch[name] for name in self.target.domain.names}

    def raw(self, scaled: np.ndarray) -> np.ndarray:
        """The network's raw outputs at scaled points, (N, outputs), float64."""
        parts = [
            np.asarray(self.target.raw(self.batch(scaled[i : i + _BLOCK])), np.float64)
            for i in range(0, len(scaled), _BLOCK)
        ]
        joined = np.concatenate(parts)
        return joined.reshape(len(joined), -1)

    def scaled(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        columns = [np.asarray(batch[name], np.float64) for name in self.names]
        return (np.stack(columns, 1) - self.middle) / self.half


@dataclass(frozen=True)
class Points:
    """Scaled inputs (N, d), raw outputs (N, outputs) and what is decided at each: an index into
    `kinds`."""

    box: Box
    inputs: np.ndarray
    raw: np.ndarray
    codes: np.ndarray
    kinds: tuple[Literal, ...]


def box_of(target: Target) -> Box | None:
    """The box of a domain of bounded scalars of which one at least is real; None for others."""
    names, middle, half, fixed = [], [], [], []
    reals = 0
    for name, kind in target.domain.fields:
        match kind:
            case t.Real(low, high) if low is not None and high is not None:
                reals += high > low
            case _:
                return None
        if high > low:
            names.append(name)
            middle.append((low + high) / 2)
            half.append((high - low) / 2)
        else:
            fixed.append((name, float(low)))
    if not reals or len(names) > MOST_INPUTS or target.claim.feedback is not None:
        return None
    return Box(target, tuple(names), np.array(middle), np.array(half), tuple(fixed))


def drawn(box: Box, count: int, rng: np.random.Generator) -> np.ndarray:
    """Random scaled points of the domain."""
    if box.target.domain.where is None:
        return rng.uniform(-1, 1, (count, len(box.names)))
    batches = box.target.domain.sample(count, rng)
    return np.concatenate([box.scaled(batch) for batch in batches])


def decisions(box: Box, count: int, rng: np.random.Generator) -> Points | None:
    """Random points with what the network decides; None where it decides nothing."""
    decode = box.target.claim.decode
    if decode.rule == "value":
        return None
    inputs = drawn(box, count, rng)
    values: list[np.ndarray] = []
    raws: list[np.ndarray] = []
    for i in range(0, len(inputs), _BLOCK):
        raw = np.asarray(box.target.raw(box.batch(inputs[i : i + _BLOCK])))
        values.append(decoded(decode, raw).values)
        raws.append(raw.reshape(len(raw), -1).astype(np.float64))
    answers = np.concatenate(values)
    if answers.ndim != 1 or answers.dtype.kind not in "iubU":
        return None
    kinds, codes = np.unique(answers, return_inverse=True)
    if len(kinds) > MOST_KINDS:
        return None
    literals = tuple(literal(kind) for kind in kinds)
    return Points(box, inputs, np.concatenate(raws), codes, literals)


def values(box: Box, count: int, rng: np.random.Generator) -> Points | None:
    """Random points with the network's one real output; None where it has another form."""
    if box.target.claim.decode.rule != "value":
        return None
    inputs = drawn(box, count, rng)
    raw = box.raw(inputs)
    if raw.shape[1] != 1 or not np.isfinite(raw).all():
        return None
    return Points(box, inputs, raw, np.zeros(len(raw), int), ())
