"""Proofs for programs beside recurrent networks, and what they must refuse."""

from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from dsl.claim import Proved, Refuted, Target, Unknown
from dsl.decoding import decoded
from dsl.parser import parse
from dsl.program import Program
from tests.verify.recurrent import networks as n
from verify import invariants, sequences
from verify.recurrent.claims import comparison
from verify.recurrent.induction import recheck

PARITY = """def f(x):
    odd = 0
    outputs = []
    for x_t in x:
        odd = (odd + x_t) % 2
        outputs.append(odd)
    return outputs
"""
ADDITION = """def f(a, b):
    carry = 0
    outputs = []
    for a_t, b_t in zip(a, b):
        total = carry + a_t + b_t
        outputs.append(total % 2)
        carry = total // 2
    return outputs
"""
SUM = """def f(x):
    total = 0
    outputs = []
    for x_t in x:
        total = total + x_t
        outputs.append(total)
    return outputs
"""
NOTHING = """def f(x):
    outputs = []
    for x_t in x:
        outputs.append(0)
    return outputs
"""
BITS = "x: seq(int[0..1], 12)"
ANY = "x: seq(int[0..1], 1..)"


def verdict(module, text: str, target: Target, seconds: float = 20.0):
    deadline = time.monotonic() + seconds
    return module.verify(parse(text), target, deadline=deadline, seed=0, evidence={})


def test_parity_is_proved_for_all_words_of_a_length():
    found = verdict(sequences, PARITY, n.target(n.parity(), BITS))
    assert isinstance(found, Proved)
    assert found.evidence["pairs"] <= 100  # of 4096 words


def test_a_program_that_is_wrong_on_one_word_is_refuted_by_that_word():
    words = [1] * 12
    text = PARITY.replace("return outputs", f"return {[0] * 12} if x == {words} else outputs")
    found = verdict(sequences, text, n.target(n.parity(), BITS))
    assert isinstance(found, Refuted)
    assert found.counterexample.inputs == {"x": words}


def test_an_exception_that_the_network_makes_is_proved():
    # Eleven ones reach a state of 11 * 0.05; the twelfth leads beyond one half.
    network = n.running_sum(drift=0.0)
    network = n.changed(network, "w1", (0, 1), -0.958)
    target = n.target(network, BITS)
    never = "def f(x):\n    return [0 for x_t in x]\n"
    first = verdict(sequences, never, target)
    assert isinstance(first, Refuted)
    assert first.found == 1
    assert first.counterexample.inputs == {"x": [1] * 12}
    answer = first.counterexample.network_value
    patched = never.replace(
        "return [0 for x_t in x]", f"return {answer} if x == {[1] * 12} else [0 for x_t in x]"
    )
    assert isinstance(verdict(sequences, patched, target), Proved)


def test_sums_of_large_numbers_are_proved_by_one_box():
    target = n.target(n.running_sum(), "x: seq(int[-1000..1000], 30)")
    found = verdict(sequences, SUM, target)
    assert isinstance(found, Proved)
    assert found.evidence["boxes"] == 1


def test_a_drift_that_rounding_hides_on_most_words_is_refuted_or_left_open():
    target = n.target(n.running_sum(drift=0.06), "x: seq(int[0..1], 10)")
    found = verdict(sequences, SUM, target)
    assert isinstance(found, Refuted)
    assert found.evidence["proven_to_length"] == 8


NUMBERED = """EXCEPTIONS = {table}


def f(x):
    word = 1
    outputs = []
    for x_t in x:
        word = 2 * word + x_t
        outputs.append(EXCEPTIONS.get(word, 0))
    return outputs
"""


def test_numbered_exceptions_of_a_network_are_proved_and_their_mutants_refused():
    # Seven ones of eight reach a state of 7 * 0.0725, beyond one half.
    network = n.changed(n.running_sum(drift=0.0), "w1", (0, 1), -0.9275)
    target = n.target(network, "x: seq(int[0..1], 8)")
    table = {}
    for word in itertools.product("01", repeat=8):
        for end in (7, 8):
            if word[:end].count("1") >= 7:
                table[int("1" + "".join(word[:end]), 2)] = 1
    assert len(table) == 10
    assert isinstance(verdict(sequences, NUMBERED.replace("{table}", str(table)), target), Proved)
    code = next(iter(table))
    mutants = [
        {k: v for k, v in table.items() if k != code},
        table | {code: 2},
        table | {0b100000000: 1},
    ]
    for mutant in mutants:
        found = verdict(sequences, NUMBERED.replace("{table}", str(mutant)), target)
        assert isinstance(found, Refuted)
    shifted = NUMBERED.replace("{table}", str(table)).replace("word + x_t", "word + 0")
    assert not isinstance(verdict(sequences, shifted, target), Proved)


@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_networks_with_a_changed_weight_are_not_proved_where_they_differ(place):
    network = n.changed(n.parity(), "w1", place, 0.2)
    target = n.target(network, BITS)
    words = np.array(list(itertools.product((0, 1), repeat=12)))
    values = target.evaluate({"x": words}).values
    same = (values == np.cumsum(words, axis=1) % 2).all()
    assert isinstance(verdict(sequences, PARITY, target), Proved) == same


def test_addition_is_proved_for_numbers_of_any_length():
    target = n.target(n.binary_addition(), "a: seq(int[0..1], 1..), b: seq(int[0..1], 1..)")
    found = verdict(invariants, ADDITION, target)
    assert isinstance(found, Proved)
    assert found.proven_domain == "a: seq(int[0..1], 1..), b: seq(int[0..1], 1..)"


def test_the_evidence_of_a_proof_for_all_lengths_is_checked_again():
    target = n.target(n.forgetful_parity(), ANY)
    found = verdict(invariants, PARITY, target)
    assert isinstance(found, Proved) and found.evidence["kind"] == "invariant"
    compared = comparison(parse(PARITY), target)
    assert compared is not None
    setting = invariants.setting_of(compared, target)
    assert recheck(found.evidence, setting)
    narrow = found.evidence | {"radius": (np.array(found.evidence["radius"]) / 1e6).tolist()}
    assert not recheck(narrow, setting)
    moved = found.evidence | {"centre": (np.array(found.evidence["centre"]) + 0.4).tolist()}
    assert not recheck(moved, setting)
    assert not recheck({"kind": "invariant"}, setting)


def test_a_network_that_keeps_more_apart_than_the_program_has_several_regions_for_a_state():
    target = n.target(n.opposites(), ANY)
    found = verdict(invariants, NOTHING, target)
    assert isinstance(found, Proved) and found.evidence["kind"] == "invariant"
    keys = [tuple(key) for key in found.evidence["keys"]]
    assert len(keys) > len(set(keys))
    compared = comparison(parse(NOTHING), target)
    assert compared is not None
    setting = invariants.setting_of(compared, target)
    assert recheck(found.evidence, setting)
    arrays = ("keys", "centre", "vectors", "radius")
    for left_out in range(len(keys)):
        rest = {
            name: [row for i, row in enumerate(found.evidence[name]) if i != left_out]
            for name in arrays
        }
        assert not recheck(found.evidence | rest, setting)
    endless = found.evidence | {"centre": (np.array(found.evidence["centre"]) * np.inf).tolist()}
    assert not recheck(endless, setting)


def test_no_region_of_a_state_may_answer_otherwise():
    target = n.target(n.changed(n.opposites(), "v", (0, 0), 0.2), ANY)
    assert isinstance(verdict(invariants, NOTHING, target, seconds=6.0), Refuted)


def test_the_evidence_of_one_network_does_not_prove_another():
    target = n.target(n.forgetful_parity(), ANY)
    evidence = verdict(invariants, PARITY, target).evidence
    other = n.target(n.changed(n.forgetful_parity(), "w2", (0, 2), 30.0), ANY)
    compared = comparison(parse(PARITY), other)
    assert compared is not None
    assert not recheck(evidence, invariants.setting_of(compared, other))


def test_a_counter_that_drifts_is_proved_to_a_length_and_refuted_beyond_it():
    network = n.changed(n.parity(), "b2", (0,), 0.02)
    found = verdict(invariants, PARITY, n.target(network, ANY), seconds=8.0)
    assert isinstance(found, Refuted)
    length = len(found.counterexample.inputs["x"])
    assert found.evidence["proven_to_length"] == length - 1
    assert 10 < length < 40
    assert found.counterexample.program_value != found.counterexample.network_value


def test_programs_that_are_no_machines_are_left_to_other_methods():
    target = n.target(n.parity(), BITS)
    for text in ("def f(x):\n    return [sum(x)] * 12\n", "def f(x):\n    return sorted(x)\n"):
        assert verdict(sequences, text, target) is None


def test_nothing_is_proved_when_time_is_up():
    target = n.target(n.parity(), BITS)
    found = verdict(sequences, PARITY, target, seconds=-10.0)
    assert found is None or isinstance(found, (Unknown, Proved))


def test_enclosures_contain_what_the_network_computes():
    rng = np.random.default_rng(0)
    target = n.target(n.forgetful_parity(), BITS)
    program: Program = parse(PARITY)
    compared = comparison(program, target)
    assert compared is not None
    from verify.recurrent.enclosures import box

    low = rng.uniform(-0.2, 1.0, (200, 1))
    high = low + rng.uniform(0, 0.2, (200, 1))
    symbols = rng.integers(0, 2, 200)
    raw, after = compared.network.step(symbols, box(low, high))
    for _ in range(20):
        state = rng.uniform(low, high)
        exact, then = compared.network.step(symbols, box(state, state))
        assert (raw.low <= exact.centre).all() and (exact.centre <= raw.high).all()
        assert (after.low <= then.centre).all() and (then.centre <= after.high).all()
    assert decoded(target.claim.decode, raw.centre).values.shape == (200,)


def test_branches_on_whole_words_are_decided_box_by_box():
    target = n.target(n.running_sum(), "x: seq(int[0..20], 3)")
    capped = SUM.replace("total + x_t", "0 if total >= {} else total + x_t")
    assert isinstance(verdict(sequences, capped.format(41), target), Proved)
    assert not isinstance(verdict(sequences, capped.format(35), target), Proved)


def test_enclosures_have_room_for_what_float32_rounds():
    from verify.recurrent.enclosures import add, linear, multiply, points

    rng = np.random.default_rng(0)
    a, b = (rng.normal(size=(300, 4)).astype(np.float32) for _ in range(2))
    weight = rng.normal(size=(3, 4)).astype(np.float32)
    for form, narrow in (
        (add(points(a, 1), points(b, 1)), a + b),
        (multiply(points(a, 1), points(b, 1)), a * b),
        (linear(points(a, 1), weight, None), a @ weight.T),
    ):
        assert (form.low <= narrow).all() and (narrow <= form.high).all()
        assert (form.spread < 1e-5).all()


def test_enclosures_of_what_may_overflow_have_no_end():
    from verify.recurrent.enclosures import linear, multiply, points

    huge = points(np.full((1, 1), 1e30), 1)
    assert np.isinf(linear(huge, np.full((1, 1), 1e10, np.float32), None).spread).all()
    assert np.isinf(multiply(huge, huge).spread).all()


def test_a_network_that_changes_its_mind_on_long_words_is_not_proved():
    plain = n.target(n.forgetful_parity(), ANY)
    runtime = plain.runtime

    def window(batch):
        return runtime(batch[:, :200]) if batch.shape[1] <= 200 else 1 - runtime(batch)

    import dataclasses

    target = dataclasses.replace(plain, runtime=window)
    found = verdict(invariants, PARITY, target)
    assert isinstance(found, Refuted)
    assert len(found.counterexample.inputs["x"]) == 257
