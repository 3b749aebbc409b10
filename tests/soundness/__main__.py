"""The long part of the adversarial suite: `python -m tests.soundness [--scale S] [PART ...]`.

Prints what was run, how often, with which seeds; ends with 1 if a verdict was false, a
counterexample did not replay, or two meanings of a program differed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from dsl.claim import Proved, Refuted
from dsl.errors import DistillError
from dsl.evaluate import run_within
from dsl.parser import equal_programs, parse
from dsl.printer import to_python
from dsl.typecheck import result_type
from tests.programs import Failed, Generator, batches_of, inputs_of, plain, python_function, seeded
from tests.programs import same as equal
from tests.soundness.claims import (
    Case,
    agrees,
    edge_cases,
    exploit,
    falsehood,
    inputs,
    mutants,
    network_of,
    random_claim,
    random_program,
    translated,
    trigger,
    truth,
    values_of,
    verdict_of,
)
from verify import enumeration
from verify.checker import Beyond, NoValue, function_of
from verify.methods import methods

_ROWS = 120


@dataclass
class Count:
    """What a part of the suite has done, and what it has found."""

    done: int = 0
    notes: dict[str, int] = field(default_factory=dict)
    false: list[str] = field(default_factory=list)

    def note(self, what: str) -> None:
        self.notes[what] = self.notes.get(what, 0) + 1


def evaluations(wanted: int, seed: int) -> Count:
    """Programs under NumPy, under the checker's own meaning, and run by real Python."""
    count, number = Count(), seed
    while count.done < wanted:
        choose = seeded(number)
        program = Generator(choose, sequences=number % 4 != 0, reals=number % 3 != 0).program()
        text = to_python(program)
        if not equal_programs(parse(text), program):
            count.false.append(f"seed {number}: the text is read as another program\n{text}")
        python, checker = python_function(program), function_of(text).run
        rows = [inputs_of(choose) for _ in range(_ROWS)]
        rows = [{name: row[name] for name in program.parameters} for row in rows]
        for batch, numbers in batches_of(rows):
            found = run_within(program, batch)
            for k, place in enumerate(numbers):
                row = rows[place]
                theirs = _value(python, row)
                third = _value(lambda checker=checker, **r: plain(checker(*r.values())), row)
                count.done += 1
                mine = Beyond if found.beyond[k] else Failed
                mine = plain(found.results[k]) if found.defined[k] else mine
                for name, value in (("NumPy", mine), ("checker", third)):
                    if value is Beyond:
                        count.note(f"{name} ends")
                    elif value is Failed and theirs is Failed:
                        count.note(f"{name} has no value")
                    elif value is Failed or theirs is Failed or not equal(value, theirs):
                        count.false.append(f"seed {number}, {name}: {value}, {theirs}\n{text}{row}")
        number += 1
    count.notes["programs"] = number - seed
    return count


def _value(run: Callable[..., object], row: dict[str, object]) -> object:
    try:
        return run(**row)
    except Beyond:
        return Beyond
    except (Failed, NoValue):
        return Failed


def mutated(wanted: int, seed: int) -> Count:
    """Mutants of proved programs: refuted where they differ, and never proved then.  Those whose
    types do not fit are no programs, and are refused with the place."""
    count, number = Count(), seed
    while count.done < wanted:
        program, domain = random_program(number)
        target = network_of(values_of(program, domain), domain)
        if not isinstance(verdict_of(enumeration.verify, Case("", target, program)), Proved):
            count.false.append(f"seed {number}: a true claim is not proved")
        rows = [(row, truth(target, row)) for row in inputs(domain)]
        for mutant in mutants(program, number, 20):
            case = Case(f"mutant of {number}", target, mutant)
            try:
                result_type(mutant, domain)
            except DistillError:
                count.note("refused by their types")
                continue
            verdict = verdict_of(enumeration.verify, case)
            run = python_function(mutant)
            differs = not all(agrees(case, row, run, theirs) for row, theirs in rows)
            count.done += 1
            count.note("differ" if differs else "equal")
            kind = Refuted if differs else Proved
            if not isinstance(verdict, kind) or (differs and falsehood(case, verdict)):
                count.false.append(f"seed {number}: {to_python(mutant)} {verdict}")
        number += 1
    count.notes["programs"] = number - seed
    return count


def claims(cases: Iterator[Case], wanted: int) -> Count:
    """Verdicts of every method on claims; none may be false, none may contradict another."""
    count = Count()
    for case in cases:
        if count.done >= wanted:
            break
        verdicts = [verdict_of(method, case) for _, method in methods()]
        count.done += 1
        kinds = {type(verdict) for verdict in verdicts if verdict is not None}
        for kind in kinds:
            count.note(kind.__name__.upper())
        if {Proved, Refuted} <= kinds:
            count.false.append(f"{case.name}: two methods contradict each other")
        count.false += [wrong for verdict in verdicts if (wrong := falsehood(case, verdict))]
    return count


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soundness", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0, help="1 is the full suite")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("parts", nargs="*", help="only these parts, by the names in the report")
    options = parser.parse_args()
    scale, seed = options.scale, options.seed
    np.seterr(all="ignore")
    parts: list[tuple[str, Callable[[], Count]]] = [
        ("evaluations", lambda: evaluations(int(1_000_000 * scale), seed)),
        ("mutants", lambda: mutated(int(10_000 * scale), seed)),
        ("claims", lambda: claims(map(random_claim, range(seed, 10**9)), int(1000 * scale))),
        ("rounding", lambda: claims(map(exploit, range(seed, 10**9)), int(500 * scale) + 6)),
        ("translated", lambda: claims(map(translated, range(seed, 10**9)), int(300 * scale) + 4)),
        ("triggers", lambda: claims(map(trigger, range(seed, 10**9)), int(20 * scale) + 1)),
        ("edges", lambda: claims(iter(edge_cases()), 1000)),
    ]
    failed = 0
    for name, part in parts:
        if options.parts and name not in options.parts:
            continue
        started = time.process_time()
        count = part()
        notes = ", ".join(f"{what} {number}" for what, number in sorted(count.notes.items()))
        spent = time.process_time() - started
        print(
            f"{name:<12} {count.done:>9}  false {len(count.false):>3}  {spent:7.1f} s of CPU  "
            f"seeds from {seed}  ({notes})",
            flush=True,
        )
        failed += len(count.false)
        for text in count.false[:5]:
            print(f"  {text}")
    print("nothing false" if not failed else f"{failed} false")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
