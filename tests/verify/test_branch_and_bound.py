"""Programs against networks on real boxes: proofs, refutations, volumes, and their evidence."""

from __future__ import annotations

import math
import time
from dataclasses import replace

import numpy as np
import pytest

from dsl import evaluate
from dsl.claim import Decode, Proved, Refuted, Target, Unknown
from dsl.domain import Domain
from dsl.parser import parse
from dsl.program import Program
from tests.verify.small_networks import layers, linear_policy, target
from verify import branch_and_bound
from verify.forms import folded
from verify.graph import Builder, values
from verify.pieces import pieces, translator
from verify.vectors import box_of

BOX = "a: real[-1,1], b: real[-1,1]"


def program(*lines: str, inputs: str = "a, b") -> Program:
    return parse(f"def f({inputs}):\n" + "".join(f"    {line}\n" for line in lines))


def verdict(stated: Program, claim: Target, seconds: float = 20.0) -> object:
    return branch_and_bound.verify(
        stated, claim, deadline=time.monotonic() + seconds, seed=0, evidence={}
    )


PROGRAMS = [
    program("return 1 if a > b else 0"),
    program("return 0 if a < -0.5 else 1 if a + b >= 0.25 else 2"),
    program("return 1 if (a > 0 and b > 0) or not (a + b < 0.5) else 0"),
    program("return max(a, b) + min(a, 2 * b) - abs(a - 0.5)"),
    program(
        "c = a * b",
        "return c / (1 + a ** 2) if c > 0.1 else math.sin(c) + math.exp(a) - math.tanh(b)",
    ),
    program("s = [a + b, a - b, 0.3]", "return s.index(max(s))"),
    program("return [1, 2, 3][0] if a == 0 else 5"),
    program("return sum([a, b, a > b])"),
    program('return "left" if a < 0.2 * b else "right"'),
    program("t = 1 if a > 0 else 0", "return t + (1 if b > 0 else 0)"),
]


@pytest.mark.parametrize("stated", PROGRAMS, ids=range(len(PROGRAMS)))
def test_at_every_point_a_piece_gives_the_value_that_the_program_has(stated: Program) -> None:
    box = box_of(Domain(BOX))
    assert box is not None
    builder = Builder()
    builder.input(2)
    translate = translator(builder, box)
    found = pieces(stated, translate)
    node = translate.rows.node() if translate.rows.forms else None
    forms = [p.value for p in found if hasattr(p.value, "terms") and p.value.terms]
    value_node = translate.rows.node(forms) if forms else None
    points = np.random.default_rng(0).uniform(-1, 1, (400, 2))
    points[:40] = np.round(points[:40])
    table = values(builder.graph(), points)
    expected = evaluate.run(stated, {"a": points[:, 0], "b": points[:, 1]})
    for row in range(len(points)):
        fitting = []
        for piece in found:
            if node is None or (table[node][row, list(piece.rows)] >= 0).all():
                if piece.value in forms:
                    fitting.append(float(table[value_node][row, forms.index(piece.value)]))
                else:
                    fitting.append(folded(piece.value)[1])
        if isinstance(fitting[0], str):
            assert expected[row] in fitting
        else:
            assert np.abs(np.array(fitting, float) - float(expected[row])).min() < 1e-9


def test_what_has_no_pieces_is_left_to_other_methods() -> None:
    claim = target(layers((2, 4, 2), 0), BOX, Decode("argmax"))
    assert verdict(program("return int(a)"), claim) is None
    assert branch_and_bound.reason(program("return int(a)"), claim) == "int of a number"
    assert verdict(program("return 0"), replace(claim, network=lambda shape: None)) is None


def test_a_decision_with_a_margin_is_proved_with_its_arithmetic() -> None:
    claim = target(
        linear_policy((1.0, 0.0), (0.0, 1.0)), BOX + " where a > b + 0.01", Decode("argmax")
    )
    found = verdict(program("return 0"), claim)
    assert isinstance(found, Proved)
    assert found.arithmetic.startswith("float32")
    assert isinstance(verdict(program("return 1"), claim), Refuted)


def test_a_value_is_proved_within_its_tolerance_and_no_closer() -> None:
    network = layers((2, 8, 1), 1, "tanh")
    claim = target(network, BOX, Decode("value", tolerance=3.0))
    assert isinstance(verdict(program("return 0"), claim), Proved)
    closer = target(network, BOX, Decode("value", tolerance=0.05))
    found = verdict(program("return 0"), closer)
    assert isinstance(found, Refuted)
    assert abs(found.counterexample.network_value) > 0.05


def test_coverage_measures_how_much_is_equal() -> None:
    claim = target(linear_policy((1.0, 0.0), (0.0, 1.0)), BOX, Decode("argmax"))
    # The network says 0 where a >= b; the program errs in the strip b <= a < b + 0.2.
    found = branch_and_bound.coverage(
        program("return 0 if a > b + 0.2 else 1"), claim, time.monotonic() + 3
    )
    assert found is not None
    strip = (2 * 2 - 1.8 * 1.8) / 2 / 4
    assert found.refuted == pytest.approx(strip, abs=0.01)
    assert found.proven == pytest.approx(1 - strip, abs=0.01)
    assert found.counterexample is not None


def test_the_largest_difference_is_bounded_everywhere() -> None:
    claim = target(layers((2, 6, 1), 2, "tanh"), BOX, Decode("value", tolerance=0.01))
    stated = program("return 0.1 * a")
    largest = branch_and_bound.farthest(stated, claim, time.monotonic() + 60)
    assert largest is not None
    batch = claim.domain.sample(5000, np.random.default_rng(5))[0]
    gaps = np.abs(claim.evaluate(batch).values - 0.1 * batch["a"])
    assert gaps.max() <= largest <= 2 * gaps.max()


def test_a_softmax_at_the_end_does_not_matter_to_argmax() -> None:
    from dsl.program import Assign, Call, Variable

    plain = layers((2, 6, 3), 4)
    body = (*plain.body, Assign(("p",), (Call("softmax", (plain.result,), (("axis", -1),)),)))
    network = replace(plain, body=body, result=Variable("p"))
    claim = target(network, "a: real[0.5,0.52], b: real[0.5,0.52]", Decode("argmax"))
    best = int(claim.evaluate({"a": np.array([0.51]), "b": np.array([0.51])}).values[0])
    assert isinstance(verdict(program(f"return {best}"), claim), Proved)


def proof() -> tuple[Program, Target, Proved]:
    claim = target(layers((2, 8, 1), 1, "tanh"), BOX, Decode("value", tolerance=1.0))
    values = claim.evaluate(claim.domain.sample(500, np.random.default_rng(0))[0]).values
    stated = program(f"return {float(values.min() + values.max()) / 2}")
    half = float(values.max() - values.min()) / 2
    decode = Decode("value", tolerance=half * 1.05)
    claim = replace(claim, claim=replace(claim.claim, decode=decode))
    found = verdict(stated, claim)
    assert isinstance(found, Proved)
    return stated, claim, found


def test_evidence_is_checked_again_region_by_region_and_damage_is_noticed() -> None:
    stated, claim, found = proof()
    deadline = time.monotonic() + 30
    again = branch_and_bound.recheck(found.evidence, stated, claim, deadline=deadline)
    assert isinstance(again, Proved)
    regions = branch_and_bound.unpacked(found.evidence)
    assert regions is not None
    low, high = regions.proven
    # Without one of its regions the box is not filled.
    fewer = replace(regions, proven=(low[1:], high[1:]))
    assert branch_and_bound.rechecked(fewer, stated, claim, deadline=deadline) is None
    # Of another program the same regions prove nothing.
    other = program("return 2.5")
    assert branch_and_bound.recheck(found.evidence, other, claim, deadline=deadline) is None
    assert branch_and_bound.recheck({}, stated, claim, deadline=deadline) is None


def test_boxes_fill_a_box_or_do_not() -> None:
    zero, one = np.zeros(2), np.ones(2)
    real = np.zeros(2, bool)
    halves = np.array([[0.0, 0.0], [0.5, 0.0]]), np.array([[0.5, 1.0], [1.0, 1.0]])
    assert branch_and_bound.fills(*halves, zero, one, real)
    gap = np.array([[0.0, 0.0], [0.6, 0.0]]), halves[1]
    assert not branch_and_bound.fills(*gap, zero, one, real)
    whole = np.ones(2, bool)
    cells = np.array([[0.0, 0.0], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 1.0]])
    assert branch_and_bound.fills(*cells, zero, one, whole)
    assert not branch_and_bound.fills(*cells, zero, one, real)


@pytest.mark.parametrize("seed", range(3))
def test_verdicts_never_contradict_a_grid(seed: int) -> None:
    claim = target(layers((2, 6, 6, 3), seed, scale=1.5), BOX, Decode("argmax"))
    axis = np.linspace(-1, 1, 81)
    points = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    batch = {"a": points[:, 0], "b": points[:, 1]}
    truth = claim.evaluate(batch).values
    rng = np.random.default_rng(seed)
    for _ in range(2):
        slope, offset = rng.normal(size=2).round(2).tolist()
        stated = program(f"return {int(truth[0])} if a < {slope} * b + {offset} else 1")
        right = (evaluate.run(stated, batch) == truth).mean()
        found = branch_and_bound.coverage(stated, claim, time.monotonic() + 1)
        assert found is not None
        assert found.proven <= right + 0.03
        assert found.refuted <= 1 - right + 0.03
        whole = verdict(stated, claim, 1.0)
        assert not isinstance(whole, Proved) or right == 1.0
        assert isinstance(whole, (Proved, Refuted, Unknown))


def test_an_unfinished_search_says_how_far_it_came() -> None:
    network = linear_policy((1.0, 0.0), (0.0, 1.0))
    claim = target(network, BOX, Decode("argmax"))
    # Equal but for ties, which branch and bound cannot decide in float32.
    found = verdict(program("return 0 if a >= b else 1"), claim, 4.0)
    assert isinstance(found, Unknown)
    assert 0.9 < found.proven_fraction < 1.0
    assert not math.isnan(found.evidence["open"])


def test_recorded_fractions_are_measured_again_and_exaggerated_ones_are_not_established() -> None:
    claim = target(linear_policy((1.0, 0.0), (0.0, 1.0)), BOX, Decode("argmax"))
    stated = program("return 0 if a > b + 0.2 else 1")
    found = branch_and_bound.coverage(stated, claim, time.monotonic() + 1)
    assert found is not None
    recorded = {"kind": "REFUTED", "evidence": found.evidence}
    assert branch_and_bound.is_partial(recorded)
    assert not branch_and_bound.is_partial({"kind": "PROVED", "evidence": found.evidence})
    deadline = time.monotonic() + 30
    again = branch_and_bound.established_again(recorded, stated, claim, deadline)
    assert again is not None and again.proven_fraction >= found.proven - 0.01
    more = {"kind": "REFUTED", "evidence": {**found.evidence, "proven": 0.99}}
    soon = time.monotonic() + 2
    assert branch_and_bound.established_again(more, stated, claim, soon) is None
