"""Programs `lo < dot(TEMPLATE, x) < hi` for two labels of a vector, and rules over two or three
such scores where one does not tell enough."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Assign, Call, Constant, Expr, Literal, Program, Variable
from synth.problem import Problem
from synth.tables import literal
from synth.templates.directions import Interval, best_interval, fitted, principal_gradients
from synth.templates.exemplars import Named, named_templates
from synth.templates.samples import Samples, samples_of
from synth.templates.several import Joined, joined, with_intervals

_FINEST, _COARSER = 9, (5, 3, 1)
_GREYS = 255
_WORTH = 0.02
_DEVIATIONS = 3.5
_HELD_OUT = 5
_NAMED = 2


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Templates of small integers, and templates with a name; none where a direction tells the
    labels hardly better than the commoner label does."""
    samples = samples_of(problem)
    if samples is None:
        return
    rng = problem.rng()
    directions, shares = principal_gradients(problem.target, samples.name, samples.vectors, rng)
    held = np.arange(len(samples.vectors)) % _HELD_OUT == 0
    weights, interval = fitted(samples.vectors[~held], samples.labels[~held], directions[0])
    if not _tells(
        interval, samples.vectors[held] @ weights.astype(np.float32), samples.labels[held]
    ):
        return
    evidence = {
        "kind": "template",
        "gradient_shares": [round(float(share), 4) for share in shares[:4]],
        "learned_from": {
            part: int((samples.part == i).sum()) for i, part in enumerate(samples.parts)
        },
    }

    def learned(level: int) -> Hypothesis:
        whole = _quantised(samples, weights, level)
        found = best_interval(samples.vectors @ whole.astype(np.float32), samples.labels)
        program = _program(problem, samples, whole, 0, "TEMPLATE", found)
        return Hypothesis(program, "templates", 1, {**evidence, "template": f"-{level}..{level}"})

    # The best first: time may be short.
    yield learned(_FINEST)
    for named in named_templates(samples, weights, rng, _NAMED):
        program = _named_program(problem, samples, named)
        label = {"template": named.name, "offset": round(named.offset, 4), "held": (named.name,)}
        yield Hypothesis(program, "templates", len(samples.vectors), {**evidence, **label})
    alone = float((interval.label(_scores(samples, weights))[held] == samples.labels[held]).mean())
    for count in (2, 3):
        found = joined(samples.vectors[~held], samples.labels[~held], directions[:count])
        together = found.agreement(samples.vectors[held], samples.labels[held])
        if together > alone + _WORTH * (1 - alone):
            alone = together
            program = _joined_program(problem, samples, found)
            label = {"template": f"{count} of -{_FINEST}..{_FINEST}"}
            yield Hypothesis(program, "templates", count, {**evidence, **label})
    for level in _COARSER:
        yield learned(level)


def _scores(samples: Samples, weights: np.ndarray) -> np.ndarray:
    return np.asarray(samples.vectors @ weights.astype(np.float32))


def _tells(interval: Interval, scores: np.ndarray, labels: np.ndarray) -> bool:
    """Does the interval tell held-out labels clearly better than the commoner label does?"""
    agreement = float((interval.label(scores) == labels).mean())
    commoner = max(float(labels.mean()), 1 - float(labels.mean()))
    return agreement > commoner + max(_WORTH, _DEVIATIONS * 0.5 / math.sqrt(len(labels)))


def _quantised(samples: Samples, weights: np.ndarray, level: int) -> np.ndarray:
    """The weights as integers from -level to level, at the scale that decides best."""
    largest = float(np.abs(weights).max())
    best: tuple[float, np.ndarray] | None = None
    for scale in (1.0, 0.8, 0.6, 0.45, 0.33) if level < 9 else (1.0,):
        unit = largest * scale / level
        whole = np.clip(np.rint(weights / unit), -level, level).astype(np.int64)
        scores = samples.vectors[::3] @ whole.astype(np.float32)
        agreement = best_interval(scores, samples.labels[::3]).agreement
        if best is None or agreement > best[0]:
            best = agreement, whole
    assert best is not None
    return best[1]


def _named_program(problem: Problem, samples: Samples, named: Named) -> Program:
    """The exemplar in whole grey values, where it has such; the offset in the same unit."""
    greys = np.rint(named.vector * _GREYS)
    exact = np.abs(greys / _GREYS - named.vector).max() < 1e-4
    vector = greys.astype(np.int64) if exact else np.round(named.vector.astype(np.float64), 3)
    unit = _GREYS if exact else 1
    offset = round(named.offset * unit) if exact else round(named.offset, 3)
    template = vector.astype(np.float64) - offset
    scores = samples.vectors.astype(np.float64) @ template
    found = best_interval(scores, samples.labels)
    return _program(problem, samples, vector, offset, named.name, found)


def _program(
    problem: Problem,
    samples: Samples,
    vector: np.ndarray,
    offset: int | float,
    name: str,
    interval: Interval,
) -> Program:
    x = Variable(samples.name)
    score: Expr = Call("dot", (Constant(name), x))
    if offset:
        sign = "sub" if offset > 0 else "add"
        score = Call(sign, (score, Call("mul", (Literal(abs(offset)), Call("sum", (x,))))))
    span = float(np.std(samples.vectors[:2000].astype(np.float64) @ (vector - float(offset))))
    truth = _comparison(interval, span / 200)
    result = _labelled(truth, samples.kinds)
    inputs = tuple((n, None) for n in problem.target.domain.names)
    values: tuple[Any, ...] = tuple(vector.tolist())
    return Program("program", inputs, (Assign(("score",), (score,)),), result, ((name, values),))


def _joined_program(problem: Problem, samples: Samples, found: Joined) -> Program:
    """One template and one score for each direction, in small integers, and their intervals."""
    x = Variable(samples.name)
    whole = np.array([_quantised(samples, weights, _FINEST) for weights in found.weights])
    refitted = with_intervals(samples.vectors, samples.labels, whole, found.every)
    body, tests, constants = [], [], []
    for number, (row, interval) in enumerate(zip(whole, refitted.intervals, strict=True), 1):
        name, score = f"TEMPLATE_{number}", f"score_{number}"
        body.append(Assign((score,), (Call("dot", (Constant(name), x)),)))
        constants.append((name, tuple(row.tolist())))
        span = float(np.std(_scores(samples, row)[:2000]))
        tests.append(_comparison(interval, span / 200, score))
    join = "and" if found.every else "or"
    truth = functools.reduce(lambda a, b: Call(join, (a, b)), tests)
    inputs = tuple((n, None) for n in problem.target.domain.names)
    result = _labelled(truth, samples.kinds)
    return Program("program", inputs, tuple(body), result, tuple(constants))


def _comparison(interval: Interval, tolerance: float, name: str = "score") -> Expr:
    """Whether the label is the second kind; bounds are rounded within the tolerance."""
    score = Variable(name)
    low, high = (_rounded(end, tolerance) for end in (interval.low, interval.high))
    if interval.inside:
        parts = []
        if math.isfinite(interval.low):
            parts.append(Call("lt", (Literal(low), score)))
        if math.isfinite(interval.high):
            parts.append(Call("lt", (score, Literal(high))))
        join = "and"
    else:
        parts = []
        if math.isfinite(interval.low):
            parts.append(Call("le", (score, Literal(low))))
        if math.isfinite(interval.high):
            parts.append(Call("ge", (score, Literal(high))))
        join = "or"
    if not parts:
        return Literal(interval.inside)
    return parts[0] if len(parts) == 1 else Call(join, tuple(parts))


def _rounded(value: float, tolerance: float) -> int | float:
    """The number of fewest digits within the tolerance."""
    if not math.isfinite(value):
        return 0
    for digits in range(-6, 8):
        rounded = round(value, digits)
        if abs(rounded - value) <= tolerance:
            return int(rounded) if digits <= 0 else rounded
    return value


def _labelled(truth: Expr, kinds: tuple[object, object]) -> Expr:
    if isinstance(kinds[0], bool):
        return truth
    if kinds == (0, 1):
        return Call("int", (truth,))
    return Call("ite", (truth, literal(kinds[1]), literal(kinds[0])))
