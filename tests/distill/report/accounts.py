"""Accounts of networks that are functions, for tests of what is drawn."""

from __future__ import annotations

from typing import Any

import numpy as np

from distill.report.account import Account, Candidate
from dsl.claim import Claim, Counterexample, Decode, Proved, Recurrence, Refuted, Target, Verdict
from dsl.domain import Domain
from dsl.networks import run
from dsl.parser import parse, parse_expression
from dsl.program import Assign, Call, Constant, Program, Variable

COUNTER = """
def program(x):
    count = 0
    outputs = []
    for x_t in x:
        count = (count + x_t) % 3
        outputs.append(count)
    return outputs
"""


def account(text: str, domain: str, runtime, *, pack: str = "", rule: str = "round") -> Account:
    names = Domain(domain).names
    pack = pack or f"[{', '.join(names)}]"
    decode = Decode(rule, tolerance=0.01 if rule == "value" else 0.0)
    claim = Claim(parse_expression(pack), dtype="float32", decode=decode)
    target = Target(Domain(domain), claim, runtime)
    return Account("test", target, parse(text), text, Proved("by hand", domain, "exact"), ())


def finite() -> Account:
    """Two whole numbers; the program misses one cell, and is refuted by it."""

    def network(x: np.ndarray) -> np.ndarray:
        return np.where((x[:, 0] == 2) & (x[:, 1] == 5), 9, (x[:, 0] + x[:, 1]) % 11)

    text = "def program(a, b):\n    total = a + b\n    return total % 11\n"
    example = Counterexample({"a": 2, "b": 5}, 7, 9)
    verdict = Refuted("enumeration", example, 1, 1 / 121)
    front = (
        Candidate(1, 0.9, "constant", "def program(a, b):\n    return 0\n", False),
        Candidate(6, 1 / 121, "residues", text, True),
    )
    given = account(text, "a: int[0..10], b: int[0..10]", network)
    return told(given, verdict, front, {"modulus": 11, "table <b>": [[0, 1], [1, 0]]})


def recurrent() -> Account:
    """A counter modulo three, with a one-hot hidden state."""

    def step(symbols: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        after = np.where(symbols.reshape(-1, 1) > 0, np.roll(state, 1, axis=1), state)
        return after @ np.arange(3.0), after

    given = account(COUNTER, "x: seq(int[0..1], 8)", lambda x: np.cumsum(x, 1) % 3, pack="x")
    recurrence = Recurrence(step, np.array([1.0, 0.0, 0.0], np.float32))
    target = Target(
        given.target.domain, given.target.claim, given.target.runtime, recurrence=recurrence
    )
    return Account("recurrent", target, given.program, COUNTER, given.verdict, ())


def control() -> Account:
    """A switch of four real inputs, two of which matter; refuted by an input with many digits."""
    given = account(
        "def program(a, b, c, d):\n    return int(b > d)\n",
        "a: real[0,1], b: real[0,1], c: real[0,1], d: real[0,1]",
        lambda x: (x[:, 1] + 0.1 * x[:, 0] > x[:, 3]).astype(np.float32),
    )
    inputs = dict.fromkeys("abcd", 0.12345678901234566)
    return told(given, Refuted("sampling", Counterexample(inputs, 0, 1), 9, 0.1), (), {})


def transformer() -> Account:
    """One head that attends to equal tokens, and so gives each token back."""
    inside = (
        ("embedded", Call("gather", (Constant("W_E"), Variable("tokens")), (("axis", 0),))),
        (
            "copied",
            Call(
                "attention",
                (Variable("embedded"),) * 3,
                (("causal", True), ("scale", 9.0)),
            ),
        ),
        ("logits", Call("matmul", (Variable("copied"), Constant("W_U")))),
    )
    network = Program(
        "network",
        (("tokens", None),),
        tuple(Assign((name,), (call,)) for name, call in inside),
        Variable("logits"),
        (("W_E", np.eye(4, dtype=np.float32)), ("W_U", np.eye(4, dtype=np.float32))),
    )
    text = "def program(s):\n    copy = [token for token in s]\n    return copy\n"
    claim = Claim(parse_expression("s"), dtype="int64", decode=Decode("argmax"))
    domain = Domain("s: seq(int[0..3], 6)")
    target = Target(domain, claim, lambda x: run(network, x), network=lambda shape: network)
    return Account("transformer", target, parse(text), text, Proved("by hand", str(domain), ""), ())


def told(
    given: Account, verdict: Verdict, front: tuple[Candidate, ...], evidence: dict[str, Any]
) -> Account:
    """The account with another verdict, and with how the program was found."""
    return Account(
        "<script>alert(1)</script>",
        given.target,
        given.program,
        given.source,
        verdict,
        front,
        evidence,
        "residues",
        12,
        ("distill check .",),
        "0" * 64,
    )
