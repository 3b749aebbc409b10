"""Where ties are the rule, enumeration runs every row again, in smaller company."""

from __future__ import annotations

import time

import numpy as np

from dsl.claim import Claim, Decode, Proved, Target, Unknown, Verdict
from dsl.domain import Domain
from dsl.parser import parse, parse_expression
from verify import enumeration


def verdict_on_ties(alone: int) -> Verdict | None:
    """Of a network with two equal outputs; the second is greater in runs of up to `alone` rows."""

    def runtime(packed: np.ndarray) -> np.ndarray:
        raw = np.ones((len(packed), 2), np.float32)
        raw[:, 1] += np.float32(1e-7 if len(packed) <= alone else -1e-7)
        return raw

    claim = Claim(parse_expression("[a]"), "int64", decode=Decode("argmax"))
    target = Target(Domain("a: int[0..4999]"), claim, runtime)
    program = parse("def program(a):\n    return 0\n")
    until = time.monotonic() + 60
    return enumeration.verify(program, target, deadline=until, seed=0, evidence={})


def test_a_block_full_of_ties_is_run_again_in_smaller_company() -> None:
    verdict = verdict_on_ties(0)
    assert isinstance(verdict, Proved)
    assert verdict.evidence["run_again"] == 5000
    assert "smaller runs" in verdict.arithmetic
    assert isinstance(verdict_on_ties(1), Unknown)
    assert isinstance(verdict_on_ties(5), Unknown)
    assert isinstance(verdict_on_ties(512), Unknown)


def test_each_row_stands_in_one_run() -> None:
    rows = np.arange(7, 7 + 3 * 3000, 3)
    runs = list(enumeration._runs(rows))
    assert sorted(np.concatenate(runs).tolist()) == rows.tolist()
    assert [len(run) for run in runs[:128]] == [1] * 128
