"""What is drawn: maps of the domain, machines, hidden states, features in a network."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest

from distill.report import attention, features, grids, hidden, machine, source, spectra
from distill.report.account import Account
from dsl.claim import Recurrence, Target
from dsl.domain import Domain
from dsl.parser import parse
from synth.statistics import Basis, orthonormal
from tests.distill.report.accounts import COUNTER, account


def test_the_map_of_two_inputs_outlines_every_disagreement() -> None:
    def network(x: np.ndarray) -> np.ndarray:
        return np.where((x[:, 0] == 2) & (x[:, 1] == 5), 9, x[:, 0] + x[:, 1])

    given = account("def program(a, b):\n    return a + b\n", "a: int[0..6], b: int[0..8]", network)
    network_map, program_map = grids.pictures(given)
    assert "differ on 1 of the 63 inputs" in network_map.caption
    titles = [node.text for node in ElementTree.fromstring(network_map.svg).iter() if node.text]
    assert "a = 2, b = 5: network 9, program 7" in titles
    assert program_map.title == "What the program decides"


def test_one_input_is_a_curve_with_dots_where_the_program_differs() -> None:
    given = account(
        "def program(x):\n    return 0.0\n",
        "x: real[-1,1]",
        lambda x: np.maximum(x[:, 0], 0),
        rule="value",
    )
    (picture,) = grids.pictures(given)
    assert picture.svg.count('class="dot strong"') == 55
    assert "differ on 55 of the 112 inputs" in picture.caption


def test_of_many_inputs_the_two_that_matter_are_drawn() -> None:
    given = account(
        "def program(a, b, c, d):\n    return int(b > d)\n",
        "a: real[0,1], b: real[0,1], c: real[0,1], d: real[0,1]",
        lambda x: (x[:, 1] > x[:, 3]).astype(np.float32),
    )
    (picture,) = grids.pictures(given)
    assert picture.caption.startswith("b across, d up at a = ")


def test_sequences_have_no_map() -> None:
    given = account(COUNTER, "x: seq(int[0..1], 4)", lambda x: x, pack="x")
    assert list(grids.pictures(given)) == []


def test_the_machine_of_a_loop_has_its_states_and_arrows() -> None:
    found = machine.machine_of(parse(COUNTER), Domain("x: seq(int[0..1], 6)"))
    assert found is not None
    assert found.states == ((0,), (1,), (2,))
    assert found.arrows == {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2, (2, 0): 2, (2, 1): 0}
    picture = machine.drawn(found)
    assert "A machine with 3 states over the symbols 0, 1." in picture.alternative
    assert "From (2) to (0) by 1." in picture.alternative
    ElementTree.fromstring(picture.svg)


def test_a_counter_without_end_has_no_machine() -> None:
    endless = COUNTER.replace(" % 3", "")
    assert machine.machine_of(parse(endless), Domain("x: seq(int[0..1], 6)")) is None


def test_a_loop_over_a_reversed_sequence_has_no_machine() -> None:
    backwards = COUNTER.replace("in x:", "in x[::-1]:")
    assert machine.machine_of(parse(backwards), Domain("x: seq(int[0..1], 6)")) is None


def test_hidden_states_are_coloured_by_what_the_program_keeps() -> None:
    given = account(COUNTER, "x: seq(int[0..1], 8)", lambda x: x, pack="x")

    def step(symbols: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # One-hot state of the counter, moved round by each 1.
        moved = np.roll(state, 1, axis=1)
        after = np.where(symbols.reshape(-1, 1) > 0, moved, state)
        return after @ np.arange(3.0), after

    recurrence = Recurrence(step, np.array([1.0, 0.0, 0.0], np.float32))
    target = Target(given.target.domain, given.target.claim, lambda x: x, recurrence=recurrence)
    given = Account("test", target, given.program, COUNTER, given.verdict, ())
    shown, scattered = hidden.pictures(given)
    assert shown.title == "The machine of the loop"
    assert scattered.title == "Hidden states by count"
    assert "R² = 1.00 over 1280 states" in scattered.caption
    assert "count = 2" in scattered.svg


def test_a_feature_is_found_where_it_is_a_linear_function_and_not_before() -> None:
    rng = np.random.default_rng(0)
    batch = {"a": rng.integers(0, 5, 600), "b": rng.integers(0, 5, 600)}
    program = parse("def program(a, b):\n    total = (a + b) % 5\n    return total * 2\n")
    (feature,) = [f for f in features.features(program, batch) if f.name == "total"]
    first = np.stack([batch["a"], batch["b"]], 1).astype(float)
    second = np.eye(5)[(batch["a"] + batch["b"]) % 5] @ rng.standard_normal((5, 8))
    places = tuple(
        Basis(name, orthonormal(values, 20)) for name, values in (("in", first), ("mid", second))
    )
    (reading,) = features.readings((feature,), places, order={"in": 0, "mid": 1})
    assert reading.place == "mid"
    assert reading.scores["mid"] > 0.99
    assert reading.scores["in"] < 0.2


def test_the_spectrum_of_a_wave_is_one_frequency() -> None:
    t = np.arange(31)
    rows = np.stack([np.cos(2 * np.pi * 4 * t / 31), np.sin(2 * np.pi * 4 * t / 31)], 1)
    powers = spectra.spectrum(rows)
    assert int(np.argmax(powers)) + 1 == 4
    assert powers[3] == pytest.approx(1.0)
    assert powers.sum() == pytest.approx(1.0)


def test_the_spectrum_has_all_the_variance_for_even_and_odd_lengths() -> None:
    rng = np.random.default_rng(0)
    for count in (8, 9):
        assert spectra.spectrum(rng.standard_normal((count, 3))).sum() == pytest.approx(1.0)


def test_a_template_is_found_by_correlation() -> None:
    rng = np.random.default_rng(1)
    wanted = rng.standard_normal(36)
    given = account(
        "def program(img):\n    return 0\n",
        "img: array(real[0,1], 36)",
        lambda x: (x @ wanted)[:, None],
        pack="img",
    )
    found = spectra.correlation(given, "img")
    assert found is not None
    assert np.corrcoef(found, wanted)[0, 1] > 0.98
    assert next(spectra.templates(given)).title == "Templates"


def test_names_lead_to_their_places_and_text_is_not_lost() -> None:
    shown = source.highlighted(COUNTER, {"count": "place-7"})
    assert shown.count('href="#place-7"') == 4
    assert shown.count('id="name-count"') == 1
    text = "".join(ElementTree.fromstring(shown).itertext())
    assert text.strip() == COUNTER.strip()


def test_heads_are_described_by_where_their_weight_goes() -> None:
    tokens = np.array([[0, 1, 0, 2], [2, 2, 1, 0]])
    before = np.broadcast_to(np.eye(4, k=-1) + np.diag([1.0, 0, 0, 0]), (2, 4, 4))
    assert attention.rules(before, tokens)[0].words == "the position before"
    even = np.tril(np.ones((4, 4))) / np.arange(1, 5)[:, None]
    assert attention.rules(np.broadcast_to(even, (2, 4, 4)), tokens)[0].share == 0.0
