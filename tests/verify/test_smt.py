"""Z3 decides exactly, ties included, and never says PROVED of a mutant."""

from __future__ import annotations

import time

import pytest

from dsl.claim import Decode, Proved, Refuted
from dsl.parser import parse
from tests.verify.small_networks import layers, linear_policy, target
from verify import smt

BOX = "a: real[-1,1], b: real[-1,1]"


def verdict(text: str, claim: object) -> object:
    return smt.verify(
        parse(f"def f(a, b):\n    {text}\n"),
        claim,  # type: ignore[arg-type]
        deadline=time.monotonic() + 30,
        seed=0,
        evidence={},
    )


def test_a_linear_policy_is_one_inequality_ties_included() -> None:
    claim = target(linear_policy((0.5, -0.25), (-0.25, 0.5)), BOX, Decode("argmax"))
    assert isinstance(verdict("return 1 if -0.75 * a + 0.75 * b > 0 else 0", claim), Proved)


@pytest.mark.parametrize(
    "text",
    [
        "return 1 if -0.75 * a + 0.75 * b > 0.001 else 0",
        "return 1 if -0.75 * a + 0.75 * b < 0 else 0",
        "return 0 if -0.75 * a + 0.75 * b > 0 else 1",
        "return 1 if -0.75 * a + 0.76 * b > 0 else 0",
    ],
)
def test_a_mutant_of_the_policy_is_refuted(text: str) -> None:
    claim = target(linear_policy((0.5, -0.25), (-0.25, 0.5)), BOX, Decode("argmax"))
    assert isinstance(verdict(text, claim), Refuted)


def test_equality_at_a_tie_matters() -> None:
    claim = target(linear_policy((0.5, -0.25), (-0.25, 0.5)), BOX, Decode("argmax"))
    # Only on the line a == b does >= differ from >; Z3 finds it, and the runtime agrees.
    found = verdict("return 1 if -0.75 * a + 0.75 * b >= 0 else 0", claim)
    assert isinstance(found, Refuted)
    assert found.counterexample.inputs["a"] == found.counterexample.inputs["b"]


def test_a_constant_is_proved_of_a_small_relu_network_within_its_tolerance() -> None:
    network = layers((2, 5, 1), 3, scale=0.2)
    assert isinstance(
        verdict("return 0", target(network, BOX, Decode("value", tolerance=5.0))), Proved
    )
    refuted = verdict("return 0", target(network, BOX, Decode("value", tolerance=0.01)))
    assert isinstance(refuted, Refuted)


def test_integers_are_integers() -> None:
    network = linear_policy((1.0, 0.0), (0.5, 0.5))
    claim = target(network, "a: int[-9..9], b: int[-9..9]", Decode("argmax"))
    assert isinstance(verdict("return 0 if a >= b else 1", claim), Proved)
    assert isinstance(verdict("return 0 if a > b else 1", claim), Refuted)


def test_tanh_is_left_to_other_methods() -> None:
    assert verdict("return 0", target(layers((2, 3, 2), 0, "tanh"), BOX, Decode("argmax"))) is None
