"""What `distill check` believes of a certificate that somebody has edited."""

from __future__ import annotations

import hashlib
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from distill.certificate import sealed
from distill.checking import check, rechecked
from dsl.claim import Claim, Decode, Proved, Refuted, Target, Unknown
from dsl.domain import Domain
from dsl.parser import parse_expression
from tests.verify.recurrent import networks as n

SUM = "def program(s):\n    return sum(s)\n"


def summing(domain: str) -> Target:
    """The sum of short sequences, and one more than that from three items on."""

    def runtime(batch: np.ndarray) -> np.ndarray:
        total = batch.sum(1) + (batch.shape[1] > 2)
        return np.eye(32, dtype=np.float32)[total.astype(int)]

    return Target(Domain(domain), Claim(parse_expression("s"), decode=Decode("argmax")), runtime)


def recorded(kind: str, **evidence: Any) -> dict[str, Any]:
    """A verdict that claims all of a domain, by some evidence."""
    return {
        "kind": "PROVED",
        "method": kind,
        "proven_domain": "s: seq(int[0..3], 1..)",
        "arithmetic": "as good as it gets",
        "evidence": {"kind": kind, **evidence},
    }


def test_the_proven_domain_is_what_was_established_and_not_what_is_claimed() -> None:
    target = summing("s: seq(int[0..3], 1..)")
    verdict = rechecked(SUM, target, recorded("lengths", longest=2), np.inf)
    assert isinstance(verdict, Proved)
    assert verdict.proven_domain == "s: seq(int[0..3], 1..) where len(s) <= 2"
    assert "good" not in verdict.arithmetic
    assert isinstance(rechecked(SUM, target, recorded("lengths", longest=3), np.inf), Refuted)


@pytest.mark.parametrize(
    "kind", ["smt", "affine", "cells", "dependence", "paths", "sequences", "invented"]
)
def test_evidence_of_another_kind_is_refused_where_the_domain_is_large(kind: str) -> None:
    target = summing("s: seq(int[0..3], 1..12)")
    verdict = rechecked(SUM, target, recorded(kind), np.inf)
    assert isinstance(verdict, Unknown) and "has no independent check" in verdict.reason


@pytest.mark.parametrize("kind", ["smt", "affine", "cells", "dependence", "paths", "sequences"])
def test_of_a_small_domain_every_input_is_run_whatever_the_evidence(kind: str) -> None:
    good, bad = summing("s: seq(int[0..3], 1..2)"), summing("s: seq(int[0..3], 1..3)")
    assert isinstance(rechecked(SUM, good, recorded(kind), np.inf), Proved)
    assert isinstance(rechecked(SUM, bad, recorded(kind), np.inf), Refuted)


def test_a_value_that_depends_on_the_company_is_not_established() -> None:
    target = summing("s: seq(int[0..3], 1..2)")
    runtime = target.runtime

    def moody(batch: np.ndarray) -> np.ndarray:
        raw = runtime(batch)
        return raw if len(batch) > 1 else raw[:, ::-1]

    verdict = rechecked(SUM, replace(target, runtime=moody), recorded("enumeration"), np.inf)
    assert isinstance(verdict, Unknown) and "run alone" in verdict.reason


def test_invariant_regions_are_checked_without_looking_for_them() -> None:
    import time

    from dsl.parser import parse
    from tests.verify.recurrent.test_sequences import ANY, PARITY
    from verify import invariants

    target = n.target(n.forgetful_parity(), ANY)
    found = invariants.verify(
        parse(PARITY), target, deadline=time.monotonic() + 60, seed=0, evidence={}
    )
    assert isinstance(found, Proved)
    table = recorded("invariant") | {"evidence": dict(found.evidence)}
    again = rechecked(PARITY, target, table, np.inf)
    assert isinstance(again, Proved) and again.proven_domain == ANY
    wrong = {**found.evidence, "radius": (np.array(found.evidence["radius"]) / 1e6).tolist()}
    table = recorded("invariant") | {"evidence": wrong}
    assert isinstance(rechecked(PARITY, target, table, np.inf), Unknown)


def test_a_forged_certificate_of_an_exported_network_that_cancels_does_not_hold(
    tmp_path: Path,
) -> None:
    """In float64 the network says True everywhere, by a wide margin; in float32 mostly False."""
    import torch

    from distill import cli

    class Lost(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.relu(x * 1e8 + 1.0) - torch.relu(x * 1e8) - 0.5

    batch = torch.export.Dim("batch")
    exported = torch.export.export(Lost(), (torch.zeros(2, 1),), dynamic_shapes=({0: batch},))
    torch.export.save(exported, str(tmp_path / "model.pt2"))
    (tmp_path / "task.toml").write_text(
        'model = "model.pt2"\ndomain = "a: int[0..15]"\npack = "[a]"\n'
        '[output]\ndecode = "threshold(0.0)"\n'
    )
    out = tmp_path / "out"
    assert cli.main(["compile", str(tmp_path), "--out", str(out), "--quiet"]) == 0
    program, path = out / "program.py", out / "certificate.json"
    assert check(path).state == "holds"
    text = "def network(a):\n    return True\n"
    program.write_text(text)
    content = json.loads(path.read_text())
    content["program"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    path.write_text(json.dumps(sealed(content)))
    for independent in (False, True):
        assert check(path, independent=independent).state == "broken"
    assert "torch" in sys.modules  # the original runtime was asked


def test_a_value_beyond_the_checkers_bounds_neither_supports_nor_refutes() -> None:
    target = summing("s: seq(int[0..3], 1..2)")
    longest = "def program(s):\n    return len(range(10 ** 7 * s[0])) * 0 + sum(s)\n"
    verdict = rechecked(longest, target, recorded("enumeration"), np.inf)
    assert isinstance(verdict, Unknown)
    assert "'s': [1]}: a range of over a million numbers" in verdict.reason
    wrong = longest.replace("+ sum(s)", "+ sum(s) + s[0]")
    verdict = rechecked(wrong, target, recorded("enumeration"), np.inf)
    assert isinstance(verdict, Unknown)
    wrong = longest.replace("+ sum(s)", "+ sum(s) + 1")
    verdict = rechecked(wrong, target, recorded("enumeration"), np.inf)
    assert isinstance(verdict, Refuted)
    assert verdict.counterexample.inputs == {"s": [0]}


def test_a_disagreement_that_vanishes_when_the_input_is_run_alone_is_no_counterexample() -> None:
    target = summing("s: seq(int[0..3], 1..2)")
    runtime = target.runtime

    def moody(batch: np.ndarray) -> np.ndarray:
        raw = runtime(batch)
        return raw if len(batch) == 1 else raw[:, ::-1]

    verdict = rechecked(SUM, replace(target, runtime=moody), recorded("enumeration"), np.inf)
    assert isinstance(verdict, Unknown) and "run alone" in verdict.reason


def test_a_real_value_is_also_compared_when_the_input_is_run_alone() -> None:
    claim = Claim(parse_expression("[a]"), "float64", decode=Decode("value", tolerance=0.1))

    def runtime(batch: np.ndarray) -> np.ndarray:
        return batch + (0.09 if len(batch) > 1 else 0.11)

    target = Target(Domain("a: int[0..3]"), claim, runtime)
    verdict = rechecked("def program(a):\n    return a\n", target, recorded("enumeration"), np.inf)
    assert isinstance(verdict, Unknown) and "run alone" in verdict.reason


@pytest.mark.parametrize("loop", ["for i in range(60):\n        {}", "{}"])
def test_sequences_that_nest_without_end_are_bounded(loop: str) -> None:
    from verify.checker import Beyond, function_of

    lines = "x = [x, x]\n    y = [y, y]" if loop == "{}" else "x = [x, x]\n        y = [y, y]"
    body = "\n    ".join([lines] * 60) if loop == "{}" else loop.format(lines)
    text = f"def program(a):\n    x = [a]\n    y = [a]\n    {body}\n    return x == y\n"
    with pytest.raises(Beyond, match="over a million items"):
        function_of(text).run(1)
