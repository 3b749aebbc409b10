"""Candidates that may stand for some of the inputs."""

import itertools

import numpy as np

from synth.sufficiency import merits

A, B, C = np.array(list(itertools.product(range(6), repeat=3))).T
PLACES = np.array([A, B, C])


def test_a_variable_of_the_rule_replaces_its_inputs():
    values = np.maximum(A, B) + C % 2
    found = merits(np.array([np.maximum(A, B), C % 2, np.minimum(A, B)]), PLACES, values)
    assert found[0] > 100 and found[1] > 100
    assert found[2] == 0


def test_what_replaces_nothing_has_no_merit():
    values = (A + B + C) % 6
    found = merits(np.array([A, A * 36 + B * 6 + C, A * B]), PLACES, values)
    assert found.tolist() == [0, 0, 0]


def test_more_that_is_merged_rightly_is_more_evidence():
    values = np.abs(A - B)
    difference, distance = merits(np.array([A - B, np.abs(A - B)]), PLACES, values)
    assert 0 < difference < distance


def test_an_input_that_the_output_does_not_depend_on_is_no_evidence():
    values = A + B
    found = merits(np.array([C % 2, A + B]), PLACES, values)
    assert found[0] == 0 and found[1] > 0


def test_one_value_everywhere_gives_no_evidence():
    assert merits(np.array([A + B]), PLACES, np.zeros_like(A)).tolist() == [0]


def test_merits_follow_the_definition_on_random_tables():
    rng = np.random.default_rng(0)
    for _ in range(50):
        values = rng.integers(0, 3, 6)[np.maximum(A, rng.integers(0, 6, 6)[B])]
        row = rng.integers(0, 9, 6)[A] * 2 + rng.integers(0, 3, 6)[B]
        found = merits(row[None], PLACES, values)[0]
        replaces = any(
            len({(r, *k) for r, *k in zip(row, *PLACES[rest], strict=True)})
            == len({(v, r, *k) for v, r, *k in zip(values, row, *PLACES[rest], strict=True)})
            and len({(r, *k) for r, *k in zip(row, *PLACES[rest], strict=True)}) < 36
            for rest in ([], [0], [1])
        )
        assert (found > 0) == (replaces and len(set(values)) > 1)
