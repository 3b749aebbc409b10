"""Sums along a word, proved for all words that bring a loop to one state."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from dsl import networks
from dsl import types as t
from dsl.claim import Claim, Decode, Proved, Target, Unknown
from dsl.domain import Domain
from dsl.evaluate import run
from dsl.parser import parse, parse_expression
from dsl.program import Assign, Call, Constant, Program, Variable
from verify.paths import verify

LARGEST, LENGTH = 2, 11


@dataclass(frozen=True)
class Network:
    """One head over the items -2..2 that averages what it sees; the outputs compare the average
    with half of the least one."""

    values: tuple[float, ...] = (-2, -1, 0, 1, 2)
    attention: float = 0.0
    heads: int = 1
    layers: int = 1
    options: Mapping[str, Any] | None = None

    def traced(self) -> Program:
        body: list[Assign] = []
        heads, length = self.heads, LENGTH
        embedding = np.stack([np.array(self.values), np.ones(5)], 1).astype(np.float32)
        score = np.array([[self.attention, 0.0]] * heads, np.float32)
        one = np.array([[0.0, 1.0]] * heads, np.float32)
        value = np.array([[1.0, 0.0]] * heads, np.float32)
        compared = np.array([[-1.0], [0.0], [1.0]], np.float32).repeat(heads, axis=1) / heads
        constants = {
            "embedding": embedding,
            "score": score,
            "one": one,
            "value": value,
            "compared": compared,
            "bias": np.array([0.0, 0.5 / length, 0.0], np.float32),
        }

        def bind(name: str, primitive: str, *args: Any, **options: Any) -> Variable:
            body.append(Assign((name,), (Call(primitive, args, tuple(options.items())),)))
            return Variable(name)

        x = bind("x", "gather", Constant("embedding"), Variable("tokens"), axis=0, along=False)

        def rows(name: str) -> Variable:
            flat = bind(f"{name}.flat", "linear", x, Constant(name))
            apart = bind(f"{name}.heads", "reshape", flat, shape=(-1, length, heads, 1))
            return bind(f"{name}.rows", "transpose", apart, axes=(0, 2, 1, 3))

        options = {"causal": True, "scale": 1.0} if self.options is None else dict(self.options)
        arguments = rows("one"), rows("score"), rows("value")
        mixed = bind("mixed", "attention", *arguments, **options)
        for layer in range(1, self.layers):
            mixed = bind(f"mixed.{layer}", "attention", *arguments[:2], mixed, **options)
        turned = bind("turned", "transpose", mixed, axes=(0, 2, 1, 3))
        joined = bind("joined", "reshape", turned, shape=(-1, length, heads))
        result = bind("logits", "linear", joined, Constant("compared"), Constant("bias"))
        inputs = (("tokens", t.Tensor(t.Int(None, None), (-1, length))),)
        return Program("network", inputs, tuple(body), result, tuple(constants.items()))

    def target(self, length: int = LENGTH) -> Target:
        traced = self.traced()
        return Target(
            Domain(f"s: seq(int[-{LARGEST}..{LARGEST}], {length})"),
            Claim(
                parse_expression(f"[c + {LARGEST} for c in s]", "pack"),
                "int64",
                decode=Decode("argmax", labels=("down", "even", "up")),
            ),
            lambda packed: networks.run(traced, packed),
            lambda shape: traced if shape == (LENGTH,) else None,
        )


SIGN = """def program(s):
    total = 0
    outputs = []
    for c in s:
        total = total + c
        outputs.append("up" if total > 0 else "even" if total == 0 else "down")
    return outputs
"""


def verdict_on(network: Network, text: str = SIGN) -> Any:
    target = network.target()
    return verify(parse(text), target, deadline=time.monotonic() + 60, seed=0, evidence={})


@pytest.mark.parametrize("network", [Network(), Network(attention=1e-3), Network(heads=3)])
def test_the_sign_of_a_running_sum_is_proved_on_all_words(network):
    verdict = verdict_on(network)
    assert isinstance(verdict, Proved) and verdict.method == "paths"
    # An independent look: the runtime itself on random words.
    target = network.target()
    (batch,) = target.domain.sample(2000, np.random.default_rng(0))
    assert (target.evaluate(batch).values == run(parse(SIGN), batch)).all()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("total > 0", "total > 1"),
        ("total = 0", "total = 1"),
        ('else "down"', 'else "down" if total > -22 else "even"'),
        ("total + c\n", "total + c - (total == 1 and c == 2)\n"),
    ],
)
def test_mutants_of_the_program_are_refused(old, new):
    mutant = SIGN.replace(old, new)
    assert mutant != SIGN and isinstance(verdict_on(Network(), mutant), Unknown)


def test_another_spelling_of_the_same_function_is_proved():
    same = SIGN.replace("total + c\n", "total + c + (total == 20)\n")
    assert same != SIGN and isinstance(verdict_on(Network(), same), Proved)


def test_a_head_that_weighs_items_differently_is_refused():
    network = Network(attention=0.2)
    assert isinstance(verdict_on(network), Unknown)
    target = network.target()
    (batch,) = target.domain.sample(20_000, np.random.default_rng(0))
    assert not (target.evaluate(batch).values == run(parse(SIGN), batch)).all()


def test_words_that_lead_to_one_state_are_told_apart():
    # On the average over all words with one sum the network is right.
    network = Network(values=(-2.2, -1, 0, 1, 2.2))
    assert isinstance(verdict_on(network), Unknown)


@pytest.mark.parametrize(
    "network",
    [
        Network(layers=2),
        Network(options={"causal": False, "scale": 1.0}),
    ],
)
def test_other_networks_are_left_to_other_methods(network):
    assert verdict_on(network) is None


def test_programs_that_are_no_loop_are_left_to_other_methods():
    assert verdict_on(Network(), "def program(s):\n    return sorted(s)\n") is None


def test_what_can_be_enumerated_is():
    target = Network().target(4)
    assert verify(parse(SIGN), target, deadline=time.monotonic() + 9, seed=0, evidence={}) is None
