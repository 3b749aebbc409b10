"""Laws with departures: where a network leaves its rule, by length and by the rule's own numbers.

A network errs first where its rule is close, and random inputs hardly ever are.  So inputs are made
that are: two random ones that the rule tells apart are joined by a path that changes one item
after the other, and the network is asked around the place where the rule's answer turns.  What it
answers differently for most of one length and one number is an entry of a table.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl import types as t
from dsl.claim import Hypothesis
from dsl.domain import Domain, Shape
from dsl.evaluate import run_defined
from dsl.program import Call, Comprehension, Constant, Expr, Literal, Program, Variable, children
from synth.problem import Observations, Problem, observe

TABLE = "EXCEPTIONS"
TOLERATED = 0.02
"""A law that is wrong on more of what was observed is none."""
_SHAPES, _AROUND = 1000, 2
_PAIRS, _MORE = 48, 400
_SHARE = 0.3
_LEAST = 6
_MOST = 40
_TOKENS = 4


@dataclass(frozen=True)
class _Judged:
    """Inputs with what the law and the network say, and the numbers that may be keys."""

    law: np.ndarray
    network: np.ndarray
    numbers: tuple[np.ndarray, ...]


def with_departures(problem: Problem, law: Hypothesis) -> Hypothesis | None:
    """The law with a table of what the network says instead at some lengths and numbers, if that
    is right on more of what was observed; None where inputs are not one sequence of varying
    length, or answers are not single values."""
    domain = problem.target.domain
    kind = domain.fields[0][1]
    varying = isinstance(kind, t.Seq) and kind.low != kind.high and len(domain.fields) == 1
    plain = all(o.values.ndim == 1 and o.values.dtype.kind in "iuU" for o in problem.observations)
    claim = problem.target.claim
    if not varying or not plain or law.program.body or claim.closed_loop or claim.feedback:
        return None
    keys = _keys(law.program, domain)
    close = [_judged(law.program, keys, o) for o in _turning(problem, law.program)]
    seen = [_judged(law.program, keys, o) for o in problem.observations]
    if not close:
        return None
    tables = [_table(close, number) for number in range(1, len(keys))]
    right = [_right(seen, number, table) for number, table in enumerate(tables, 1)]
    best = max(range(len(tables)), key=lambda k: (right[k], -len(tables[k])), default=None)
    if best is None or not 0 < len(tables[best]) <= _MOST or right[best] <= _right(seen, 1, {}):
        return None
    key = Call("tuple", (keys[0], keys[best + 1]))
    program = replace(
        law.program,
        result=Call("get", (Constant(TABLE), key, law.program.result)),
        constants=(*law.program.constants, (TABLE, tables[best])),
    )
    return replace(law, program=program)


def _keys(law: Program, domain: Domain) -> tuple[Expr, ...]:
    """The length, then the law's own numbers, then how often each of a few items stands there."""
    ((name, kind),) = domain.fields
    assert isinstance(kind, t.Seq)
    s = Variable(name)
    found = [Call("len", (s,)), *_numbers(law.result)]
    match kind.item:
        case t.Token(alphabet) if len(alphabet) <= _TOKENS:
            found += [Call("count", (s, Literal(token))) for token in alphabet]
    return tuple(dict.fromkeys(found))


def _numbers(expr: Expr) -> Iterator[Call]:
    """Calls that may be numbers and stand outside of comprehensions."""
    match expr:
        case Comprehension():
            return
        case Call("ite", (test, *_)):
            yield from _numbers(test)
        case Call(primitive):
            if primitive in ("count", "sum", "max", "min", "sub", "add"):
                yield expr
            for child in children(expr):
                yield from _numbers(child)


def _turning(problem: Problem, law: Program) -> Iterator[Observations]:
    """What the network answers around the places where the law's answer turns, length by length in
    an order of chance, in a part of the time; more of it for lengths at which it departs."""
    rng = problem.rng()
    until = time.monotonic() + _SHARE * max(0.0, problem.time_left)
    shapes = [shape for shape, _ in problem.target.domain.sampled_shapes(_SHAPES, rng)]
    for pairs in (_PAIRS, _MORE):
        departing = []
        for k in rng.permutation(len(shapes)):
            if time.monotonic() > until:
                return
            for found in _asked(problem, law, shapes[k], pairs, rng):
                yield found
                if not np.array_equal(run_defined(law, found.inputs)[0], found.values):
                    departing.append(shapes[k])
        shapes = departing


def _asked(
    problem: Problem, law: Program, shape: Shape, pairs: int, rng: np.random.Generator
) -> tuple[Observations, ...]:
    """What the network answers where the law's turns between some pairs of inputs of a shape."""
    domain = problem.target.domain
    (name,) = domain.names
    ends = [domain.sample_shape(shape, pairs, rng) for _ in range(2)]
    if ends[0] is None or ends[1] is None or len(ends[0][name]) != len(ends[1][name]):
        return ()
    rows = around_turn(law, name, ends[0][name], ends[1][name], rng)
    batch = domain.kept({name: rows})
    return observe(problem.target, [batch]) if len(batch[name]) else ()


def around_turn(
    law: Program, name: str, first: np.ndarray, last: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The inputs next to where the law's answer turns, on paths from some inputs to others that
    change one item at a time; none of pairs that the law does not tell apart."""
    rows = min(len(first), len(last))
    first, last = first[:rows], last[:rows]
    length = first.shape[1]
    order = np.argsort(rng.random((rows, length)), axis=1).argsort(axis=1)

    def at(steps: np.ndarray) -> np.ndarray:
        return np.where(order < steps[:, None], last, first)

    def says(steps: np.ndarray) -> np.ndarray:
        return run_defined(law, {name: at(steps)})[0]

    low, high = np.zeros(rows, np.int64), np.full(rows, length)
    start = says(low)
    told = np.asarray(start != says(high))
    for _ in range(length.bit_length()):
        middle = (low + high) // 2
        same = np.asarray(says(middle) == start)
        low, high = np.where(same, middle, low), np.where(same, high, middle)
    found = [at(np.clip(low + k, 0, length))[told] for k in range(1 - _AROUND, 1 + _AROUND)]
    return np.unique(np.concatenate(found), axis=0)


def _judged(law: Program, keys: tuple[Expr, ...], o: Observations) -> _Judged:
    columns = tuple(run_defined(replace(law, result=key), o.inputs)[0] for key in keys)
    return _Judged(run_defined(law, o.inputs)[0], o.values, columns)


def _table(judged: list[_Judged], number: int) -> dict[tuple[int, int], Any]:
    """What the network says for a length and a number, where for most it is another value than the
    law's."""
    groups: dict[tuple[int, int], list[tuple[Any, Any]]] = {}
    for part in judged:
        keys = zip(part.numbers[0].tolist(), part.numbers[number].tolist(), strict=True)
        answers = zip(part.law.tolist(), part.network.tolist(), strict=True)
        for key, answer in zip(keys, answers, strict=True):
            groups.setdefault(key, []).append(answer)
    found = {}
    for key, answers_here in sorted(groups.items()):
        said = [network for _, network in answers_here]
        common = max(sorted(set(said), key=repr), key=said.count)
        kept = sum(law == network for law, network in answers_here)
        if len(said) >= _LEAST and said.count(common) > kept:
            found[key] = common
    return found


def _right(judged: list[_Judged], number: int, table: dict[tuple[int, int], Any]) -> int:
    """On how many inputs the law with a table says what the network says."""
    right = 0
    for part in judged:
        keys = zip(part.numbers[0].tolist(), part.numbers[number].tolist(), strict=True)
        ours = [table.get(k, v) for k, v in zip(keys, part.law.tolist(), strict=True)]
        right += sum(a == b for a, b in zip(ours, part.network.tolist(), strict=True))
    return right
