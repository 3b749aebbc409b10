"""Properties of networks: can the unsafe cases of a VNN-LIB file be satisfied?"""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from dsl.claim import Runtime
from dsl.primitives.tensor import Box
from dsl.program import Program
from verify.branching import explore
from verify.forms import Form, Rows, Untranslatable
from verify.graph import Builder
from verify.lowering import View, lowered
from verify.rounding import UNITS, Unbounded, precision, refuse_overflow
from verify.violations import Problem
from verify.vnnlib import Case, Condition, Property


@dataclass(frozen=True, slots=True)
class Decision:
    """`unsat`: no input satisfies the property, by `arithmetic`; `sat`: `inputs` do, with the
    `outputs` that the original runtime gave; `unknown`: `open` of the volume is undecided."""

    answer: Literal["sat", "unsat", "unknown"]
    seconds: float
    boxes: int
    arithmetic: str
    inputs: tuple[float, ...] = ()
    outputs: tuple[float, ...] = ()
    open: float = 0.0
    evidence: Mapping[str, Any] = field(default_factory=dict)


def decided(
    stated: Property,
    network: Program,
    shape: tuple[int, ...],
    runtime: Runtime,
    *,
    deadline: float,
    dtype: str = "float32",
    seed: int = 0,
) -> Decision:
    """Whether the property can be satisfied by inputs of a shape (batch axis left out)."""
    started = time.monotonic()
    unit = UNITS[_precision(network, dtype)]
    arithmetic = f"exact, and every {dtype} runtime that rounds to nearest and sums in any order"
    if stated.inputs != int(np.prod(shape, dtype=int)):
        raise Untranslatable(
            f"a property of {stated.inputs} inputs, for a network of {int(np.prod(shape))}"
        )
    boxes, still_open = 0, 0.0

    def spent() -> float:
        return time.monotonic() - started

    cases = sorted(stated.cases, key=lambda case: (*case.low, *case.high))
    for _, group in itertools.groupby(cases, lambda case: (*case.low, *case.high)):
        same = list(group)
        ends = (np.reshape(end, (1, *shape)) for end in (same[0].low, same[0].high))
        _refuse_overflow(network, Box(*ends), dtype)
        problem = problem_of(same, network, shape, unit)

        def confirm(points: np.ndarray, same: list[Case] = same) -> np.ndarray:
            points = same[0].inside(points)
            outputs = _outputs(runtime, points, shape, dtype)
            return np.array(
                [any(_holds(c, x, y) for c in same) for x, y in zip(points, outputs, strict=True)]
            )

        outcome = explore(
            problem,
            same[0].low,
            same[0].high,
            deadline=deadline,
            goal="decide",
            confirm=confirm,
            seed=seed,
        )
        boxes += outcome.boxes
        if len(outcome.counterexamples):
            point = same[0].inside(outcome.counterexamples[:1])
            outputs = _outputs(runtime, point, shape, dtype)[0]
            return Decision(
                "sat",
                spent(),
                boxes,
                f"as computed by the original runtime ({dtype})",
                tuple(point[0].tolist()),
                tuple(outputs.tolist()),
            )
        still_open += 0.0 if outcome.exhausted else max(outcome.open, 1e-300)
    answer: Literal["unsat", "unknown"] = "unknown" if still_open else "unsat"
    return Decision(answer, spent(), boxes, arithmetic, open=min(still_open, 1.0))


def _precision(network: Program, dtype: str) -> str:
    try:
        return precision(network, dtype)
    except Unbounded as reason:
        raise Untranslatable(str(reason)) from None


def _refuse_overflow(network: Program, box: Box, dtype: str) -> None:
    try:
        refuse_overflow(network, box, dtype)
    except Unbounded as reason:
        raise Untranslatable(str(reason)) from None


def problem_of(cases: list[Case], network: Program, shape: tuple[int, ...], unit: float) -> Problem:
    """Cases on one box as violations."""
    builder = Builder()
    size = int(np.prod(shape, dtype=int))
    source = builder.cast(builder.input(size), unit)
    view = lowered(network, View(source, np.arange(size).reshape(shape)), builder, unit)
    rows = Rows(builder)
    places = view.places.ravel().tolist()

    def form(condition: Condition) -> Form:
        terms = []
        for (kind, index), factor in condition.terms:
            if kind == "Y" and index >= len(places):
                raise Untranslatable(f"Y_{index} of a network with {len(places)} outputs")
            node = (0, index) if kind == "X" else (view.node, places[index])
            terms.append((node, factor))
        sizes = tuple((atom, abs(factor)) for atom, factor in terms)
        return Form(condition.constant, tuple(sorted(terms)), sizes)

    violations = []
    for case in cases:
        violations.append(tuple(sorted({rows.row(form(c)) for c in case.conditions})))
    if not all(violations):
        raise Untranslatable("a case without conditions on outputs")
    node = rows.node()
    return Problem(builder.graph(), node, tuple(dict.fromkeys(violations)), np.zeros(size, bool))


def _outputs(
    runtime: Runtime, points: np.ndarray, shape: tuple[int, ...], dtype: str
) -> np.ndarray:
    raw = runtime(points.astype(dtype).reshape(len(points), *shape))
    return np.asarray(raw, np.float64).reshape(len(points), -1)


def _holds(case: Case, inputs: np.ndarray, outputs: np.ndarray) -> bool:
    """Does an input, with the outputs of the runtime, satisfy a case?  In exact arithmetic."""
    for x, (low, high) in zip(inputs.tolist(), case.limits, strict=True):
        # A limit that float64 cannot hold is met by its neighbours.
        if not low <= Fraction(x) <= high and low != high:
            return False
    values = {"X": inputs, "Y": outputs}
    for condition in case.conditions:
        total = condition.constant
        for (kind, index), factor in condition.terms:
            total += factor * Fraction(float(values[kind][index]))
        if total < 0:
            return False
    return True
