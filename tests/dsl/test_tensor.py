"""Tensor primitives: their interval bounds hold every value, and exact numbers stay exact."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from dsl import networks
from dsl import types as t
from dsl.primitives.base import TypeMismatch
from dsl.primitives.tensor import TENSOR, Box, point
from dsl.program import Assign, Call, Constant, Program, Variable

RNG = np.random.default_rng(0)
PLAIN = (2, 3, 4)
WEIGHTS = [RNG.normal(size=(3 * 4, 4)), RNG.normal(size=(3 * 4, 4)), *RNG.normal(size=(2, 12))]
LSTM = [RNG.normal(size=(16, 4)), RNG.normal(size=(16, 4)), *RNG.normal(size=(2, 16))]

CASES: dict[str, list[tuple[list[Any], dict[str, Any]]]] = {
    **{
        name: [([PLAIN, PLAIN], {}), ([PLAIN, (4,)], {})]
        for name in (
            *("add", "sub", "mul", "div", "maximum", "minimum", "lt", "le", "gt", "ge", "eq", "ne"),
            *("and", "or", "mod"),
        )
    },
    **{
        name: [([PLAIN], {})]
        for name in (
            *("neg", "abs", "relu", "tanh", "sigmoid", "exp", "log", "sqrt", "erf", "silu"),
            *("softplus", "sin", "cos", "floor", "round", "sign", "not"),
        )
    },
    "pow": [([PLAIN, np.asarray(k)], {}) for k in (2.0, 3.0, -1.0, -2.0, 0.5)],
    "leaky_relu": [([PLAIN], {"slope": 0.1}), ([PLAIN], {"slope": -0.5})],
    "gelu": [([PLAIN], {"approximate": kind}) for kind in ("none", "tanh")],
    "clip": [([PLAIN], {"low": -0.5, "high": 0.5}), ([PLAIN], {"low": 0.0})],
    "where": [([PLAIN, PLAIN, PLAIN], {})],
    "cast": [([PLAIN], {"dtype": kind}) for kind in ("float64", "int64", "bool")],
    "matmul": [([PLAIN, (2, 4, 5)], {}), ([PLAIN, RNG.normal(size=(4, 5))], {})],
    "linear": [([PLAIN, RNG.normal(size=(5, 4)), RNG.normal(size=5)], {})],
    "einsum": [
        ([PLAIN, (2, 5, 4)], {"equation": "bik,bjk->bij"}),
        ([PLAIN], {"equation": "bij->bj"}),
    ],
    "conv": [
        (
            [(2, 4, 5, 5), RNG.normal(size=(6, 2, 3, 3)), RNG.normal(size=6)],
            {"stride": (2, 1), "padding": ((1, 0), (1, 1)), "dilation": (1, 1), "groups": 2},
        )
    ],
    "reshape": [([PLAIN], {"shape": (-1, 12)})],
    "transpose": [([PLAIN], {"axes": (0, 2, 1)})],
    "expand": [([(2, 1, 4)], {"shape": (-1, 3, 4)})],
    "concat": [([PLAIN, RNG.normal(size=(1, 2, 4))], {"axis": 1})],
    "slice": [([PLAIN], {"axis": 1, "start": 0, "stop": 3, "step": 2})],
    "gather": [
        ([PLAIN, np.array([2, 0])], {"axis": 1, "along": False}),
        ([RNG.normal(size=(3, 4)), np.array([[0, 2], [1, 1]])], {"axis": 0, "along": False}),
    ],
    "pad": [([PLAIN], {"before": (0, 1, 0), "after": (0, 0, 2), "value": 1.5})],
    **{
        name: [([PLAIN], {"axes": (1,)}), ([PLAIN], {"axes": (1, 2), "keepdims": True})]
        for name in ("sum", "mean", "max", "min", "prod")
    },
    "cumsum": [([PLAIN], {"axis": 2})],
    **{name: [([PLAIN], {"axis": 2})] for name in ("argmax", "argmin", "softmax", "log_softmax")},
    "max_pool": [([(2, 3, 6, 6)], {"kernel": (2, 2), "stride": (2, 1), "padding": ((1, 0),) * 2})],
    "avg_pool": [([(2, 3, 6)], {"kernel": (3,), "padding": ((1, 1),), "counted": False})],
    "layer_norm": [
        ([PLAIN, RNG.normal(size=4), RNG.normal(size=4)], {}),
        ([PLAIN], {"axes": 2, "epsilon": 1e-3}),
        ([PLAIN], {"centred": False}),
    ],
    "attention": [
        ([PLAIN, (2, 5, 4), (2, 5, 3)], {}),
        ([PLAIN, PLAIN, PLAIN], {"causal": True, "scale": 0.7}),
        ([PLAIN, PLAIN, PLAIN, RNG.normal(size=(3, 3))], {}),
        ([PLAIN, PLAIN, PLAIN, np.tri(3, dtype=bool)], {"mask": "bool"}),
    ],
    "rnn": [
        (
            [PLAIN, np.zeros((1, 12)), WEIGHTS[0], RNG.normal(size=(12, 12)), *WEIGHTS[2:]],
            {"activation": "relu"},
        ),
    ],
    "gru": [
        ([PLAIN, np.zeros((1, 4)), *WEIGHTS], {}),
        ([PLAIN, (2, 4), *WEIGHTS], {"reverse": True, "linear_before_reset": False}),
    ],
    "lstm": [([PLAIN, np.zeros((1, 4)), (2, 4), *LSTM], {})],
}
POSITIVE = {"log", "sqrt"}
LIST = [(name, place) for name in CASES for place in range(len(CASES[name]))]


def test_every_primitive_has_a_case() -> None:
    assert set(CASES) == set(TENSOR)


def boxes(name: str, given: list[Any], options: dict[str, Any], width: float) -> list[Box]:
    found = []
    for arg in given:
        if isinstance(arg, tuple):
            low = RNG.normal(size=arg)
            if name in POSITIVE or (name == "pow" and given[1] == 0.5):
                low = np.abs(low) + 0.01
            if name in ("and", "or", "not", "mod", "where"):
                low = np.round(low)
                found.append(Box(low, low + np.round(width * RNG.random(arg) * 3)))
            else:
                found.append(Box(low, low + width * RNG.random(arg)))
        else:
            found.append(point(arg))
    return found


def exact(arg: Any, array: np.ndarray) -> np.ndarray:
    """Constants as they were given: indices and masks are no reals."""
    return arg if isinstance(arg, np.ndarray) else array


@pytest.fixture(autouse=True)
def _same_numbers_in_any_order_of_tests() -> None:
    RNG.bit_generator.state = np.random.default_rng(1).bit_generator.state


@pytest.mark.parametrize(("name", "place"), LIST)
def test_bounds_hold_every_value(name: str, place: int) -> None:
    given, options = CASES[name][place]
    for width in (0.0, 1e-3, 1.0, 4.0):
        ends = boxes(name, given, options, width)
        with np.errstate(all="ignore"):
            found = TENSOR[name].bounds(*ends, **options)
        for _ in range(30):
            points = [
                exact(arg, box.low + (box.high - box.low) * np.round(RNG.random(box.shape), 1))
                for arg, box in zip(given, ends)
            ]
            if name in ("and", "or", "not", "where", "mod"):
                points = [np.round(p) for p in points]
            with np.errstate(all="ignore"):
                value = np.asarray(TENSOR[name].numpy(*points, **options)).astype(np.float64)
            slack = 1e-9 * (1 + np.abs(value))  # float64 itself rounds, by far less
            known = ~np.isnan(value)
            assert found.shape == value.shape
            assert (found.low <= value + slack)[known].all()
            assert (found.high >= value - slack)[known].all()


@pytest.mark.parametrize(("name", "place"), LIST)
def test_bounds_of_a_point_are_the_value(name: str, place: int) -> None:
    given, options = CASES[name][place]
    ends = boxes(name, given, options, 0.0)
    points = [exact(arg, box.low) for arg, box in zip(given, ends)]
    with np.errstate(all="ignore"):
        value = np.asarray(TENSOR[name].numpy(*points, **options)).astype(np.float64)
        found = TENSOR[name].bounds(*ends, **options)
    known = np.isfinite(value) & np.isfinite(found.low) & np.isfinite(found.high)
    assert known.mean() >= 0.5
    assert np.abs(found.high - found.low)[known].max() <= 1e-6 * (1 + np.abs(value[known]).max())


def test_rectifiers_of_exact_numbers_are_exact() -> None:
    third = np.array([[Fraction(1, 3), Fraction(-1, 7)]], object)
    product = TENSOR["linear"].numpy(third, np.array([[Fraction(3), Fraction(7)]], object))
    assert product.tolist() == [[Fraction(0)]]
    assert TENSOR["relu"].numpy(third).tolist() == [[Fraction(1, 3), 0]]
    assert TENSOR["argmax"].numpy(third, axis=1).tolist() == [0]


def test_rectifiers_of_terms_are_terms() -> None:
    z3 = pytest.importorskip("z3")
    x = z3.Real("x")
    found = TENSOR["relu"].numpy(np.array([[x - 1]], object))[0, 0]
    solver = z3.Solver()
    solver.add(z3.Not(found == z3.If(x > 1, x - 1, 0)))
    assert solver.check() == z3.unsat


def test_argmax_takes_the_first_of_ties() -> None:
    assert TENSOR["argmax"].numpy(np.array([[1, 3, 3]]), axis=1).tolist() == [1]
    tied = np.array([[Fraction(1), Fraction(3), Fraction(3)]], object)
    assert TENSOR["argmax"].numpy(tied, axis=1).tolist() == [1]


def test_types_are_shapes_with_a_batch() -> None:
    x = t.Tensor(t.Real(), (-1, 3, 4))
    weight = t.Tensor(t.Real(), (5, 4))
    assert TENSOR["linear"].type(x, weight) == t.Tensor(t.Real(), (-1, 3, 5))
    assert TENSOR["lt"].type(x, x) == t.Tensor(t.Bool(), (-1, 3, 4))
    with pytest.raises(TypeMismatch, match="linear cannot take"):
        TENSOR["linear"].type(x, t.Tensor(t.Real(), (5, 3)))


def network() -> Program:
    body = (
        Assign(("hidden",), (Call("linear", (Variable("x"), Constant("w"))),)),
        Assign(("out",), (Call("relu", (Variable("hidden"),)),)),
    )
    weights = np.array([[1, -1]], np.float32)
    declared = t.Tensor(t.Real(), (-1, 2))
    return Program("network", (("x", declared),), body, Variable("out"), (("w", weights),))


def test_a_network_runs_and_keeps_every_value() -> None:
    x = np.array([[3, 1], [1, 3]], np.float32)
    assert networks.run(network(), x).tolist() == [[2], [0]]
    assert networks.trace(network(), x)["hidden"].tolist() == [[2], [-2]]
    assert networks.trace(network(), x, dtype=object)["hidden"].tolist() == [[2], [-2]]
    assert networks.shapes(network())["out"] == t.Tensor(t.Real(), (-1, 1))
    assert list(networks.parameters(network())) == ["w"]
    assert networks.operations(network()) == {"linear": 1, "relu": 1}


def test_bounds_of_a_network_hold_its_values() -> None:
    box = Box(np.array([[0.0, 0.0]]), np.array([[1.0, 1.0]]))
    found = networks.bounds(network(), box)
    assert found["hidden"].low <= -1 and found["hidden"].high >= 1
    assert found["out"].low == 0 and 1 <= found["out"].high < 1.0001
