"""Piecewise-linear networks of one or two inputs, cell by cell."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dsl.claim import Claim, Decode, Proved, Refuted, Target, Unknown, Verdict
from dsl.domain import Domain
from dsl.evaluate import run as run_program
from dsl.networks import run as run_network
from dsl.parser import parse, parse_expression
from dsl.program import Assign, Call, Constant, Program, Variable
from verify.cells import verify

TOLERANCE = 1e-5


def network(*layers: tuple[np.ndarray, np.ndarray], curve: str = "relu") -> Program:
    body, constants, source = [], [], Variable("x")
    for number, (weight, bias) in enumerate(layers):
        constants += [(f"w{number}", weight), (f"b{number}", bias)]
        args = (source, Constant(f"w{number}"), Constant(f"b{number}"))
        body.append(Assign((f"h{number}",), (Call("linear", args),)))
        source = Variable(f"h{number}")
        if number + 1 < len(layers):
            body.append(Assign((f"r{number}",), (Call(curve, (source,)),)))
            source = Variable(f"r{number}")
    return Program("network", (("x", None),), tuple(body), source, tuple(constants))


def target(traced: Program, domain: str = "x: real[-1,1], y: real[-1,1]") -> Target:
    inputs = Domain(domain)
    pack = parse_expression("[" + ", ".join(inputs.names) + "]", "pack")
    claim = Claim(pack, decode=Decode("value", tolerance=TOLERANCE))
    return Target(inputs, claim, lambda batch: run_network(traced, batch), lambda shape: traced)


def verdict(text: str, of: Target, seconds: float = 20.0) -> Verdict | None:
    program = parse(f"def program({', '.join(of.domain.names)}):\n    return {text}\n")
    return verify(program, of, deadline=time.monotonic() + seconds, seed=0, evidence={})


def array(*rows: object) -> np.ndarray:
    return np.array(rows, np.float32)


GREATEST = network((array([1, -1], [0, 1], [0, -1]), array(0, 0, 0)), (array([1, 1, -1]), array(0)))
"""relu(x - y) + relu(y) - relu(-y), which is max(x, y)."""


@pytest.mark.parametrize(
    "text", ["max(x, y)", "max(y, x)", "y + max(0, x - y)", "0.5 * (x + y + abs(x - y))"]
)
def test_equal_programs_are_proved(text: str) -> None:
    found = verdict(text, target(GREATEST))
    assert isinstance(found, Proved)
    assert found.evidence["cells"] >= 2


@pytest.mark.parametrize(
    "text",
    ["min(x, y)", "max(x, y) + 0.00002", "max(x, y, 0.9999 * x)", "max(1.00002 * x, y)", "x", "0"],
)
def test_mutants_are_not_proved(text: str) -> None:
    found = verdict(text, target(GREATEST))
    assert isinstance(found, (Refuted, Unknown))


def test_a_difference_at_a_small_corner_is_found() -> None:
    found = verdict("max(x, y, 3 * x + 3 * y - 4.999)", target(GREATEST))
    assert isinstance(found, Refuted)
    assert found.counterexample.inputs["x"] > 0.99


def test_one_input_is_cut_into_segments() -> None:
    rng = np.random.default_rng(0)
    first = (array(*rng.normal(size=(9, 1))), array(*rng.normal(size=9)))
    traced = network(first, (array(rng.normal(size=9)), array(0.5)))
    bends = sorted(float(-b / w[0]) for w, b in zip(*first, strict=True) if abs(b / w[0]) < 1)
    parts = " + ".join(
        f"{float(traced.constant('w1')[0, i])!r} * max(0, {float(w[0])!r} * x + {float(b)!r})"
        for i, (w, b) in enumerate(zip(*first, strict=True))
    )
    found = verdict(f"0.5 + {parts}", target(traced, "x: real[-1,1]"))
    assert isinstance(found, Proved)
    assert found.evidence["cells"] >= len(bends) + 1


def test_what_is_proved_of_random_networks_holds_on_a_fine_grid() -> None:
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 301), np.linspace(-1, 1, 301)), -1)
    points = grid.reshape(-1, 2)
    for seed in range(6):
        rng = np.random.default_rng(seed)
        weights = rng.normal(size=(4, 2)).astype(np.float32)
        bias = rng.normal(size=4).astype(np.float32)
        out = rng.normal(size=(1, 4)).astype(np.float32)
        traced = network((weights, bias), (out, np.zeros(1, np.float32)))
        terms = [
            f"{float(o)!r} * max(0, {float(w[0])!r} * x + {float(w[1])!r} * y + {float(b)!r})"
            for o, w, b in zip(out[0], weights, bias, strict=True)
        ]
        text = " + ".join(terms)
        assert isinstance(verdict(text, target(traced)), Proved)
        program = parse(f"def program(x, y):\n    return {text}\n")
        ours = run_program(program, {"x": points[:, 0], "y": points[:, 1]})
        theirs = run_network(traced, points, dtype=np.float64)[:, 0]
        assert np.abs(ours - theirs).max() <= TOLERANCE
        broken = " + ".join(terms[:-1])
        gone = run_program(
            parse(f"def program(x, y):\n    return {broken}\n"),
            {"x": points[:, 0], "y": points[:, 1]},
        )
        if np.abs(gone - theirs).max() > 1e-3:
            assert isinstance(verdict(broken, target(traced)), Refuted)


def test_no_time_is_no_proof() -> None:
    found = verdict("max(x, y)", target(GREATEST), seconds=-1.0)
    assert isinstance(found, Unknown)
    assert found.proven_fraction == 0.0


def test_curved_networks_programs_and_wider_boxes_are_left_alone() -> None:
    curved = network((array([1, 1]), array(0)), (array([1]), array(0)), curve="tanh")
    assert verdict("x + y", target(curved)) is None
    assert verdict("x * y", target(GREATEST)) is None
    wide = network((array([1, 1, 1]), array(0)))
    assert verdict("x + y + z", target(wide, "x: real[-1,1], y: real[-1,1], z: real[0,1]")) is None


def test_inputs_of_one_value_take_no_cells() -> None:
    wide = network((array([1, 1, 2]), array(0)))
    of = target(wide, "x: real[-1,1], y: real[-1,1], z: real[3,3]")
    assert isinstance(verdict("x + y + 6", of), Proved)
    assert isinstance(verdict("x + y + 2 * z", of), Proved)
    assert isinstance(verdict("x + y + 5", of), Refuted)
