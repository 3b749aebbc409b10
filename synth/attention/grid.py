"""Values of expressions at every place of many sampled inputs.

A *view* says what the places are: the positions of a sequence, its prefixes, its strides, or the
input as a whole.  Candidates are expressions of the language over the view's targets, and their
values come from the language's own evaluator, so a feature means here what it means when emitted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from dsl import types as t
from dsl.evaluate import Scope
from dsl.primitives.base import Undefined
from dsl.primitives.sequence import sequence, within
from dsl.program import Expr
from dsl.values import Sequence, Value
from synth.problem import Observations, Problem

_WIDTHS = (1, 2, 4, 8, 12, 16, 24, 40, 80, 1 << 30)


@dataclass(frozen=True, slots=True)
class View:
    """One place for each item of `source`, named by `targets`; one per input without a source.

    `whole` says whether the network's answer is a list with one entry for each place.
    """

    targets: tuple[str, ...] = ()
    source: Expr | None = None

    @property
    def whole(self) -> bool:
        return self.source is None


@dataclass(frozen=True)
class Sample:
    """Inputs with the network's answers, grouped by length; `values` has one entry per place."""

    groups: tuple[Observations, ...]

    def __len__(self) -> int:
        return sum(len(group) for group in self.groups)


def sampled(
    problem: Problem, entries: int, extra: Iterable[tuple[int, int]] = (), reach: int = 1 << 30
) -> Sample:
    """Observed rows with about `entries` items in all: every length its share, the shorter ones
    first, the rows given as (observation, row) and all counterexamples besides.  Sequences
    longer than `reach` are left out while there are others."""
    rng = problem.rng()
    by_length: dict[int, list[tuple[int, np.ndarray]]] = {}
    for number, o in enumerate(problem.observations):
        rows = np.arange(len(o))
        by_length.setdefault(_length(o), []).append((number, rows))
    lengths = sorted(by_length)
    if any(length <= reach for length in lengths):
        lengths = [length for length in lengths if length <= reach]
    picked: dict[int, set[int]] = {}
    left = float(entries)
    for i, length in enumerate(lengths):
        places = [(number, int(row)) for number, rows in by_length[length] for row in rows]
        share = int(left / (len(lengths) - i) / max(length, 1)) + 1
        order = rng.permutation(len(places))[:share]
        for place in order:
            number, row = places[int(place)]
            picked.setdefault(number, set()).add(row)
        left -= len(order) * max(length, 1)
    examples = [n for n, o in enumerate(problem.observations) if len(o) <= 2][-120:]
    for number in examples:
        picked.setdefault(number, set()).update(range(len(problem.observations[number])))
    for number, row in extra:
        picked.setdefault(number, set()).add(row)
    groups: dict[tuple[int, ...], list[Observations]] = {}
    for number in sorted(picked):
        o, rows = problem.observations[number], np.array(sorted(picked[number]))
        part = Observations(
            {name: column[rows] for name, column in o.inputs.items()},
            o.values[rows],
            o.margins[rows],
        )
        key = (*(column.shape[1] for column in part.inputs.values() if column.ndim > 1),)
        groups.setdefault((*key, *o.values.shape[1:]), []).append(part)
    return Sample(tuple(_joined(parts) for _, parts in sorted(groups.items())))


def _length(o: Observations) -> int:
    return max((c.shape[1] for c in o.inputs.values() if c.ndim > 1), default=1)


def _joined(parts: list[Observations]) -> Observations:
    inputs = {
        name: np.concatenate([part.inputs[name] for part in parts]) for name in parts[0].inputs
    }
    values = np.concatenate([part.values for part in parts])
    return Observations(inputs, values, np.concatenate([part.margins for part in parts]))


@dataclass
class Grid:
    """Scopes at the places of a view, one for each range of lengths, and the values of
    expressions there as flat columns (places in a fixed order)."""

    view: View
    scopes: list[Scope] = field(default_factory=list)
    inside: list[np.ndarray] = field(default_factory=list)
    count: int = 0
    evaluated: int = 0

    def column(self, expr: Expr, constants: Mapping[str, Any] | None = None) -> np.ndarray | None:
        """The values of a scalar expression at all places; None where it has none somewhere."""
        self.evaluated += 1
        parts = []
        for scope, inside in zip(self.scopes, self.inside, strict=True):
            if constants:
                scope = replace(scope, constants={**scope.constants, **constants})
            try:
                value = scope.evaluate(expr)
            except Undefined:
                return None
            if not isinstance(value, np.ndarray) or value.dtype == object:
                return None
            parts.append(np.broadcast_to(value, inside.shape)[inside])
        if len({part.dtype.kind for part in parts}) != 1:
            return None
        return np.concatenate(parts)

    def kept(self, flags: np.ndarray) -> Grid:
        """The places that are marked: elsewhere expressions need have no value."""
        result = Grid(self.view)
        start = 0
        for scope, inside in zip(self.scopes, self.inside, strict=True):
            stop = start + int(inside.sum())
            here = inside.copy()
            here[inside] = flags[start:stop]
            if here.any():
                result.scopes.append(scope.restricted(here))
                result.inside.append(here)
            start = stop
        result.count = int(flags.sum())
        return result

    def listed(self, expr: Expr) -> list[Sequence] | None:
        """The list of an expression's values at the places of each input, range by range."""
        found: list[Sequence] = []
        for scope, inside in zip(self.scopes, self.inside, strict=True):
            try:
                value = scope.evaluate(expr)
            except Undefined:
                return None
            if not isinstance(value, np.ndarray):
                return None
            found.append(Sequence(np.broadcast_to(value, inside.shape), inside.sum(-1)))
        return found

    def bind(self, name: str, lists: list[Sequence]) -> None:
        """Makes lists, one per input, known to all expressions to come."""
        for scope, value in zip(self.scopes, lists, strict=True):
            scope.bind(name, value, 0)


def grid(sample: Sample, kinds: dict[str, t.Type], view: View) -> Grid:
    """The places of a view on sampled inputs."""
    result = Grid(view)
    for inputs in _buckets(sample, kinds):
        scope = Scope({})
        rows = 0
        for name, value in inputs.items():
            scope.bind(name, value, 0)
            rows = len(value.length if isinstance(value, Sequence) else value)  # type: ignore[arg-type]
        if view.source is None:
            inside = np.ones(rows, bool)
        else:
            source = sequence(scope.evaluate(view.source), "for")
            inside = within(source, 0)
            inside = np.asarray(np.broadcast_to(inside, (rows, inside.shape[-1])))
            scope = scope.entered(view.targets, source.items, inside)
        result.scopes.append(scope)
        result.inside.append(inside)
        result.count += int(inside.sum())
    return result


def answers(sample: Sample, kinds: dict[str, t.Type], view: View) -> np.ndarray | None:
    """The network's answers at the places of a view, in the order of the grid; None where their
    number is not that of the places."""
    parts = []
    for bucket in _bucketed(sample):
        rows = []
        for group in bucket:
            values = group.values
            if view.whole != (values.ndim == 1 and values.dtype != object):
                return None
            rows += list(values) if view.whole else [np.asarray(list(v)) for v in values]
        if view.whole:
            parts.append(np.array(rows))
        elif any(len(row) for row in rows):
            parts.append(np.concatenate([row for row in rows if len(row)]))
    if not parts:
        return None
    kinds_of = {part.dtype.kind for part in parts}
    return np.concatenate(parts) if len(kinds_of) == 1 and "O" not in kinds_of else None


def unpadded(sample: Sample) -> Iterator[Observations]:
    """The groups of a sample in the order of a grid's places."""
    for bucket in _bucketed(sample):
        yield from bucket


def _bucketed(sample: Sample) -> list[list[Observations]]:
    """Groups of similar length together."""
    buckets: dict[int, list[Observations]] = {}
    for group in sample.groups:
        length = _length(group)
        width = next(i for i, width in enumerate(_WIDTHS) if length <= width)
        buckets.setdefault(width, []).append(group)
    return [sorted(buckets[w], key=_length) for w in sorted(buckets)]


def _buckets(sample: Sample, kinds: dict[str, t.Type]) -> list[dict[str, Value]]:
    result = []
    for bucket in _bucketed(sample):
        inputs: dict[str, Value] = {}
        for name, kind in kinds.items():
            columns = [group.inputs[name] for group in bucket]
            if not isinstance(kind, t.Seq):
                inputs[name] = np.concatenate(columns)
                continue
            width = max(column.shape[1] for column in columns)
            items = np.concatenate([_widened(column, width) for column in columns])
            length = np.concatenate([np.full(len(c), c.shape[1]) for c in columns])
            inputs[name] = Sequence(items, length)
        result.append(inputs)
    return result


def _widened(column: np.ndarray, width: int) -> np.ndarray:
    if column.shape[1] == width:
        return column
    if column.shape[1] == 0:
        return np.zeros((len(column), width), column.dtype)
    rest = np.repeat(column[:, -1:], width - column.shape[1], axis=1)
    return np.concatenate([column, rest], axis=1)


def sequence_name(kinds: dict[str, t.Type]) -> str | None:
    """The name of the only sequence; None where there is none or several."""
    names = [name for name, kind in kinds.items() if isinstance(kind, t.Seq)]
    return names[0] if len(names) == 1 else None


def unrolled(sample: Sample, name: str, unit: str, slices: int | None) -> Sample | None:
    """Parts of the sequences as inputs of their own, called `unit`: every prefix, or, for a fixed
    number of answers, the items `s[k::slices]`; repeated parts with one answer stand once."""
    seen: dict[tuple[object, ...], object] = {}
    for group in sample.groups:
        for row, values in zip(group.inputs[name].tolist(), group.values, strict=True):
            answers_of = values.tolist() if isinstance(values, np.ndarray) else list(values)
            count = slices or len(row) + 1
            if len(answers_of) != count:
                return None
            for k, value in enumerate(answers_of):
                seen.setdefault(tuple(row[k::slices] if slices else row[:k]), value)
    by_length: dict[int, list[tuple[tuple[object, ...], object]]] = {}
    for part, value in seen.items():
        by_length.setdefault(len(part), []).append((part, value))
    dtype = sample.groups[-1].inputs[name].dtype
    groups = []
    for length, pairs in sorted(by_length.items()):
        items = np.array([part for part, _ in pairs], dtype).reshape(len(pairs), length)
        values = np.array([value for _, value in pairs])
        groups.append(Observations({unit: items}, values, np.zeros(len(pairs))))
    return Sample(tuple(groups))
