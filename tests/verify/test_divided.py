"""Branch and bound whose boxes are dealt out to workers."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

from dsl.claim import Decode, Proved, Refuted, Target
from dsl.parser import parse
from tests.verify.small_networks import layers, target
from verify import branch_and_bound, divided

BOX = "a: real[-1,1], b: real[-1,1], c: real[-1,1]"
ZERO = parse("def f(a, b, c):\n    return 0\n")
NETWORK = layers((3, 16, 1), 3, "tanh")


@dataclass
class Distant:
    """Workers that get and give copies, as other processes do."""

    count: int
    asked: int = 0

    def run(
        self,
        target: Target,
        function: Callable[[Target, Any], Any],
        items: Iterable[Any],
        total: int | None = None,
    ) -> Iterator[Any]:
        for item in items:
            self.asked += 1
            yield pickle.loads(pickle.dumps(function(target, pickle.loads(pickle.dumps(item)))))


def largest() -> float:
    """The greatest absolute value of the network on a fine grid."""
    axis = np.linspace(-1, 1, 61)
    grid = np.stack(np.meshgrid(axis, axis, axis), -1).reshape(-1, 3)
    claim = target(NETWORK, BOX, Decode("value", tolerance=1.0))
    return float(np.abs(claim.runtime(grid.astype(np.float32))).max())


def verdict(tolerance: float, workers: Distant | None) -> Any:
    claim = replace(target(NETWORK, BOX, Decode("value", tolerance=tolerance)), workers=workers)
    deadline = time.monotonic() + 60
    return branch_and_bound.verify(ZERO, claim, deadline=deadline, seed=0, evidence={})


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(divided, "FIRST", 1)
    monkeypatch.setattr(divided, "_LEAST", 16)


def test_a_decision_is_the_same_for_any_number_of_workers_and_stands_up_again() -> None:
    tolerance = 1.002 * largest()
    several = [Distant(count) for count in (1, 2, 8)]
    found = [verdict(tolerance, workers) for workers in several]
    assert all(workers.asked > 0 for workers in several)
    assert isinstance(found[0], Proved) and found[0] == found[1] == found[2]
    assert isinstance(verdict(tolerance, None), Proved)
    claim = target(NETWORK, BOX, Decode("value", tolerance=tolerance))
    regions = branch_and_bound.unpacked(found[0].evidence)
    assert regions is not None
    low, high = regions.proven
    assert np.isclose((high - low).prod(1).sum(), 8.0)
    again = branch_and_bound.rechecked(regions, ZERO, claim, deadline=time.monotonic() + 60)
    assert isinstance(again, Proved)


def test_a_claim_that_fails_is_refuted_by_a_share() -> None:
    found = verdict(0.98 * largest(), Distant(2))
    assert isinstance(found, Refuted)
    assert abs(found.counterexample.network_value) > 0.98 * largest()


def test_volumes_add_up_when_the_work_is_divided() -> None:
    tolerance = 0.5 * largest()
    claim = target(NETWORK, BOX, Decode("value", tolerance=tolerance))
    points = np.random.default_rng(0).uniform(-1, 1, (20_000, 3)).astype(np.float32)
    equal = float((np.abs(claim.runtime(points)) <= tolerance).mean())
    enough, until = equal - 0.1, time.monotonic() + 60
    alone = branch_and_bound.coverage(ZERO, claim, until, enough=enough)
    workers = Distant(2)
    parted = branch_and_bound.coverage(ZERO, replace(claim, workers=workers), until, enough=enough)
    assert alone is not None and parted is not None and workers.asked > 0
    for share in (alone, parted):
        assert share.proven + share.refuted + share.open == pytest.approx(1.0, abs=1e-6)
    assert parted.proven <= equal + 0.02 and parted.refuted <= 1 - equal + 0.02
    assert parted.proven > equal - 0.1
