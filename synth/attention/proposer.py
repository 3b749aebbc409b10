"""Programs for transformers over sequences: select, aggregate, decide, at every place.

What the answers are places of (positions, prefixes, strides, the input as a whole) follows from
their number.  Features come in tiers: those of a place; then aggregates of what holds at other
places.  After each tier the solver is asked for a program; what disagrees with anything observed
joins the sample (CEGIS).
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Call, Literal, Program
from synth.attention import features as f
from synth.attention import machines
from synth.attention.aggregates import aggregates, features_of_places
from synth.attention.departures import TOLERATED, with_departures
from synth.attention.grid import Grid, answers, grid, sampled, sequence_name
from synth.attention.guards import guarded_answers
from synth.attention.lists import whole_lists
from synth.attention.mirrors import CLOSEST, mirrored
from synth.attention.settings import Setting, settings, spelled
from synth.attention.solver import (
    Answer,
    Feature,
    Goal,
    answer_size,
    feature,
    goal_of,
    of_several,
    plain_answers,
    probes,
    ranked,
)
from synth.attention.work import (
    Work,
    combined_answers,
    decided_answers,
    expressed_answers,
)
from synth.expressions import disagreements
from synth.leaves import literals
from synth.problem import Problem

_DRAWS, _FEW_ENTRIES, _ENTRIES = 3, 300, 4000
_FIRST = 0.1
_REACH = 16
_ROUNDS = 8
_DEEP = 7
_NEAREST = 12
_SMALL, _LARGE, _LONG = 14, 26, 60


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Programs over one sequence, and lists made of the inputs as a whole."""
    yield from whole_lists(problem)
    yield from machines.propose(problem)
    domain = problem.target.domain
    name = sequence_name(domain.types)
    if name is None or len(domain.names) != 1:
        return
    extra: tuple[tuple[int, int], ...] = ()
    record = _Record(0, int(TOLERATED * sum(len(o) for o in problem.observations)) + 1)
    for number in range(_DRAWS + _ROUNDS):
        # A few inputs first: they take less time, and hardly hold one on which the network errs.
        few = number < _DRAWS
        drawn = replace(problem, seed=problem.seed + number) if few else problem
        sample = sampled(drawn, _FEW_ENTRIES if few else _ENTRIES, () if few else extra, _REACH)
        setting = next(settings(sample, domain.types, name), None)
        if setting is None:
            return
        until = _until(problem, _FIRST if few else 1.0)
        wrong = yield from _attempt(problem, setting, until, record)
        if wrong is None or not (few or wrong) or problem.time_left <= 0:
            return
        extra = tuple(dict.fromkeys((*extra, *wrong)))


@dataclass
class _Record:
    """How many candidates were tried, on how few inputs the best of them is wrong, and of how many
    laws it may still be asked where the network leaves them."""

    tried: int
    fewest: int
    laws: int = 2


def _attempt(
    problem: Problem, setting: Setting, until: float, record: _Record
) -> Generator[Hypothesis, None, list[tuple[int, int]] | None]:
    """Programs that hold on a sample; returns observed rows on which they are wrong, or None where
    one of them is right on all that was observed."""
    inputs = tuple((n, None) for n in problem.target.domain.names)
    wrong: list[tuple[int, int]] = []
    smallest = 10**6
    exact = False
    for answer in search(replace(problem, deadline=until), setting):
        record.tried += answer.tried
        if answer_size(answer) >= smallest:
            continue
        program = Program("program", inputs, (), setting.result(answer.expr), answer.constants)
        evidence = {"attention": {"found as": answer.how, "view": spelled(setting)}}
        hypothesis = Hypothesis(program, "attention", record.tried, evidence)
        yield hypothesis
        failed = disagreements(problem, program, 48)
        if not failed:
            exact, smallest = True, answer_size(answer)
            if smallest <= _SMALL:
                return None
            continue
        yield from _departing(problem, hypothesis, record)
        if answer.how == CLOSEST:
            continue
        wrong += failed
        if not exact:
            return wrong
    return None if exact else wrong


def _departing(problem: Problem, law: Hypothesis, record: _Record) -> Iterator[Hypothesis]:
    """A law that comes closer than those before, with a table of where the network leaves it."""
    wrong = len(disagreements(problem, law.program, record.fewest))
    if wrong >= record.fewest or not record.laws:
        return
    record.fewest, record.laws = wrong, record.laws - 1
    departing = with_departures(problem, law)
    if departing is not None:
        yield departing


def _until(problem: Problem, share: float) -> float:
    """When a share of the time that is left is over."""
    return problem.deadline - (1 - share) * max(0.0, problem.time_left)


def search(problem: Problem, setting: Setting) -> Iterator[Answer]:
    """Answers that hold on the whole sample, tier by tier."""
    values = answers(setting.sample, setting.kinds, setting.view)
    if values is None or not len(values):
        return
    places = grid(setting.sample, setting.kinds, setting.view)
    if places.count != len(values):
        return
    if values.dtype.kind == "f" and problem.target.claim.decode.rule == "value":
        yield from _fractions(problem, setting, places, values)
        return
    goal = goal_of(values)
    if len(goal.kinds) > 400:
        return
    known: set[bytes] = set()
    first = features_of_places(setting, places, known, problem.deadline)
    rows = probes(goal, problem.rng())
    numbers = tuple(dict.fromkeys((0, 1, 2, 3, *literals(problem, goal.values)[:8])))
    yield from _closest(first, goal)
    if setting.view.whole and setting.outer is None:
        yield from mirrored(problem, setting.names)
    work = Work(problem, goal, places, rows, numbers)
    best, enough = 10**6, _LARGE
    for stage in _stages(work, setting, first, known):
        for answer in stage:
            best = 0 if _is_table_of_items(answer, setting) else min(best, answer_size(answer))
            enough = _LONG if answer.how == "guard" else enough
            yield replace(answer, tried=answer.tried + places.evaluated)
        if best <= enough or problem.time_left <= 0:
            return


def _closest(features: list[Feature], goal: Goal) -> Iterator[Answer]:
    """The features that come closest to the answers, ever closer: not right, but on the front."""
    best = float(np.bincount(goal.codes).max()) / len(goal.codes)
    for x in sorted(features, key=lambda x: x.size):
        if x.values.dtype.kind != goal.values.dtype.kind:
            continue
        share = float((x.values == goal.values).mean())
        if best + 0.02 < share < 1:
            best = share
            yield Answer(x.expr, how=CLOSEST)


def _stages(
    work: Work, setting: Setting, first: list[Feature], known: set[bytes]
) -> Iterator[Iterator[Answer]]:
    """Ways to an answer, the cheapest first; each is tried only if those before gave nothing
    short."""
    goal, deadline = work.goal, work.problem.deadline
    yield plain_answers(first, goal)
    telling = ranked(first, goal, 30)
    yield expressed_answers(work, telling[:27], 3, 4000)
    if not setting.view.whole:
        yield guarded_answers(work, setting.names, setting.item, first)
    second = aggregates(work, setting, first, known)
    both = first + second
    yield plain_answers(second, goal)
    most_telling = ranked(both, goal, 30)
    yield expressed_answers(work, most_telling[:27], 3, 4000)
    if not setting.view.whole:
        yield guarded_answers(work, setting.names, setting.item, both)
    yield combined_answers(work, most_telling[:19])
    yield _tabulated(of_several(most_telling[:27], goal, deadline=deadline))
    yield decided_answers(work, telling, first)
    yield decided_answers(work, most_telling, both)
    yield expressed_answers(work, most_telling[:15], _DEEP, 12_000)


def _tabulated(answer: Answer | None) -> Iterator[Answer]:
    if answer is not None:
        yield answer


def _is_table_of_items(answer: Answer, setting: Setting) -> bool:
    match answer.expr:
        case Call("index" | "get", (_, key, *_)):
            return key == setting.names.c
    return False


def _likely(found: Sequence[Feature], wanted: np.ndarray) -> list[Feature]:
    """The shortest features, after the numbers that go along most closely with what is wanted."""
    numbers = [x for x in found if x.values.dtype.kind in "iu" and np.ptp(x.values) > 0]
    closeness = [abs(float(np.corrcoef(x.values, wanted)[0, 1])) for x in numbers]
    order = sorted(range(len(numbers)), key=lambda i: (-round(closeness[i], 2), numbers[i].size))
    near = [numbers[i] for i in order[:_NEAREST]] if np.ptp(wanted) > 0 else []
    return near + [x for x in found if all(x is not other for other in near)][: 30 - len(near)]


def _fractions(
    problem: Problem, setting: Setting, places: Grid, values: np.ndarray
) -> Iterator[Answer]:
    """Real answers as quotients: a numerator by enumeration for each feature as denominator."""
    tolerance = max(problem.target.claim.decode.tolerance, 1e-7)
    found = features_of_places(setting, places, set())
    one = feature(Literal(1), np.ones(len(values), np.int64))
    counts = [x for x in found if x.values.dtype.kind in "iu" and (x.values > 0).all()]
    sums = []
    for k in (1, 2):
        for x in found:
            if x.values.dtype.kind in "iu" and (x.values + k > 0).all() and x.size <= 3:
                sums.append(feature(f.plus(x.expr, k), x.values + k))
    for denominator in (one, *counts, *sums):
        scaled = values * denominator.values
        whole = np.round(scaled)
        if np.abs(scaled - whole).max() > 4 * tolerance * denominator.values.max():
            continue
        goal = goal_of(whole.astype(np.int64))
        if len(goal.kinds) > 200:
            continue
        work = Work(problem, goal, places, probes(goal, problem.rng()), (0, 1, 2, 3))
        for answer in (
            *plain_answers(found, goal),
            *expressed_answers(work, _likely(found, whole), 5, 8000),
        ):
            expr = answer.expr
            if denominator is not one:
                expr = Call("truediv", (expr, denominator.expr))
            yield replace(answer, expr=expr, how="quotient")
            break
