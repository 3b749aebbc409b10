"""Our enumerator next to public peers on the same problems, one core each.

`python -m benchmarks.enumerators [SECONDS]`: for each problem, candidates per second and seconds to
an exact program for `synth.enumeration`, gplearn (genetic programming over the same operators) and
cvc5 (SyGuS, the same grammar and the same examples).  Peers that are not installed are named as
such (`pip install gplearn cvc5`).
"""

from __future__ import annotations

import concurrent.futures
import itertools
import multiprocessing
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from dsl.printer import expression
from dsl.program import Literal, Variable
from synth.enumeration import INTEGER, Bank, Leaf

NAMES = ("a", "b", "c")
LITERALS = (0, 1, 2, 3, 7)


@dataclass(frozen=True, slots=True)
class Problem:
    """A function of three integers from 0 to 6."""

    text: str
    rule: Callable[[int, int, int], int]


PROBLEMS = (
    Problem("a + b * c", lambda a, b, c: a + b * c),
    Problem("max(a, b) - min(b, c)", lambda a, b, c: max(a, b) - min(b, c)),
    Problem("abs(a - b) + abs(b - c)", lambda a, b, c: abs(a - b) + abs(b - c)),
    Problem("(a + b) * (b + c) - a * c", lambda a, b, c: (a + b) * (b + c) - a * c),
    Problem("max(a * b, b * c) + abs(a - c)", lambda a, b, c: max(a * b, b * c) + abs(a - c)),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one system did: seconds, candidates looked at (None if it does not say), its answer."""

    seconds: float
    candidates: int | None
    answer: str | None


def table(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    """Inputs (343, 3) and values (343,)."""
    rows = np.array(list(itertools.product(range(7), repeat=3)))
    return rows, np.array([problem.rule(*row) for row in rows.tolist()])


def ours(problem: Problem, seconds: float) -> Outcome:
    rows, values = table(problem)
    leaves = [Leaf(Variable(name), rows[:, i]) for i, name in enumerate(NAMES)]
    leaves += [Leaf(Literal(n), np.full(len(rows), n)) for n in LITERALS]
    arithmetic = tuple(o for o in INTEGER if o.name not in ("mod", "floordiv"))
    started = time.perf_counter()
    bank = Bank(leaves, operators=arithmetic, goals=(values,), capacity=200_000)
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and bank.cost < 20:
        for found in bank.grow(bank.cost + 1, deadline):
            spent = time.perf_counter() - started
            return Outcome(spent, found.tried, expression(found.expr))
    return Outcome(time.perf_counter() - started, bank.tried, None)


def gplearn(problem: Problem, seconds: float) -> Outcome | None:
    try:
        from gplearn.genetic import SymbolicRegressor
    except ImportError:
        return None
    rows, values = table(problem)
    population, tried, model = 2000, 0, None
    started = time.perf_counter()
    # Generations one by one, so that the time limit is kept.
    model = SymbolicRegressor(
        population_size=population,
        generations=1,
        function_set=("add", "sub", "mul", "max", "min", "abs"),
        const_range=(0, 7),
        stopping_criteria=1e-9,
        random_state=0,
        n_jobs=1,
        warm_start=True,
    )
    for generation in range(1, 10_000):
        model.set_params(generations=generation)
        model.fit(rows.astype(float), values.astype(float))
        tried += population
        spent = time.perf_counter() - started
        if np.abs(model.predict(rows.astype(float)) - values).max() < 1e-6:
            return Outcome(spent, tried, str(model._program)[:60])
        if spent > seconds:
            return Outcome(spent, tried, None)
    return Outcome(time.perf_counter() - started, tried, None)


def cvc5(problem: Problem, seconds: float) -> Outcome | None:
    try:
        import cvc5 as solver_module
        from cvc5 import Kind
    except ImportError:
        return None
    solver = solver_module.Solver()
    for option, value in (("sygus", "true"), ("incremental", "false")):
        solver.setOption(option, value)
    solver.setOption("tlimit-per", str(int(1000 * seconds)))
    solver.setLogic("LIA" if "*" not in problem.text else "NIA")
    integer = solver.getIntegerSort()
    variables = [solver.mkVar(integer, name) for name in NAMES]
    start, truth = solver.mkVar(integer, "E"), solver.mkVar(solver.getBooleanSort(), "B")
    term = solver.mkTerm
    grammar = solver.mkGrammar(variables, [start, truth])
    compare = term(Kind.LEQ, start, start)
    rules = [*variables, *(solver.mkInteger(n) for n in LITERALS)]
    rules += [term(kind, start, start) for kind in (Kind.ADD, Kind.SUB, Kind.MULT)]
    rules += [term(Kind.ABS, start), term(Kind.ITE, truth, start, start)]
    grammar.addRules(start, rules)
    grammar.addRules(truth, [compare])
    function = solver.synthFun("f", variables, integer, grammar)
    rows, values = table(problem)
    for row, value in zip(rows.tolist(), values.tolist()):
        call = term(Kind.APPLY_UF, function, *(solver.mkInteger(n) for n in row))
        solver.addSygusConstraint(term(Kind.EQUAL, call, solver.mkInteger(value)))
    started = time.perf_counter()
    result = solver.checkSynth()
    spent = time.perf_counter() - started
    if not result.hasSolution():
        return Outcome(spent, None, None)
    return Outcome(spent, None, str(solver.getSynthSolution(function))[:60])


def limited(
    system: Callable[[Problem, float], Outcome | None], number: int, seconds: float
) -> Outcome | None:
    """The outcome of a system in a process of its own, ended a little after its time: not every
    solver keeps the limit that it is given."""
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
        work = pool.submit(_one, system, number, seconds)
        try:
            return work.result(seconds + 15)
        except concurrent.futures.TimeoutError:
            for process in multiprocessing.active_children():
                process.kill()
            return Outcome(seconds, None, None)


def _one(
    system: Callable[[Problem, float], Outcome | None], number: int, seconds: float
) -> Outcome | None:
    return system(PROBLEMS[number], seconds)


def _cell(outcome: Outcome | None) -> str:
    if outcome is None:
        return f"{'not installed':>27}"
    rate = "" if outcome.candidates is None else f"{outcome.candidates / outcome.seconds:,.0f}/s"
    time_text = f"{outcome.seconds:.2f} s" if outcome.answer else f"none in {outcome.seconds:.0f} s"
    return f"{time_text:>14} {rate:>12}"


def main(arguments: list[str]) -> int:
    seconds = float(arguments[0]) if arguments else 60.0
    print(f"{'problem':<32} {'distill':>27} {'gplearn':>27} {'cvc5':>27}")
    for number, problem in enumerate(PROBLEMS):
        cells = (limited(system, number, seconds) for system in (ours, gplearn, cvc5))
        print(f"{problem.text:<32} " + " ".join(map(_cell, cells)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
