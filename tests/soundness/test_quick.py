"""The quick part of the adversarial suite; `make soundness` runs the long one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dsl.claim import Proved, Refuted, Tested, Unknown, Verdict
from dsl.errors import DistillError
from dsl.printer import to_python
from dsl.typecheck import result_type
from tests.programs import python_function
from tests.soundness.claims import (
    Case,
    edge_cases,
    exploit,
    falsehood,
    inputs,
    is_right,
    mutants,
    network_of,
    random_claim,
    random_program,
    translated,
    trigger,
    values_of,
    verdict_of,
)
from verify import enumeration, sampling
from verify.methods import methods


def bank() -> list[Case]:
    """Claims of every kind, true and false ones."""
    return [
        *edge_cases(),
        *(random_claim(seed) for seed in range(16)),
        *(exploit(seed) for seed in range(24)),
        *(translated(seed) for seed in range(12)),
        company(),
        last(),
        trigger(0),
    ]


def last() -> Case:
    """A claim that is false on the very last input only."""
    program, domain = random_program(4)
    values = values_of(program, domain)
    values[-1] = next(value for value in values if value != values[-1])
    return Case("last", network_of(values, domain), program)


def company() -> Case:
    """A network whose near-ties fall one way in a block and the other way alone."""
    case = random_claim(0)
    runtime = case.target.runtime

    def moody(batch: np.ndarray) -> np.ndarray:
        raw = runtime(batch).astype(np.float32)
        raw[:, 0] += np.float32(3.0) - (np.float32(1e-6) if len(batch) > 4 else np.float32(-1e-6))
        raw[:, 1] += np.where(raw[:, 1] > 2, 0, np.float32(3.0))
        return raw

    target = replace(case.target, runtime=moody)
    from tests.soundness.claims import tabled

    return Case("company", target, tabled(target))


def falsehoods(verify: Callable[..., Verdict | None], cases: list[Case]) -> list[str]:
    return [wrong for case in cases if (wrong := falsehood(case, verdict_of(verify, case)))]


def sampled(program: Any, target: Any, **options: Any) -> Verdict | None:
    return sampling.verify(program, target, samples=3000, **options)


def test_no_method_gives_a_false_verdict() -> None:
    cases = bank()
    for name, method in methods():
        assert falsehoods(method, cases) == [], name
    assert falsehoods(sampled, cases) == []


def test_no_two_methods_contradict_each_other() -> None:
    for case in bank():
        kinds = {type(verdict_of(method, case)) for _, method in methods()}
        kinds.add(type(verdict_of(sampled, case)))
        assert not {Proved, Refuted} <= kinds, case.name


def test_sampling_never_proves() -> None:
    for case in bank()[:20]:
        assert not isinstance(verdict_of(sampled, case), Proved)


@pytest.mark.parametrize("seed", range(10))
def test_mutants_of_proved_programs_are_refuted_where_they_differ(seed: int) -> None:
    program, domain = random_program(seed)
    values = values_of(program, domain)
    target = network_of(values, domain)
    assert isinstance(verdict_of(enumeration.verify, Case("", target, program)), Proved)
    changed = mutants(program, seed, 20)
    assert changed
    for mutant in changed:
        case = Case(str(seed), target, mutant)
        if "** -" in to_python(mutant):
            with pytest.raises(DistillError, match="is no integer"):
                result_type(mutant, domain)
            continue
        verdict = verdict_of(enumeration.verify, case)
        run = python_function(mutant)
        differs = not all(is_right(case, row, run) for row in inputs(domain))
        assert isinstance(verdict, Refuted if differs else Proved), mutant
        assert falsehood(case, verdict) == ""


@pytest.mark.parametrize("seed", range(3))
def test_a_trigger_of_one_in_a_million_is_found(seed: int) -> None:
    case = trigger(seed)
    verdict = verdict_of(enumeration.verify, case)
    assert isinstance(verdict, Refuted)
    assert falsehood(case, verdict) == ""
    assert isinstance(verdict_of(sampled, case), (Tested, Refuted))


def test_an_empty_domain_proves_nothing() -> None:
    for case in edge_cases():
        if not list(inputs(case.target.domain)):
            assert isinstance(verdict_of(enumeration.verify, case), Unknown)


def test_values_that_are_not_numbers_prove_nothing() -> None:
    found = [exploit(seed) for seed in range(4, 100, 6)]
    verdicts = [verdict_of(enumeration.verify, case) for case in found]
    unknown = [v for v in verdicts if isinstance(v, Unknown)]
    assert unknown and all("finite" in v.reason for v in unknown)


def test_a_decision_that_depends_on_the_company_is_no_proof() -> None:
    verdict = verdict_of(enumeration.verify, company())
    assert isinstance(verdict, Unknown)
    assert "run alone" in verdict.reason


# Broken on purpose: each must be caught by the bank above.


def last_input_forgotten(*args: Any, **kwargs: Any) -> np.ndarray:
    same = ORIGINAL_AGREEING(*args, **kwargs)
    same[-1] = True
    return same


def ties_to_anyone(*args: Any, **kwargs: Any) -> np.ndarray:
    same = ORIGINAL_AGREEING(*args, **kwargs)
    return same if same.mean() < 0.95 else np.ones(len(same), bool)


def nothing_again(*args: Any, **kwargs: Any) -> list[int]:
    return []


ORIGINAL_AGREEING = enumeration.agreeing

BROKEN: list[tuple[str, str, Any]] = [
    ("the last input of a block is forgotten", "agreeing", last_input_forgotten),
    ("a few disagreements count as agreement", "agreeing", ties_to_anyone),
    ("near-ties are not run again", "_unsettled", nothing_again),
    ("a counterexample is reported without a replay", "smallest", "unreplayed"),
]


def unreplayed(program: Any, target: Any, found: list[Any]) -> Any:
    from dsl.claim import Counterexample

    first = dict.fromkeys(target.domain.names, 0)
    return Counterexample(first, 0, 1)


@pytest.mark.parametrize(("what", "attribute", "variant"), BROKEN, ids=[b[0] for b in BROKEN])
def test_a_broken_enumeration_is_caught(
    what: str, attribute: str, variant: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(enumeration, attribute, unreplayed if variant == "unreplayed" else variant)
    assert falsehoods(enumeration.verify, bank()) != [], what


def test_sampling_that_proves_is_caught() -> None:
    def eager(program: Any, target: Any, **options: Any) -> Verdict | None:
        verdict = sampling.verify(program, target, samples=40, **options)
        return Proved("sampling", "", "") if isinstance(verdict, Tested) else verdict

    assert falsehoods(eager, bank()) != []


def test_the_bank_is_the_same_in_every_run() -> None:
    def digest() -> str:
        text = "".join(case.name + case.program.digest for case in bank()[:60])
        return hashlib.sha256(text.encode()).hexdigest()

    assert digest() == digest()
