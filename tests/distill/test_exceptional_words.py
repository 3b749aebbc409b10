"""Programs that follow a network on the words on which it leaves the rule."""

from __future__ import annotations

import math
import time
from dataclasses import replace

from distill.exceptional_words import _table_bits, with_beginnings, with_observed, with_words
from dsl.claim import Proved, Refuted
from dsl.parser import parse
from dsl.printer import to_python
from dsl.program import Literal
from synth.problem import observe
from tests.verify.recurrent import networks as n
from verify import enumeration, sequences

NEVER = parse("def f(x):\n    return [0 for x_t in x]\n")


def rare(domain):
    """A network that answers 1 from the seventh one on, and else 0."""
    return n.target(n.changed(n.running_sum(drift=0.0), "w1", (0, 1), -0.9275), domain)


def verified(module, program, target):
    return module.verify(program, target, deadline=time.monotonic() + 20, seed=0, evidence={})


def test_a_refutation_that_knows_all_beginnings_makes_a_program_that_is_proved():
    target = rare("x: seq(int[0..1], 8)")
    refuted = verified(sequences, NEVER, target)
    assert isinstance(refuted, Refuted) and refuted.found == 10
    program = with_words(NEVER, target, refuted)
    assert program is not None
    assert len(dict(program.constants)["EXCEPTIONS"]) == 10
    written = parse(to_python(program))
    assert isinstance(verified(sequences, written, target), Proved)
    assert isinstance(verified(enumeration, written, target), Proved)


def test_a_list_of_exceptions_longer_than_the_network_is_not_written():
    target = rare("x: seq(int[0..1], 10)")
    words = [({"x": [number >> i & 1 for i in range(10)]}, 7) for number in range(1024)]
    assert with_beginnings(NEVER, target, words[:10]) is not None
    assert with_beginnings(NEVER, target, words) is None


def test_the_order_of_exceptions_costs_no_bits():
    table = dict.fromkeys(range(1024, 2048), 7)
    listed = sum(math.log2(number) for number in table)
    assert _table_bits(table) < listed / 2
    assert math.isclose(_table_bits({1: 7, 2: 7}), 3.0)


def test_words_on_which_a_rule_without_a_loop_fails_become_exceptions():
    steps = rare("x: seq(int[0..1], 8)")
    claim = replace(steps.claim, positions=Literal(-1))
    target = replace(steps, claim=claim)
    observations = observe(target, list(target.domain.batches()))
    program = with_observed(parse("def f(x):\n    return 0\n"), target, observations)
    assert program is not None
    assert len(dict(program.constants)["EXCEPTIONS"]) == 9
    assert isinstance(verified(enumeration, parse(to_python(program)), target), Proved)
