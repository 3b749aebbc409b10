"""The search for a program of a recurrent network: columns, closed sets, maps, in that order."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from synth.recurrent.closure import closed_sets, setting
from synth.recurrent.columns import Column, clock, distinct, lags, probes, recurrences
from synth.recurrent.machine import Machine, best_machine
from synth.recurrent.traces import Teacher, Traces

_SHARE = 0.5
"""Of the time, for making columns."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A machine, the columns that it keeps, and the expressions looked at so far."""

    machine: Machine
    columns: tuple[Column, ...]
    tried: int


def moduli_of(teacher: Teacher, traces: Traces) -> tuple[int, ...]:
    """Numbers that may be divided by: small ones, and the sizes of the alphabets."""
    numbers = {2, 3, 4, 5, 6, 7}
    for channel in teacher.channels:
        if channel.count <= 32:
            numbers.add(channel.high + 1)
    answers = np.unique(traces.answers)
    if 2 <= len(answers) <= 32 and answers[0] >= 0:
        numbers.add(int(answers[-1]) + 1)
    return tuple(sorted(n for n in numbers if n >= 2))


def columns_of(
    teacher: Teacher,
    traces: Traces,
    moduli: tuple[int, ...],
    deadline: float,
    own: tuple[Column, ...] = (),
) -> list[Column]:
    """The columns that can be made until the deadline, and those given; such that are constant or
    the same as a cheaper one are left out."""
    depth = 4 if teacher.alphabet <= 4 else 3
    source = itertools.chain(
        lags(teacher, traces),
        clock(traces),
        recurrences(teacher, traces, moduli),
        probes(teacher, traces, depth),
    )
    made = itertools.takewhile(lambda _: time.monotonic() < deadline, source)
    return distinct(itertools.chain(own, made))


def _grows(column: Column) -> bool:
    """Are there values at the ends of words that there are nowhere before?"""
    cut = 3 * column.values.shape[1] // 4
    return bool(len(np.setdiff1d(column.values[:, cut:], column.values[:, :cut])))


def candidates(
    teacher: Teacher,
    traces: Traces,
    *,
    deadline: float,
    seed: int = 0,
    enough: int = 12,
    own: tuple[Column, ...] = (),
    bounded: bool = False,
) -> Iterator[Candidate]:
    """Machines that agree with all traces, each cheaper than those before.  `own` are columns that
    are known beforehand; `bounded` leaves out what grows with the word, so that the machine is
    finite whatever the length."""
    moduli = moduli_of(teacher, traces)
    started = time.monotonic()
    columns = columns_of(teacher, traces, moduli, started + _SHARE * (deadline - started), own)
    if bounded:
        columns = [column for column in columns if not _grows(column)]
    if not columns:
        return
    data = setting(columns, traces.words, traces.answers, final=not teacher.every_step, limit=600)
    tried, best = len(columns), np.inf
    for found, chosen in enumerate(closed_sets(data, most=5, deadline=deadline), 1):
        kept = tuple(columns[i] for i in chosen)
        machine, count = best_machine(teacher, traces, kept, moduli, deadline=deadline, seed=seed)
        tried += count
        if machine is not None and machine.cost < best:
            best = machine.cost
            yield Candidate(machine, kept, tried)
        if found >= enough or time.monotonic() > deadline:
            break
