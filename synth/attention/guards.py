"""Answers with a guard: what a head finds where there is something to attend to, and what it gives
where there is nothing.

`s[i + 1]` has a value only where `i + 1 < len(s)`.  A head that selects no position attends to all
of them alike; what is made of such an average is the value that most positions vote for.  So the
places are split by a guard, each side is answered by itself, and a conditional expression joins
the two.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dsl import types as t
from dsl.program import Call, Comprehension, Constant, Expr, Literal, children, negated
from synth.attention import features as f
from synth.attention.features import Names, call, part, plus
from synth.attention.grid import Grid
from synth.attention.mirrors import CLOSEST
from synth.attention.solver import (
    Answer,
    Feature,
    answer_size,
    feature,
    goal_of,
    of_several,
    plain_answers,
    probes,
    ranked,
)
from synth.attention.work import Work, decided_answers, expressed_answers, wrong_places

_LEAVES = 12
_CAPACITY = 2500
_FEW_KINDS = 4
_SHORT = 14
_SHARE = 0.35
_DEEPEST = 2
_ENOUGH = 2
_VOTERS = 60
_ROWS = 400
_ERRORS = 0.03
"""Votes that are as good as even may go the other way at so many places."""
_KEYS = 14
_COVERED = 0.2


@dataclass(frozen=True, slots=True)
class Guard:
    """A test of a place, and expressions that have a value where it holds."""

    test: Expr
    inside: tuple[Expr, ...]


def guarded_answers(
    work: Work, names: Names, item: t.Type, found: list[Feature]
) -> Iterator[Answer]:
    """Conditional expressions that hold at all places, over the guards that come to mind."""
    limit = time.monotonic() + _SHARE * max(0.0, work.problem.deadline - time.monotonic())
    timed = replace(work, problem=replace(work.problem, deadline=limit))
    candidates = itertools.chain(borders(names, item), selections(timed, names, found))
    answers = _split(timed, candidates, names, item, found, _DEEPEST)
    yield from itertools.islice(answers, _ENOUGH)


def borders(n: Names, item: t.Type) -> Iterator[Guard]:
    """The two halves; neighbours, where there are any; what stood here or followed when the item
    last came."""
    s, i, c = n.s, n.i, n.c
    size = call("len", s)
    for length in (plus(size, 1), size):
        yield Guard(
            call("lt", i, call("floordiv", length, 2)), (c, call("sub", call("sub", size, 1), i))
        )
    before = {k: call("ge", i, k) for k in (1, 2)}
    after = {k: call("lt", plus(i, k), size) for k in (1, 2)}
    for k in (1, 2):
        yield Guard(before[k], _compared(n, item, *(call("index", s, plus(i, -j)) for j in _to(k))))
        yield Guard(after[k], _compared(n, item, *(call("index", s, plus(i, j)) for j in _to(k))))
    both = call("index", s, plus(i, -1)), call("index", s, plus(i, 1))
    yield Guard(call("and", before[1], after[1]), _compared(n, item, *both))
    past = part(s, None, i)
    back = call("find", part(past, None, None, -1), c)
    first = call("find", past, c)
    followers = call("index", s, call("sub", i, back)), call("index", s, plus(first, 1))
    yield Guard(call("contains", c, past), (back, first, *_compared(n, item, *followers)))
    rest = part(s, plus(i, 1), None)
    ahead = call("find", rest, c)
    yield Guard(call("contains", c, rest), (ahead, call("index", s, call("add", i, ahead))))


def _to(k: int) -> range:
    return range(k, 0, -1)


def _compared(n: Names, item: t.Type, *others: Expr) -> tuple[Expr, ...]:
    """Items at other places, and how this one compares with them."""
    c = n.c
    found: list[Expr] = []
    for other in others:
        found += [other, call("eq", other, c)]
        if isinstance(item, t.Token):
            if len(item.alphabet) <= 6:
                found += [call("eq", other, token) for token in item.alphabet]
        else:
            found += [call("lt", other, c), call("sub", other, c), call("add", other, c)]
            found.append(call("eq", call("mod", call("add", other, c), 2), 0))
    return tuple(found)


def selections(work: Work, names: Names, found: list[Feature]) -> Iterator[Guard]:
    """Is there a place whose key is this place's query, and what stands at the first of them: for
    every two features of which the answers follow wherever there is one."""
    kinds = {"i": "i", "u": "i", "U": "U"}
    several = [x for x in found if x.values.dtype.kind in kinds and x.size <= 12]
    short = [x for x in sorted(several, key=lambda x: x.size) if len(np.unique(x.values)) > 2]
    varied = [x for x in short if _varies(work.places, x)][:_KEYS]
    s = names.s
    for key in varied:
        listed = f.over(f.reduced(key.expr, names), names, s, 1)
        if key.expr == names.c:
            listed = s
        for query in varied:
            if kinds[key.values.dtype.kind] != kinds[query.values.dtype.kind] or key is query:
                continue
            at = _first_matches(work.places, key, query)
            if at is None or not _COVERED * len(at) < (at >= 0).sum():
                continue
            there = at >= 0
            items = next(x for x in found if x.expr == names.c).values
            picked = items[np.maximum(at, 0)][there]
            if _follows(work.goal.codes[there], picked):
                place = call("find", listed, query.expr)
                yield Guard(call("contains", query.expr, listed), (call("index", s, place),))


def _varies(places: Grid, x: Feature) -> bool:
    """Does a feature differ between places of one input?"""
    start = 0
    for inside in places.inside:
        count = inside.sum(-1)
        owner = np.repeat(np.arange(len(count)), count)
        values = x.values[start : start + len(owner)]
        if ((values[1:] != values[:-1]) & (owner[1:] == owner[:-1])).any():
            return True
        start += len(owner)
    return False


def _first_matches(places: Grid, key: Feature, query: Feature) -> np.ndarray | None:
    """For each place, the number of the first place of the same input whose key equals this
    place's query; -1 where there is none."""
    result = np.full(places.count, -1, np.int64)
    start = 0
    for inside in places.inside:
        count = int(inside.sum())
        number = np.full(inside.shape, -1, np.int64)
        number[inside] = np.arange(start, start + count)
        _, codes = np.unique(
            np.concatenate(
                [key.values[start : start + count], query.values[start : start + count]]
            ),
            return_inverse=True,
        )
        keys, queries = np.full(inside.shape, -1), np.full(inside.shape, -2)
        keys[inside], queries[inside] = codes.reshape(-1)[:count], codes.reshape(-1)[count:]
        same = queries[:, :, None] == keys[:, None, :]
        first = same.argmax(-1)
        chosen = np.take_along_axis(number, first, axis=1)
        result[start : start + count] = np.where(same.any(-1), chosen, -1)[inside]
        start += count
    return result


def _follows(codes: np.ndarray, values: np.ndarray) -> bool:
    """Are the codes a function of the values?"""
    kinds, numbers = np.unique(values, return_inverse=True)
    pairs = numbers.reshape(-1).astype(np.int64) * (int(codes.max(initial=0)) + 1) + codes
    return len(np.unique(pairs)) == len(kinds)


def _split(
    work: Work,
    guards: Iterator[Guard],
    names: Names,
    item: t.Type,
    found: list[Feature],
    depth: int,
) -> Iterator[Answer]:
    """Answers that hold at all places; at last the closest of those that hold at nearly all."""
    closest, most = None, 1 - _ERRORS
    for guard in guards:
        if time.monotonic() > work.problem.deadline:
            break
        flags = work.places.column(guard.test)
        if flags is None or flags.dtype != bool or flags.all() or not flags.any():
            continue
        near = _part(work, flags)
        own = _valued(near.places, guard.inside)
        here = _masked(found, flags)
        inside = _smallest(_inner_answers(near, own, here))
        if inside is None:
            continue
        rest = _part(work, ~flags)
        outside = _smallest(_outer_answers(rest, names, item, _masked(found, ~flags), depth))
        if outside is None:
            continue
        joined = _joined(guard.test, inside, outside)
        values = work.places.column(joined.expr, dict(joined.constants))
        if values is None:
            continue
        right = float((values == work.goal.values).mean())
        if right == 1:
            yield joined
        elif right > most:
            closest, most = replace(joined, how=CLOSEST), right
    if closest is not None and depth == _DEEPEST:
        yield closest


def _part(work: Work, flags: np.ndarray) -> Work:
    """The same question at the places that are marked."""
    goal = goal_of(work.goal.values[flags])
    rows = probes(goal, work.problem.rng())
    return Work(work.problem, goal, work.places.kept(flags), rows, work.numbers)


def _valued(places: Grid, exprs: tuple[Expr, ...]) -> list[Feature]:
    pairs = ((expr, places.column(expr)) for expr in exprs)
    return [feature(expr, values) for expr, values in pairs if values is not None]


def _masked(found: list[Feature], flags: np.ndarray) -> list[Feature]:
    """What is known of the marked places; each thing once."""
    result: list[Feature] = []
    known: set[bytes] = set()
    for x in sorted(found, key=lambda x: x.size):
        values = x.values[flags]
        key = values.dtype.kind.encode() + values.tobytes()
        if key not in known and len(values) and (values != values[0]).any():
            known.add(key)
            result.append(Feature(x.expr, values, x.size))
    return result


def _smallest(answers: Iterator[Answer]) -> Answer | None:
    return min(answers, key=answer_size, default=None)


def _inner_answers(work: Work, own: list[Feature], here: list[Feature]) -> Iterator[Answer]:
    """Answers where the guard holds, from what it allows and the plainest of what is known."""
    several = list(plain_answers(own, work.goal))
    if all(answer.constants for answer in several):
        several += expressed_answers(work, [*here[:3], *own], 3, _CAPACITY)
    yield from several
    if _short(several) or not own or not _determined(work, [*here[:1], *own]):
        return
    table = of_several([*here[:1], *own], work.goal, deadline=work.problem.deadline)
    if table is not None:
        yield table
    if len(work.goal.kinds) <= _FEW_KINDS:
        yield from decided_answers(work, [*here[:1], *own], [*own, *here[:1]])


def _short(several: list[Answer]) -> bool:
    return any(answer_size(answer) <= _SHORT for answer in several)


def _determined(work: Work, known: list[Feature]) -> bool:
    """Are the answers a function of some features taken together?"""
    joint = np.zeros(len(work.goal.codes), np.int64)
    for x in known:
        _, codes = np.unique(x.values, return_inverse=True)
        wide = int(codes.max(initial=0)) + 1
        joint = np.unique(joint * wide + codes.reshape(-1), return_inverse=True)[1].reshape(-1)
    return _follows(work.goal.codes, joint)


def _outer_answers(
    work: Work, names: Names, item: t.Type, known: list[Feature], depth: int
) -> Iterator[Answer]:
    """Answers where the guard does not hold: a feature, a vote, or another guard."""
    plain = list(plain_answers(known, work.goal))
    yield from plain
    if plain:
        return
    votes = list(voted(work, known))
    yield from votes
    if votes:
        return
    several = list(expressed_answers(work, ranked(known, work.goal, _LEAVES), 3, _CAPACITY))
    yield from several
    if not several and depth > 1:
        yield from itertools.islice(
            _split(work, borders(names, item), names, item, known, depth - 1), 1
        )


def voted(work: Work, known: list[Feature]) -> Iterator[Answer]:
    """The value whose counter is greatest, of ties the first in the order of the outputs: one
    number for each value, so that the answer is always where the number is greatest."""
    goal = work.goal
    labels = work.problem.target.claim.decode.labels or goal.kinds
    order = sorted(range(len(goal.kinds)), key=lambda k: list(labels).index(goal.kinds[k]))
    counters = [x for x in known if x.values.dtype.kind in "iu"][:_VOTERS]
    if not 2 <= len(order) <= 4 or not counters:
        return
    rows = work.problem.rng().permutation(len(goal.codes))[:_ROWS]
    codes = goal.codes[rows]
    values = np.stack([x.values[rows] for x in counters]).astype(np.int64)
    answers = []
    for chosen in _elected(values, codes, order):
        picked = [counters[k] for k in chosen]
        expr = _election([goal.kinds[k] for k in order], picked)
        answers.append((len(wrong_places(work.places, expr, goal)), expr))
    wrong, best = min(answers, key=lambda pair: pair[0], default=(len(goal.codes), None))
    if best is not None and wrong <= _ERRORS * len(goal.codes):
        yield Answer(best, how="votes")


def _elected(values: np.ndarray, codes: np.ndarray, order: list[int]) -> list[tuple[int, ...]]:
    """Choices of a row of values for each code (in `order`), such that each column's code has the
    greatest value, of ties the first, but for a few columns; those that lose the fewest first."""
    partial: list[tuple[int, tuple[int, ...]]] = [(0, ())]
    for place in range(len(order)):
        grown: list[tuple[int, tuple[int, ...]]] = []
        mine = codes == order[place]
        for before, chosen in partial:
            lost = np.full(len(values), before)
            for earlier, row in enumerate(chosen):
                theirs = codes == order[earlier]
                lost += (values[:, mine] <= values[row, mine]).sum(1)
                lost += (values[:, theirs] > values[row, theirs]).sum(1)
            near = np.flatnonzero(lost <= _ERRORS * len(codes))
            grown += [(int(lost[k]), (*chosen, int(k))) for k in near]
        partial = sorted(grown, key=lambda pair: pair[0])[:4000]
    return [chosen for _, chosen in partial[:12]]


def _election(kinds: list[object], counters: list[Feature]) -> Expr:
    """`a if x >= max(y, z) else b if y >= z else c`."""
    result: Expr = Literal(kinds[-1])  # type: ignore[arg-type]
    for k in range(len(kinds) - 2, -1, -1):
        rest = [x.expr for x in counters[k + 1 :]]
        most = rest[0] if len(rest) == 1 else Call("max", tuple(rest))
        test = Call("ge", (counters[k].expr, most))
        result = Call("ite", (test, Literal(kinds[k]), result))  # type: ignore[arg-type]
    return result


def _joined(test: Expr, inside: Answer, outside: Answer) -> Answer:
    """`inside if test else outside`, with tables of different names."""
    names = {name for name, _ in inside.constants}
    apart = {name: f"{name}_ELSEWHERE" for name, _ in outside.constants if name in names}
    expr = _with_tables(outside.expr, apart)
    constants = tuple((apart.get(name, name), table) for name, table in outside.constants)
    match inside.expr, expr:
        case _, Literal(bool() as value):
            both = ("or", negated(test)) if value else ("and", test)
            joined: Expr = Call(both[0], (both[1], inside.expr))
        case Literal(bool() as value), _:
            both = ("or", test) if value else ("and", negated(test))
            joined = Call(both[0], (both[1], expr))
        case _:
            joined = Call("ite", (test, inside.expr, expr))
    tried = inside.tried + outside.tried
    return Answer(joined, (*inside.constants, *constants), "guard", tried)


def _with_tables(expr: Expr, names: dict[str, str]) -> Expr:
    if not names or not (children(expr) or isinstance(expr, Constant)):
        return expr
    match expr:
        case Constant(name):
            return Constant(names.get(name, name))
        case Call(primitive, args, options):
            return Call(primitive, tuple(_with_tables(arg, names) for arg in args), options)
        case Comprehension(element, targets, source, condition):
            return Comprehension(
                _with_tables(element, names),
                targets,
                _with_tables(source, names),
                None if condition is None else _with_tables(condition, names),
            )
    return expr
