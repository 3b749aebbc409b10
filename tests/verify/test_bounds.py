"""Linear bounds hold at every point, whatever the functions, and a wrong relaxation is noticed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from distill.frontends import memory
from tests.verify.small_networks import layers, random_boxes, random_graph
from verify import bounds
from verify.graph import Affine, Builder, Function, Graph, Product, matrix, values
from verify.lowering import View, lowered
from verify.relaxations import FUNCTIONS, Lines, product_planes

NAMES = (*FUNCTIONS, "product")


def worst_violation(graph: Graph, node: int, seed: int, width: float, points: int = 200) -> float:
    """How far sampled values lie outside of the ranges and the linear bounds, at most."""
    low, high = random_boxes(seed, 12, graph.nodes[0].size, width)
    state = bounds.ranges(graph, low, high)
    rng = np.random.default_rng(seed + 1)
    share = rng.random((points, *low.shape))
    share[:8] = np.round(share[:8])
    sample = np.clip(low + share * (high - low), low, high)
    flat = values(graph, sample.reshape(-1, low.shape[1]))
    worst = -np.inf
    for number, value in enumerate(flat):
        table = value.reshape(points, len(low), -1)
        worst = max(worst, float((state.low[number] - table).max()))
        worst = max(worst, float((table - state.high[number]).max()))
    size = graph.nodes[node].size
    box = np.repeat(np.arange(len(low)), size)
    entry = np.tile(np.arange(size), len(low))
    for sign in (1.0, -1.0):
        linear = bounds.entry_bounds(state, node, box, entry, sign)
        for point in range(points):
            at = sample[point][box]
            below = (linear.coefficients * at).sum(1) + linear.constant
            actual = sign * flat[node].reshape(points, len(low), size)[point][box, entry]
            worst = max(worst, float((below - actual).max()))
    return worst


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("width", [1e-3, 0.3, 2.0])
def test_bounds_contain_what_is_sampled(name: str, width: float) -> None:
    for seed in range(3):
        graph, node = random_graph(seed, name)
        assert worst_violation(graph, node, seed, width) <= 0.0


@pytest.fixture
def mutated() -> Iterator[list[str]]:
    """Names of functions whose relaxations are made too tight; all are put back at the end."""
    names: list[str] = []
    originals = dict(FUNCTIONS)
    yield names
    FUNCTIONS.update(originals)


def too_tight(name: str, part: str) -> None:
    """One side of a function's lines moved inward by a tenth of the gap between them."""
    original = FUNCTIONS[name]

    class Mutant(type(original)):  # type: ignore[misc]
        def lines(self, low: np.ndarray, high: np.ndarray, parameter: float) -> Lines:
            found = original.lines(low, high, parameter)
            gap = np.maximum(
                found.high - found.low + (found.high_slope - found.low_slope) * low,
                found.high - found.low + (found.high_slope - found.low_slope) * high,
            )
            lower = found.low + (0.3 * gap if part == "low" else 0.0)
            upper = found.high - (0.3 * gap if part == "high" else 0.0)
            return Lines(found.low_slope, lower, found.high_slope, upper)

    FUNCTIONS[name] = Mutant()


@pytest.mark.parametrize("part", ["low", "high"])
@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_a_relaxation_that_is_too_tight_is_noticed(
    name: str, part: str, mutated: list[str]
) -> None:
    too_tight(name, part)
    function = FUNCTIONS[name]
    noticed = False
    for seed in range(40):
        rng = np.random.default_rng(seed)
        parameter = 2.0 if name == "power" else 0.0
        low = rng.uniform(-2, 1, 50)
        if name in ("reciprocal", "sqrt", "log"):
            low = rng.uniform(0.2, 2, 50)
        high = low + rng.uniform(0.5, 2, 50)
        lines = function.lines(low, high, parameter)
        x = low + np.linspace(0, 1, 201)[:, None] * (high - low)
        y = function.value(x, parameter)
        outside_low = lines.low_slope * x + lines.low > y + 1e-12
        outside_high = lines.high_slope * x + lines.high < y - 1e-12
        noticed = noticed or bool(outside_low.any() or outside_high.any())
    assert noticed


def test_a_product_plane_that_is_too_low_is_noticed() -> None:
    rng = np.random.default_rng(0)
    low_x, low_y = rng.uniform(-2, 1, (2, 100))
    high_x, high_y = low_x + 1, low_y + 1
    planes = product_planes(low_x, high_x, low_y, high_y)
    share = rng.random((2, 500, 100))
    x, y = low_x + share[0], low_y + share[1]
    flat = planes.left * x + planes.right * y
    assert (flat + planes.low <= x * y).all() and (flat + planes.high >= x * y).all()
    gap = planes.high - planes.low
    assert (flat + planes.low + 0.3 * gap > x * y).any()
    assert (flat + planes.high - 0.3 * gap < x * y).any()


def float32_values(graph: Graph, points: np.ndarray) -> list[np.ndarray]:
    """Every node as a float32 runtime computes it, inputs rounded first."""
    result: list[np.ndarray] = []
    for node in graph.nodes:
        match node:
            case Affine(terms=terms, bias=bias):
                total = np.broadcast_to(bias.astype(np.float32), (len(points), node.size))
                for source, m in terms:
                    part = result[source]
                    total = total + (part if m is None else part @ m.values.T.astype(np.float32))
                result.append(total.astype(np.float32))
            case Function(name=name, source=source, parameter=parameter):
                exact = FUNCTIONS[name].value(result[source], parameter)
                result.append(exact.astype(np.float32))
            case Product(left=left, right=right):
                result.append(result[left] * result[right])
            case _:
                result.append(points.astype(np.float32))
    return result


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
def test_bounds_contain_what_a_float32_runtime_computes(activation: str) -> None:
    builder = Builder()
    source = builder.cast(builder.input(3), 2.0**-24)
    network = layers((3, 20, 20, 2), 5, activation, scale=3.0)
    view = lowered(network, View(source, np.arange(3)), builder, 2.0**-24)
    graph = builder.graph()
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (3000, 3))
    # Boxes of one point: what is left of the width is the rounding.
    state = bounds.ranges(graph, points, points)
    computed = float32_values(graph, points)[view.node].astype(np.float64)
    assert (state.low[view.node] <= computed).all()
    assert (state.high[view.node] >= computed).all()
    width = (state.high[view.node] - state.low[view.node]).max()
    assert 0 < width < 1e-2


@pytest.mark.parametrize("pool", ["max", "mean"])
def test_bounds_of_convolutions_and_pools_contain_what_torch_computes(pool: str) -> None:
    torch.manual_seed(1)
    pooled = torch.nn.MaxPool2d(2) if pool == "max" else torch.nn.AvgPool2d(2)
    module = torch.nn.Sequential(
        torch.nn.Conv2d(1, 3, 3, padding=1),
        torch.nn.LeakyReLU(0.1),
        pooled,
        torch.nn.Conv2d(3, 2, 2, stride=1),
        torch.nn.Sigmoid(),
        torch.nn.Flatten(),
        torch.nn.Linear(8, 2),
    ).eval()
    runtime, translated = memory.read(module, "float32")
    network = translated((1, 6, 6))
    assert network is not None
    builder = Builder()
    source = builder.cast(builder.input(36), 2.0**-24)
    view = lowered(network, View(source, np.arange(36).reshape(1, 6, 6)), builder, 2.0**-24)
    rng = np.random.default_rng(0)
    for width in (0.0, 0.05, 0.5):
        low = rng.random((3, 36)).astype(np.float32).astype(np.float64)
        high = (low + width).astype(np.float32).astype(np.float64)
        state = bounds.ranges(builder.graph(), low, high)
        share = rng.random((300, 3, 36))
        share[:40] = np.round(share[:40])
        points = np.clip((low + share * (high - low)).astype(np.float32), low, high)
        images = points.astype(np.float32).reshape(-1, 1, 6, 6)
        outputs = np.asarray(runtime(images), np.float64).reshape(300, 3, 2)
        bottom, top = (side[view.node][:, view.places.ravel()] for side in (state.low, state.high))
        assert (bottom <= outputs).all()
        assert (outputs <= top).all()
        # Not as wide as anything would be.
        assert (top - bottom).max() < 1e-5 + 20 * width


def test_a_bias_is_joined_with_the_map_before_it_and_its_rounding_with_that_of_the_map() -> None:
    rng = np.random.default_rng(3)
    weight = rng.standard_normal((40, 30)).astype(np.float32).astype(np.float64)
    bias = rng.standard_normal(40).astype(np.float32).astype(np.float64)
    builder = Builder()
    source = builder.input(30)
    product = builder.affine(((source, matrix(weight)),), 0.0, unit=2.0**-24)
    total = builder.affine(((product, matrix(np.eye(40))),), bias, unit=2.0**-24)
    node = builder.nodes[total]
    assert isinstance(node, Affine)
    assert [place for place, _ in node.terms] == [source]
    before = builder.nodes[product]
    assert isinstance(before, Affine)
    assert node.noise > before.noise + 2.0**-24
    point = rng.standard_normal((1, 30)).astype(np.float32)
    state = bounds.ranges(builder.graph(), point.astype(float), point.astype(float))
    for order in range(50):
        places = np.random.default_rng(order).permutation(30)
        value = np.zeros(40, np.float32)
        for place in places:
            value += weight.astype(np.float32)[:, place] * point[0, place]
        value += bias.astype(np.float32)
        assert (state.low[total] <= value).all()
        assert (value <= state.high[total]).all()


def test_a_bias_is_not_joined_with_another_that_it_might_cancel() -> None:
    builder = Builder()
    source = builder.input(2)
    first = builder.affine(((source, matrix(np.ones((2, 2)))),), np.array([1e6, 1.0]))
    second = builder.affine(((first, None),), np.array([-1e6, 1.0]))
    node = builder.nodes[second]
    assert isinstance(node, Affine)
    assert node.terms == ((first, None),)


def test_without_room_for_rounding_float32_values_lie_outside() -> None:
    builder = Builder()
    source = builder.input(3)
    view = lowered(layers((3, 20, 20, 2), 5, scale=3.0), View(source, np.arange(3)), builder, 0.0)
    graph = builder.graph()
    points = np.random.default_rng(0).uniform(-1, 1, (3000, 3))
    state = bounds.ranges(graph, points, points)
    computed = float32_values(graph, points)[view.node].astype(np.float64)
    outside = (state.low[view.node] > computed) | (state.high[view.node] < computed)
    assert outside.any()


def test_inherited_bounds_only_narrow() -> None:
    graph, node = random_graph(3, "tanh")
    low, high = random_boxes(3, 6, 3, 1.0)
    whole = bounds.ranges(graph, low, high)
    middle = (low + high) / 2
    known = {n: (whole.low[n], whole.high[n]) for n in range(len(graph.nodes)) if graph.tight[n]}
    alone = bounds.ranges(graph, low, middle)
    after = bounds.ranges(graph, low, middle, known)
    assert (after.high[node] - after.low[node] <= alone.high[node] - alone.low[node] + 1e-9).all()


def test_a_division_by_an_interval_around_0_has_no_bounds() -> None:
    builder = Builder()
    inverse = builder.function("reciprocal", builder.input(1))
    last = builder.affine(((inverse, matrix(np.ones((1, 1)))),), 0.0)
    state = bounds.ranges(builder.graph(), np.array([[-1.0]]), np.array([[1.0]]))
    assert not state.high[last][0, 0] < 1e300
    assert not state.low[last][0, 0] > -1e300
