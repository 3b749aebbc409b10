"""Programs for recurrent networks: loops that keep a few integers in mind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Assign, Call, Comprehension, Expr, Literal, Loop, Program
from synth.problem import Problem
from synth.recurrent.emission import to_program
from synth.recurrent.search import candidates
from synth.recurrent.teaching import teacher_of, words_of
from synth.recurrent.traces import Teacher, Traces, observed, sampled_words

_WORDS = 1500


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Machines for targets that read sequences from left to right."""
    rng = problem.rng()
    target = problem.target
    teacher = teacher_of(target, rng)
    if teacher is None:
        return
    traces = _traces(problem, teacher, rng)
    inputs = tuple(target.domain.types.items())
    for candidate in candidates(teacher, traces, deadline=problem.deadline, seed=problem.seed):
        program = _labelled(to_program(candidate.machine, teacher, inputs, "program"), teacher)
        yield Hypothesis(program, "recurrent", candidate.tried)


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
