"""The time that is asked for is kept, by what asks the clock and by what never does."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from distill.durations import Budget, tolerance
from distill.pipeline import Result, compile_target
from dsl.claim import Claim, Decode, Hypothesis, Proved, Target, Unknown
from dsl.domain import Domain
from dsl.parser import parse, parse_expression
from synth import proposers
from synth.problem import Problem
from verify import methods

SECONDS = 2.0


def target_of(
    function: Callable[[np.ndarray], np.ndarray], domain: str = "a: int[0..19], b: int[0..19]"
) -> Target:
    """A network in memory that says which of some integers a function of a and b is."""
    claim = Claim(parse_expression("[a, b]"), decode=Decode("round"))
    return Target(Domain(domain), claim, lambda batch: function(batch)[:, None].astype(np.float64))


def scattered(batch: np.ndarray) -> np.ndarray:
    """Values without a rule."""
    return np.asarray((batch[:, 0] * 7919 + batch[:, 1] * 104_729) % 1009 % 7)


def timed(target: Target, seconds: float = SECONDS, **options: Any) -> tuple[Result, float]:
    started = time.monotonic()
    result = compile_target(target, seconds=seconds, **options)
    return result, time.monotonic() - started


def listed(monkeypatch: pytest.MonkeyPatch, **members: Any) -> tuple[str, str]:
    """A name and a module for a registry."""
    module = ModuleType("endless_for_a_test")
    for name, member in members.items():
        setattr(module, name, member)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return ("endless", module.__name__)


def test_a_proposer_that_would_run_for_ever_is_cut_and_the_next_has_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def propose(problem: Problem) -> Iterator[Hypothesis]:
        while problem.seed >= 0:
            pass
        yield Hypothesis(parse("def program(a, b):\n    return a\n"), "endless")

    endless = listed(monkeypatch, propose=propose)
    after = [pair for pair in proposers.PROPOSERS if pair[0] == "table"]
    monkeypatch.setattr(proposers, "PROPOSERS", (endless, *after))
    given = 3 * SECONDS
    result, seconds = timed(target_of(scattered, "a: int[0..3], b: int[0..3]"), given)
    assert result.best.hypothesis.proposer == "table"
    assert result.best.disagreement == 0
    assert given / 2 < seconds < given + tolerance(given)


def test_a_proof_that_would_go_on_for_ever_is_cut_and_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def verify(*_: Any, **__: Any) -> None:
        while True:
            pass

    monkeypatch.setattr(methods, "METHODS", (listed(monkeypatch, verify=verify),))
    result, seconds = timed(target_of(lambda batch: batch[:, 0] * 0), only=("constant",))
    assert isinstance(result.verdict, Unknown)
    assert result.verdict.reason == "time is up"
    assert SECONDS < seconds < SECONDS + tolerance(SECONDS)


def test_a_proof_that_swallows_the_cut_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    def verify(*_: Any, **__: Any) -> Proved:
        try:
            while True:
                pass
        except BaseException:
            return Proved("endless", "everything", "none")

    monkeypatch.setattr(methods, "METHODS", (listed(monkeypatch, verify=verify),))
    result, _ = timed(target_of(lambda batch: batch[:, 0] * 0), only=("constant",))
    assert isinstance(result.verdict, Unknown)


def test_a_network_so_slow_that_one_block_takes_minutes_is_cut_in_it() -> None:
    def slow(batch: np.ndarray) -> np.ndarray:
        for row in range(len(batch)):
            time.sleep(0.002 if row else 0)
        return np.zeros(len(batch))

    result, seconds = timed(target_of(slow, "a: int[0..299], b: int[0..299]"), only=("constant",))
    assert not isinstance(result.verdict, Proved)
    assert seconds < SECONDS + tolerance(SECONDS)


@pytest.mark.parametrize("name", [name for name, _ in proposers.PROPOSERS])
def test_every_proposer_ends_in_time_on_values_without_a_rule(name: str) -> None:
    target = target_of(scattered, "a: int[0..120], b: int[0..120]")
    _, seconds = timed(target, only=("constant", name))
    assert seconds < SECONDS + 0.7 * tolerance(SECONDS)


def test_loading_counts_only_beyond_a_part_of_the_tolerance() -> None:
    budget = Budget(100.0, 60.0)
    assert budget.after_loading(101.0) == 60.0
    assert budget.after_loading(105.0) == pytest.approx(60.0 - (5.0 - 0.2 * 6.0))


def test_a_model_that_loads_slowly_leaves_half_of_the_time() -> None:
    assert Budget(100.0, 10.0).after_loading(200.0) == 5.0


def test_a_run_may_be_late_by_five_seconds_or_a_tenth() -> None:
    assert tolerance(10.0) == 5.0
    assert tolerance(300.0) == 30.0
