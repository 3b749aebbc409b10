"""Forms carried forwards contain what is sampled, and such as are too tight are noticed."""

from __future__ import annotations

import numpy as np
import pytest

from tests.verify.small_networks import layers, random_boxes, random_graph
from verify import bounds, zonotopes
from verify.graph import Builder, Graph, matrix, values
from verify.lowering import View, lowered
from verify.relaxations import FUNCTIONS, Band, Lines, Relu
from verify.zonotopes import Symbols


def worst_violation(
    graph: Graph, low: np.ndarray, high: np.ndarray, seed: int = 0, points: int = 400
) -> float:
    """How far sampled values lie outside of the forms that are carried forwards, at most."""
    state = bounds.ranges(graph, low, high, refine=False, forward=True)
    share = np.random.default_rng(seed).random((points, *low.shape))
    share[:40] = np.round(share[:40])
    sample = np.clip(low + share * (high - low), low, high)
    flat = values(graph, sample.reshape(-1, low.shape[1]))
    assert sum(graph.inner) > 2 and len(state.forms) == sum(graph.inner)
    worst = -np.inf
    for number, form in state.forms.items():
        table = flat[number].reshape(points, len(low), -1)
        bottom, top = form.ends
        worst = max(worst, float((bottom - table).max()), float((table - top).max()))
    return worst


@pytest.mark.parametrize("name", [*FUNCTIONS, "product"])
@pytest.mark.parametrize("width", [0.0, 1e-3, 0.3, 2.0])
def test_forms_contain_what_is_sampled(name: str, width: float) -> None:
    for seed in range(3):
        graph, _ = random_graph(seed, name)
        low, high = random_boxes(seed, 12, 3, width)
        assert worst_violation(graph, low, high, seed) <= 0.0


def deep(scale: float = 1.5) -> Graph:
    builder = Builder()
    source = builder.input(3)
    network = layers((3, 12, 12, 12, 4), 0, scale=scale)
    view = lowered(network, View(source, np.arange(3)), builder, 0.0)
    builder.function("relu", builder.affine(((view.node, matrix(np.eye(4))),), 0.1))
    return builder.graph()


def test_forms_of_a_deep_network_contain_what_is_sampled_and_are_narrower_than_intervals() -> None:
    graph = deep()
    for width in (1e-6, 0.1, 1.0):
        low, high = random_boxes(0, 12, 3, width)
        assert worst_violation(graph, low, high) <= 0.0
        plain = bounds.ranges(graph, low, high, refine=False)
        carried = bounds.ranges(graph, low, high, refine=False, forward=True)
        widths = [(state.high[-1] - state.low[-1]).mean() for state in (plain, carried)]
        assert widths[1] < 0.7 * widths[0]


def narrow_band(factor: float, shift: float) -> type[Relu]:
    class Mutant(Relu):
        def band(self, lines: Lines, low: np.ndarray, high: np.ndarray) -> Band:
            found = Relu.band(self, lines, low, high)
            return Band(found.slope, found.offset + shift * found.loss, factor * found.loss)

    return Mutant


@pytest.mark.parametrize(("factor", "shift"), [(0.5, 0.0), (1.0, 1.0), (1.0, -1.0), (0.0, 0.0)])
def test_a_band_that_is_too_narrow_or_misplaced_is_noticed(
    factor: float, shift: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FUNCTIONS, "relu", narrow_band(factor, shift)())
    low, high = random_boxes(1, 40, 3, 1.0)
    assert worst_violation(deep(), low, high, points=4000) > 0.0


def test_a_symbol_given_to_the_wrong_box_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    original = Symbols._with

    def shifted(self: Symbols, *args: np.ndarray) -> object:
        form = original(self, *args)
        self.owner = np.roll(self.owner, 1)
        return form

    monkeypatch.setattr(Symbols, "_with", shifted)
    low, high = random_boxes(1, 12, 3, 1.0)
    assert worst_violation(deep(), low, high) > 0.0


def test_without_room_for_float32_forms_do_not_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zonotopes, "SINGLE", 0.0)
    low, high = random_boxes(1, 200, 3, 0.5)
    builder = Builder()
    first = builder.affine(((builder.input(3), matrix(np.eye(3) * (1 + 1e-7 / 3))),), 0.0)
    builder.function("relu", builder.affine(((first, matrix(np.eye(3)[::-1])),), 5.0))
    assert worst_violation(builder.graph(), low, high) > 0.0
    monkeypatch.undo()
    assert worst_violation(builder.graph(), low, high) <= 0.0


@pytest.mark.parametrize("activation", ["relu", "tanh"])
def test_forms_contain_what_a_float32_runtime_computes(activation: str) -> None:
    from tests.verify.test_bounds import float32_values

    builder = Builder()
    source = builder.cast(builder.input(3), 2.0**-24)
    network = layers((3, 20, 20, 20), 5, activation, scale=3.0)
    view = lowered(network, View(source, np.arange(3)), builder, 2.0**-24)
    builder.function("relu", builder.affine(((view.node, matrix(np.eye(20))),), 0.0))
    graph = builder.graph()
    points = np.random.default_rng(0).uniform(-1, 1, (3000, 3))
    state = bounds.ranges(graph, points, points, refine=False, forward=True)
    computed = float32_values(graph, points)[view.node].astype(np.float64)
    bottom, top = state.forms[view.node].ends
    assert (bottom <= computed).all() and (computed <= top).all()
    assert (top - bottom).max() < 1e-2


def test_rounding_that_adds_up_in_forms_is_bounded_backwards(monkeypatch) -> None:
    """What the inputs are rounded by cancels in the last row, but not in the rest of a form."""
    builder = Builder()
    source = builder.cast(builder.input(2), 2.0**-24)
    weights = ((3000.0 * np.array([[1, 0], [0, 1], [1, 1]]), 1.0), (np.eye(3), 1.0))
    last = source
    for weight, bias in weights:
        last = builder.function("relu", builder.affine(((last, matrix(weight)),), bias))
    row = builder.affine(((last, matrix(np.array([[1.0, 1.0, -1.0]]))),), -2.0)
    builder.function("relu", row)
    graph = builder.graph()
    low, high = np.full((1, 2), 0.5), np.full((1, 2), 0.5 + 2.0**-20)

    def width() -> float:
        state = bounds.ranges(graph, low, high, refine=False, forward=True)
        return float((state.high[row] - state.low[row]).max())

    found = width()
    monkeypatch.setattr(bounds, "_ROUNDED", np.inf)
    alone = width()
    backwards = bounds.ranges(graph, low, high)
    least = float((backwards.high[row] - backwards.low[row]).max())
    assert least <= found <= 1.01 * least < 0.1 * alone
