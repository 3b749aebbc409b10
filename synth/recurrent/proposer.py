"""Programs for recurrent networks: loops that keep a few integers in mind.

Where the network can be learned as a finite machine, that machine takes its place in the search:
it answers at once, and shows every state.  Its table is written where nothing shorter is found.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Assign, Call, Comprehension, Expr, Literal, Loop, Program, size
from synth.problem import Problem
from synth.recurrent.automata import (
    Automaton,
    learned,
    numbers_of,
    roughly_learned,
    taught,
)
from synth.recurrent.columns import Column
from synth.recurrent.emission import to_program
from synth.recurrent.search import candidates
from synth.recurrent.tabulation import tabulated
from synth.recurrent.teaching import teacher_of, words_of
from synth.recurrent.traces import Teacher, Traces, observed, sampled_words

_WORDS = 1500
_FEW = 600
"""So many words are enough beside a machine, all of whose moves are seen."""
_LEARNING = 0.25
"""Of the time, for learning a machine."""
_ROUGHLY = 0.4
"""Of the time that is left, for the machine of short words, which is wrong on some long ones."""
_SEARCH = 0.7
"""Of the time that is left, for programs that are shorter than the machine's table."""


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Machines for targets that read sequences from left to right."""
    rng = problem.rng()
    teacher = teacher_of(problem.target, rng)
    if teacher is None:
        return
    until = time.monotonic() + _LEARNING * problem.time_left
    found = learned(teacher, rng, until, _counterexamples(problem, teacher))
    if found is not None:
        yield from _beside(problem, teacher, found, rng)
        return
    rough = roughly_learned(teacher, rng, until)
    if rough is not None:
        middle = time.monotonic() + _ROUGHLY * problem.time_left
        yield from _beside(replace(problem, deadline=middle), teacher, rough, rng)
    traces = _traces(problem, teacher, rng)
    inputs = tuple(problem.target.domain.types.items())
    for candidate in candidates(teacher, traces, deadline=problem.deadline, seed=problem.seed):
        program = _labelled(to_program(candidate.machine, teacher, inputs, "program"), teacher)
        yield Hypothesis(program, "recurrent", candidate.tried)


def _beside(
    problem: Problem, teacher: Teacher, found: Automaton, rng: np.random.Generator
) -> Iterator[Hypothesis]:
    """Programs for the machine that was learned, and its table where that is shorter."""
    pupil = taught(found, teacher)
    inputs = tuple(problem.target.domain.types.items())
    evidence = {"states": len(found), "complete": found.complete, "asked": found.asked}
    traces = observed(pupil, _covering_words(pupil, found, rng))
    assert traces.hidden is not None
    own = Column(traces.hidden[:, :, 0], "state", 2.0 + 0.25 * len(found))
    until = time.monotonic() + _SEARCH * problem.time_left
    table = tabulated(found, teacher, inputs, "program")
    tried, best = 0, np.inf
    bounded = pupil.longest is None
    for candidate in candidates(
        pupil, traces, deadline=until, seed=problem.seed, own=(own,), bounded=bounded
    ):
        program = _labelled(to_program(candidate.machine, teacher, inputs, "program"), teacher)
        tried, best = candidate.tried, min(best, size(program))
        yield Hypothesis(program, "recurrent", tried, evidence)
    if table is not None and size(table) < best:
        yield Hypothesis(_labelled(table, teacher), "recurrent", tried, evidence)


def _covering_words(teacher: Teacher, found: Automaton, rng: np.random.Generator) -> np.ndarray:
    """Random words of one length, and words through every move of a machine."""
    deepest = max(len(word) for word in found.access) + 1
    length = teacher.longest or max(16, 2 * deepest)
    words = sampled_words(teacher, _FEW, length, rng)
    if len(words) < _FEW:
        return words
    moves = [(*word, symbol) for word in found.access for symbol in range(found.moves.shape[1])]
    moves = [move for move in moves if len(move) <= length]
    rows = rng.integers(0, found.moves.shape[1], (len(moves), length))
    for row, move in zip(rows, moves, strict=True):
        row[: len(move)] = move
    return np.concatenate([teacher.symbols()[rows], words])


def _counterexamples(problem: Problem, teacher: Teacher) -> list[np.ndarray]:
    """The words that programs were wrong on, as symbol numbers."""
    return [
        numbers_of(teacher, words_of(teacher.channels, observations.inputs))
        for observations in problem.observations
        if not problem.complete and len(observations) <= 4
    ]


def _traces(problem: Problem, teacher: Teacher, rng: np.random.Generator) -> Traces:
    """Sampled words and all counterexamples, filled up at random to one length."""
    length = teacher.longest or max(teacher.shortest, 16)
    count = max(_WORDS, min(4096, teacher.alphabet ** min(length, 12)))
    words = [sampled_words(teacher, count if count <= 4096 else _WORDS, length, rng)]
    for observations in problem.observations:
        if len(observations) <= 4:
            found = words_of(teacher.channels, observations.inputs)
            if found.shape[1] < length:
                fill = np.stack(
                    [
                        rng.integers(c.low, c.high + 1, (len(found), length - found.shape[1]))
                        for c in teacher.channels
                    ],
                    axis=2,
                )
                found = np.concatenate([found, fill], axis=1)
            words.insert(0, found[:, :length])
    return observed(teacher, np.concatenate(words))


def _labelled(program: Program, teacher: Teacher) -> Program:
    """The program with its numbers turned into the labels that they stand for."""
    labels = teacher.labels
    if labels is None or labels == (False, True):
        return program

    def named(expr: Expr) -> Expr:
        return Call("index", (Literal(labels), expr))

    if not teacher.every_step:
        return replace(program, result=named(program.result))
    match program.result:
        case Comprehension(element, targets, source, condition):
            result = Comprehension(named(element), targets, source, condition)
            return replace(program, result=result)
    body = []
    for statement in program.body:
        if isinstance(statement, Loop):
            steps = tuple(
                step if isinstance(step, Assign) else replace(step, value=named(step.value))
                for step in statement.body
            )
            statement = replace(statement, body=steps)
        body.append(statement)
    return replace(program, body=tuple(body))
