"""Where in the network the parts of a program can be read off.

A *feature* is a sub-expression of the program, or a variable of its loop after the last symbol. It
is found at a place when its values are a linear function of the activations there: for each value
an indicator is regressed, and the shares of explained variance are averaged by frequency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from distill.report.account import Account, sample
from dsl import types as t
from dsl.domain import Shape
from dsl.evaluate import run
from dsl.primitives.base import Undefined
from dsl.printer import expression
from dsl.program import Assign, Call, Expr, Loop, Program, Variable, expressions, walk
from synth.statistics import Basis, decodability, orthonormal

FOUND = 0.8
_ROWS = 768
_LENGTH = 12
_MOST_KINDS = 150
_MOST_FEATURES = 24
_WIDEST = 160


@dataclass(frozen=True, slots=True)
class Feature:
    """Text, the program's name for it if it has one, and its value for each row."""

    text: str
    name: str | None
    values: np.ndarray


@dataclass(frozen=True, slots=True)
class Reading:
    """How well a feature can be read off at each place; `place` is the first where it is found."""

    feature: Feature
    scores: Mapping[str, float]
    place: str | None

    @property
    def best(self) -> float:
        return max(self.scores.values(), default=0.0)


def rows_of(account: Account) -> dict[str, np.ndarray]:
    """Random inputs of one shape; sequences of a dozen items where they may have as many."""
    lengths = []
    for name, kind in account.target.domain.fields:
        if isinstance(kind, t.Seq):
            high = _LENGTH if kind.high is None else kind.high
            lengths.append((name, min(high, max(kind.low, _LENGTH))))
    if lengths:
        rng = np.random.default_rng(11)
        drawn = account.target.domain.sample_shape(Shape(tuple(lengths)), _ROWS, rng)
        if drawn is not None:
            return drawn
    return max(sample(account.target, _ROWS), key=lambda b: len(next(iter(b.values()))))


def features(program: Program, batch: Mapping[str, np.ndarray]) -> tuple[Feature, ...]:
    """The features of a program that vary, at most a couple of dozen, the greatest first."""
    found: dict[str, Feature] = {}
    for name, part in _named(program):
        _add(found, part, batch, name, name)
    for text, part in _unnamed(program):
        _add(found, part, batch, text, None)
    return tuple(found.values())[:_MOST_FEATURES]


def _add(
    found: dict[str, Feature],
    part: Program,
    batch: Mapping[str, np.ndarray],
    text: str,
    name: str | None,
) -> None:
    if text in found or len(found) >= _MOST_FEATURES:
        return
    try:
        values = run(part, batch)
    except Undefined:
        return
    if values.dtype == object or values.ndim == 0 or 0 in values.shape:
        return
    if values.ndim == 2:
        # Of a sequence, the last item, as of the activations along one.
        values, text = values[:, -1], f"{text}[-1]"
    if values.ndim != 1:
        return
    kinds = len(np.unique(values))
    if kinds < 2 or any(np.array_equal(values, other.values) for other in found.values()):
        return
    if values.dtype.kind not in "biuf" and kinds > _MOST_KINDS:
        return
    found[text] = Feature(text, name, values)


def _named(program: Program) -> list[tuple[str, Program]]:
    parts = []
    for i, statement in enumerate(program.body):
        match statement:
            case Assign(names, _):
                bound = names
            case Loop(_, _, state, _, _):
                bound = tuple(name for name, _ in state)
        for name in bound:
            parts.append(
                (name, replace(program, body=program.body[: i + 1], result=Variable(name)))
            )
    return parts


def _unnamed(program: Program) -> list[tuple[str, Program]]:
    """The calls inside the program's outermost expressions that need no loop variable."""
    if any(isinstance(statement, Loop) for statement in program.body):
        outer: list[Expr] = [program.result]
    else:
        outer = list(reversed(list(expressions(program))))
    free = {*program.parameters, *(n for n, _ in program.constants), *_bound(program)}
    parts = []
    for whole in outer:
        for node in walk(whole):
            names = {x.name for x in walk(node) if isinstance(x, Variable)}
            if isinstance(node, Call) and names and names <= free:
                text = expression(node)
                if len(text) <= 60:
                    parts.append((text, replace(program, result=node)))
    return parts


def _bound(program: Program) -> set[str]:
    names: set[str] = set()
    for statement in program.body:
        if isinstance(statement, Assign):
            names.update(statement.names)
        else:
            names.update(name for name, _ in statement.state)
            names.update(statement.outputs)
    return names


def bases(activations: Mapping[str, np.ndarray]) -> tuple[Basis, ...]:
    """A basis for each place; of values along a sequence, those at its last position."""
    found = []
    for name, values in activations.items():
        count = len(values)
        flat = values.reshape(count, -1)
        if flat.shape[1] > count // 4 and values.ndim >= 3:
            flat = values[:, -1].reshape(count, -1)
        basis = orthonormal(flat.astype(np.float64), min(_WIDEST, count // 3))
        if basis.shape[1]:
            found.append(Basis(name, basis))
    return tuple(found)


def readings(
    found: tuple[Feature, ...], places: tuple[Basis, ...], *, order: Mapping[str, int]
) -> tuple[Reading, ...]:
    """Where each feature can be read; `order` ranks the places from input to output."""
    result = []
    for feature in found:
        rows, weights = indicators(feature.values)
        scores = {basis.name: float(decodability(rows, (basis,)) @ weights) for basis in places}
        ranked = sorted(scores, key=lambda name: order.get(name, 0))
        good = max(FOUND, 0.97 * max(scores.values(), default=1.0))
        place = next((name for name in ranked if scores[name] >= good), None)
        result.append(Reading(feature, scores, place))
    return tuple(result)


def indicators(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row for each value that occurs, weighted by its variance; one row for real numbers."""
    kinds, codes = np.unique(values, return_inverse=True)
    if len(kinds) > _MOST_KINDS or values.dtype.kind == "f":
        return values.astype(np.float64)[None], np.ones(1)
    if len(kinds) == 2:
        return codes.astype(np.float64)[None], np.ones(1)
    rows = (codes[None] == np.arange(len(kinds))[:, None]).astype(np.float64)
    variance = rows.var(axis=1)
    return rows, variance / variance.sum()
