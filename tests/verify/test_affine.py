"""Affine networks against one-line programs, exactly."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from distill.api import compile as compile_model
from distill.api import load
from dsl.affine import outputs
from dsl.claim import Claim, Decode, Proved, Target
from dsl.domain import Domain
from dsl.parser import parse, parse_expression
from dsl.program import Assign, Call, Constant, Program, Variable
from verify.affine import verify

WEIGHTS = np.array([[0.25, -1.5], [1.0, 0.5]], np.float32)


def network(hidden: bool) -> Program:
    """y = W x, or W relu(x)."""
    source = Variable("x")
    body = []
    if hidden:
        body.append(Assign(("h",), (Call("relu", (source,)),)))
        source = Variable("h")
    body.append(Assign(("y",), (Call("linear", (source, Constant("w"))),)))
    return Program("network", (("x", None),), tuple(body), Variable("y"), (("w", WEIGHTS),))


def target(decode: Decode, *, hidden: bool = False) -> Target:
    domain = Domain("a: real[-1,1], b: real[-1,1]")

    def runtime(batch: np.ndarray) -> np.ndarray:
        return (np.maximum(batch, 0) if hidden else batch) @ WEIGHTS.T

    claim = Claim(parse_expression("[a, b]", "pack"), decode=decode)
    return Target(domain, claim, runtime, lambda shape: network(hidden))


def verdict(text: str, decode: Decode, *, hidden: bool = False) -> object:
    program = parse(f"def program(a, b):\n    return {text}\n")
    return verify(program, target(decode, hidden=hidden), deadline=0.0, seed=0, evidence={})


def test_outputs_of_an_affine_network_are_exact() -> None:
    rows = outputs(target(Decode("argmax")))
    assert rows is not None
    assert rows[0].terms == {"a": Fraction(1, 4), "b": Fraction(-3, 2)}
    assert outputs(target(Decode("argmax"), hidden=True)) is None


@pytest.mark.parametrize(
    "text",
    [
        "int(0.75 * a + 2 * b > 0)",
        "int(3 * a + 8 * b > 0)",
        "int(a + b > -5 * b / 3)",
        "1 if 0.75 * a > -2 * b else 0",
        "0 if 0.75 * a + 2 * b <= 0 else 1",
        "0 if -0.75 * a - 2 * b >= 0 else 1",
    ],
)
def test_the_same_comparison_is_proved(text: str) -> None:
    assert isinstance(verdict(text, Decode("argmax")), Proved)


@pytest.mark.parametrize(
    "text",
    [
        "int(0.75 * a + 2 * b >= 0)",
        "int(0.75 * a + 2.0000001 * b > 0)",
        "int(0.75 * a + 2 * b > 1e-300)",
        "int(-0.75 * a - 2 * b > 0)",
        "1 if 0.75 * a + 2 * b <= 0 else 0",
        "0 if 0.75 * a + 2 * b < 0 else 1",
        "0.75 * a + 2 * b > 0",
        "2 if 0.75 * a + 2 * b > 0 else 0",
        "1",
    ],
)
def test_mutants_are_not_proved(text: str) -> None:
    assert verdict(text, Decode("argmax")) is None


def test_ties_go_where_the_claim_says() -> None:
    high = Decode("argmax", tie="high")
    assert isinstance(verdict("int(0.75 * a + 2 * b >= 0)", high), Proved)
    assert verdict("int(0.75 * a + 2 * b > 0)", high) is None


def test_the_least_of_two_outputs_turns_the_comparison_round() -> None:
    least = Decode("argmin")
    assert isinstance(verdict("int(0.75 * a + 2 * b < 0)", least), Proved)
    assert verdict("int(0.75 * a + 2 * b > 0)", least) is None


def test_a_network_that_bends_is_left_to_other_methods() -> None:
    assert verdict("int(0.75 * a + 2 * b > 0)", Decode("argmax"), hidden=True) is None


def test_a_linear_policy_is_proved_to_be_one_inequality(tmp_path: object) -> None:
    torch.manual_seed(3)
    policy = torch.nn.Linear(3, 2, bias=False)
    path = f"{tmp_path}/policy.pt2"
    exported = torch.export.export(
        policy, (torch.zeros(2, 3),), dynamic_shapes=({0: torch.export.Dim("batch")},)
    )
    torch.export.save(exported, path)
    domain = "x: real[-2,2], v: real[-3,3], w: real[-1,1]"
    result = compile_model(load(path), domain, time=20, decode="argmax")
    assert isinstance(result.verdict, Proved)
    assert result.verdict.method == "affine"
    assert result.source.strip().splitlines()[-1].startswith("    return int(")
