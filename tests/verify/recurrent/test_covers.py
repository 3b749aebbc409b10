"""Covers of the states that a network reaches, and words on which it fails beyond a proof."""

from __future__ import annotations

import time

import numpy as np
import pytest

from dsl.claim import Proved
from dsl.parser import parse
from tests.verify.recurrent import networks as n
from tests.verify.recurrent.test_sequences import ADDITION, ANY, PARITY, verdict
from verify import invariants
from verify.recurrent import covers
from verify.recurrent.claims import comparison
from verify.recurrent.induction import Setting, nearest, passes, recheck
from verify.recurrent.pumping import long_difference, looping_words

PAIRS = "a: seq(int[0..1], 1..), b: seq(int[0..1], 1..)"


def setting_of(text: str, network, domain: str = ANY) -> Setting:
    target = n.target(network, domain)
    compared = comparison(parse(text), target)
    assert compared is not None
    return invariants.setting_of(compared, target)


def cover_of(setting: Setting, width: float = 0.06):
    seen = covers.visits(setting, 0)
    shapes = covers.begun(seen, 2, 0.3, 1e-3)
    return covers._covered(shapes, setting, width, time.monotonic() + 30)


@pytest.mark.parametrize(
    ("text", "network", "domain"),
    [(PARITY, n.forgetful_parity(), ANY), (ADDITION, n.binary_addition(), PAIRS)],
)
def test_a_cover_is_a_proof_by_itself(text, network, domain):
    setting = setting_of(text, network, domain)
    found, reason = cover_of(setting)
    assert reason == "closed" and found is not None
    evidence = found.evidence()
    assert recheck(evidence, setting)
    for state in np.unique(found.keys, axis=0):
        rest = {
            name: np.array(evidence[name])[(found.keys != state).any(axis=1)].tolist()
            for name in ("keys", "centre", "vectors", "radius")
        }
        assert not recheck(evidence | rest, setting)
    moved = {"centre": (found.centre + 0.4).tolist()}
    assert not recheck(evidence | moved, setting)


def test_the_cover_of_one_network_does_not_prove_another():
    found, _ = cover_of(setting_of(PARITY, n.forgetful_parity()))
    assert found is not None
    other = n.changed(n.forgetful_parity(), "w2", (0, 2), 30.0)
    assert not recheck(found.evidence(), setting_of(PARITY, other))


@pytest.mark.parametrize("by", [0.02, 0.3])
def test_a_network_that_drifts_or_errs_has_no_cover(by):
    setting = setting_of(PARITY, n.changed(n.parity(), "b2", (0,), by))
    reasons: list[str] = []
    deadline = time.monotonic() + 4
    assert covers.covered(setting, seed=0, deadline=deadline, reasons=reasons) is None
    assert reasons


def test_an_image_may_lie_in_another_region_than_the_nearest():
    setting = setting_of(PARITY, n.forgetful_parity())
    found, _ = cover_of(setting)
    assert found is not None
    small = found.evidence()
    for name in ("keys", "centre", "vectors", "radius"):
        # A tiny region in the middle of each is nearer to some images, and holds few of them.
        again = np.array(small[name])
        small[name] = np.concatenate([again, again / 1e3 if name == "radius" else again]).tolist()
    assert recheck(small, setting)


def test_regions_of_a_key_are_ranked_by_their_distance():
    setting = setting_of(PARITY, n.forgetful_parity())
    found, _ = cover_of(setting)
    assert found is not None
    passed = passes(found, setting, 1000, np.inf, neighbours=8)
    assert passed is not None and passed.closed
    key, point = found.keys[:1], found.centre[:1]
    offsets = [nearest(found, key, point, rank)[1][0] for rank in range(3)]
    assert offsets[0] == 0 and offsets == sorted(offsets)
    assert nearest(found, key, point, len(found.keys))[0][0] == -1


def test_words_go_round_short_loops_first():
    words = looping_words(2, 6, 0)
    assert words[:2].tolist() == [[0] * 6, [1] * 6]
    assert [1, 0, 1, 0, 1, 0] in words.tolist()
    assert [0, 1, 1, 1, 1, 1] in words.tolist()


def test_a_word_beyond_a_proof_is_found_and_is_as_short_as_its_beginning_allows():
    target = n.target(n.changed(n.parity(), "b2", (0,), 0.004), ANY)
    program = parse(PARITY)
    compared = comparison(program, target)
    assert compared is not None
    deadline = time.monotonic() + 20
    found = long_difference(program, target, compared, seed=0, deadline=deadline)
    assert found is not None
    word = found.inputs["x"]
    assert 60 < len(word) < 400
    assert found.program_value[:-1] == found.network_value[:-1]
    assert found.program_value[-1] != found.network_value[-1]


def test_a_proof_to_a_length_says_which_longer_word_differs(monkeypatch):
    monkeypatch.setattr(invariants, "LONGEST", 30)
    target = n.target(n.changed(n.parity(), "b2", (0,), 0.004), ANY)
    found = verdict(invariants, PARITY, target, seconds=8.0)
    assert isinstance(found, Proved) and found.proven_domain == "x: seq(int[0..1], 1..30)"
    differs = found.evidence["differs"]
    assert len(differs["inputs"]["x"]) == differs["length"] > 30
    assert str(differs["length"]) in found.evidence["stopped"]


def test_no_word_is_found_where_a_network_is_right():
    target = n.target(n.forgetful_parity(), ANY)
    program = parse(PARITY)
    compared = comparison(program, target)
    assert compared is not None
    deadline = time.monotonic() + 20
    assert long_difference(program, target, compared, seed=0, deadline=deadline) is None
