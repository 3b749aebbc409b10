"""The benchmark of what proofs of recurrent networks cost, at small sizes."""

from __future__ import annotations

from xml.etree import ElementTree

from benchmarks import recurrent_cost as cost


def test_curves_are_measured_and_drawn():
    curves = {"symbols": cost.by_length(30), "states": cost.by_states(16)}
    assert [size for size, _ in curves["symbols"]] == [10, 30]
    assert [size for size, _ in curves["states"]] == [8, 16]
    picture = ElementTree.fromstring(cost.drawn(curves))
    assert len([node for node in picture if node.tag.endswith("polyline")]) == 2


def test_a_slope_of_one_is_linear_cost():
    assert abs(cost.slope([(10, 0.1), (100, 1.0), (1000, 10.0), (10_000, 100.0)]) - 1) < 1e-9
