"""How far runtimes are from real arithmetic, and proofs that must not overlook it."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dsl import networks
from dsl.claim import Decode, Proved, Refuted, Target
from dsl.networks import bindings
from dsl.parser import parse
from dsl.primitives.tensor import Box
from dsl.program import Assign, Call, Constant, Expr, Program, Variable
from tests.verify.small_networks import layers, target
from verify.methods import methods
from verify.rounding import Unbounded, precision, refuse_overflow, rounded


def chain(*calls: tuple[Any, ...], **constants: Any) -> Program:
    """A network of calls one after the other: (primitive, further arguments, options)."""
    body, last = [], "x"
    for number, (primitive, more, options) in enumerate(calls):
        args: tuple[Expr, ...] = (Variable(last), *(Constant(name) for name in more))
        body.append(Assign((f"v{number}",), (Call(primitive, args, tuple(options.items())),)))
        last = f"v{number}"
    arrays = tuple((name, np.asarray(value)) for name, value in constants.items())
    return Program("network", (("x", None),), tuple(body), Variable(last), arrays)


def dense(rows: Any) -> np.ndarray:
    return np.array(rows, np.float32)


def random_network(seed: int) -> Program:
    """Dense layers with every activation in turn, and layer norm, softmax or attention after."""
    rng = np.random.default_rng(seed)
    kinds = ("relu", "tanh", "sigmoid", "gelu", "silu", "exp", "abs", "softplus", "leaky_relu")
    traced = layers((3, 5, 4), seed, kinds[seed % len(kinds)], scale=float(rng.choice([0.5, 3.0])))
    extra = (("layer_norm", {}), ("softmax", {"axis": -1}), ("mean", {"axes": (1,)}))[seed % 3]
    call = Call(extra[0], (traced.result,), tuple(extra[1].items()))
    return replace(
        traced, body=(*traced.body, Assign(("after",), (call,))), result=Variable("after")
    )


@pytest.mark.parametrize("seed", range(27))
def test_float32_stays_within_the_bound_and_reals_within_the_box(seed: int) -> None:
    traced = random_network(seed)
    rng = np.random.default_rng(seed)
    low = rng.uniform(-2, 1, (1, 3))
    for width in (0.0, 0.1):
        high = low + width
        found = rounded(traced, Box(low, high), "float32")
        points = rng.uniform(low, high, (400, 3))
        real = networks.run(traced, points, dtype=np.float64)
        narrow = networks.run(traced, points.astype(np.float32))
        assert narrow.dtype == np.float32
        assert (real >= found.box.low - 1e-12).all() and (real <= found.box.high + 1e-12).all()
        assert (np.abs(narrow - real) <= found.error).all()
        assert found.error.max() < 1e-2


@pytest.mark.parametrize("seed", range(0, 27, 3))
def test_exact_inputs_are_rounded_on_the_way(seed: int) -> None:
    traced = random_network(seed)
    points = np.random.default_rng(seed).normal(size=(300, 3)).astype(np.float32)
    exact = points.astype(np.float64)
    found = rounded(traced, Box(exact, exact), "float32", exact_input=True)
    off = np.abs(networks.run(traced, points) - networks.run(traced, exact, dtype=np.float64))
    assert (off <= found.error).all()


def of_three(equation: str, *constants: np.ndarray) -> Program:
    """A sum of products of the input and two constants."""
    arrays = tuple((f"c{number}", array) for number, array in enumerate(constants))
    args = (Variable("x"), *(Constant(name) for name, _ in arrays))
    call = Call("einsum", args, (("equation", equation),))
    return Program("network", (("x", None),), (Assign(("y",), (call,)),), Variable("y"), arrays)


@pytest.mark.parametrize("seed", range(6))
def test_sums_of_products_of_three_arrays_stay_within_the_bound_in_any_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    equation = "bk,ke,ed->bd"
    x, keys, out = (rng.normal(size=s).astype(np.float32) for s in ((50, 40), (40, 30), (30, 4)))
    exact = x.astype(np.float64)
    found = rounded(of_three(equation, keys, out), Box(exact, exact), "float32")
    real = np.einsum(equation, exact, keys.astype(np.float64), out.astype(np.float64))
    assert (real >= found.box.low - 1e-12).all() and (real <= found.box.high + 1e-12).all()
    for computed in ((x @ keys) @ out, x @ (keys @ out), np.einsum(equation, x, keys, out)):
        assert computed.dtype == np.float32
        assert (np.abs(computed - real) <= found.error).all()
    assert found.error.max() < 0.1


def test_what_is_hidden_by_an_infinite_mask_does_not_blur_the_rest() -> None:
    seen = np.tri(3, dtype=bool)
    body = (
        Assign(("m",), (Call("where", (Constant("seen"), Variable("x"), Constant("hidden"))),)),
        Assign(("y",), (Call("softmax", (Variable("m"),), (("axis", -1),)),)),
    )
    constants = (("seen", seen), ("hidden", np.array(-np.inf, np.float32)))
    masked = Program("network", (("x", None),), body, Variable("y"), constants)
    scores = np.zeros((1, 3, 3))
    found = rounded(masked, Box(scores - 1e-3, scores + 1e-3), "float32")
    assert found.error.max() < 1e-5
    assert np.array_equal(found.box.high[0] > 0, seen)


def test_the_bound_is_no_mere_constant() -> None:
    cancelling = chain(
        ("linear", ("w", "b"), {}),
        ("linear", ("v",), {}),
        w=dense([[1e8], [1e8]]),
        b=dense([1, 0]),
        v=dense([[1, -1]]),
    )
    box = Box(np.zeros((1, 1)), np.ones((1, 1)))
    assert rounded(cancelling, box, "float32").error.max() > 1.0
    assert (
        rounded(layers((3, 5, 4), 0), Box(np.zeros((1, 3)), np.ones((1, 3))), "float32")
        .error[0]
        .max()
        < 1e-5
    )


def test_half_precision_overflow_and_unknown_operations_have_no_bound() -> None:
    box = Box(np.zeros((1, 1)), np.ones((1, 1)))
    huge = chain(("linear", ("w",), {}), ("linear", ("w",), {}), w=dense([[1e30]]))
    half = chain(("cast", (), {"dtype": "float16"}))
    with pytest.raises(Unbounded, match="overflow"):
        rounded(huge, box, "float32")
    with pytest.raises(Unbounded, match="overflow"):
        refuse_overflow(huge, box, "float32")
    with pytest.raises(Unbounded, match="float16"):
        precision(half, "float32")
    with pytest.raises(Unbounded, match="floor"):
        rounded(chain(("floor", (), {})), box, "float32")
    wrapping = chain(
        ("cast", (), {"dtype": "int8"}), ("mul", ("k",), {}), k=np.array([100], np.int8)
    )
    with pytest.raises(Unbounded, match="wrap"):
        rounded(wrapping, Box(box.low, 5 * box.high), "int64", exact_input=True)


def test_integers_that_a_network_turns_into_float32_are_rounded_in_float32() -> None:
    traced = chain(("cast", (), {"dtype": "float32"}), ("linear", ("w",), {}), w=dense([[0.1]]))
    assert precision(traced, "int64") == "float32"
    assert precision(chain(("neg", (), {})), "float64") == "float64"
    assert precision(traced, "float64") == "float32"


# Networks whose real function is one program, and whose float32 runtime computes another.


def lost_in_the_sum() -> tuple[Target, str]:
    """relu(1e8 a + 1) - relu(1e8 a) is 1 in real numbers, and mostly 0 in float32."""
    traced = chain(
        ("linear", ("w", "b"), {}),
        ("relu", (), {}),
        ("linear", ("v",), {}),
        w=dense([[1e8], [1e8]]),
        b=dense([1, 0]),
        v=dense([[1, -1]]),
    )
    return target(traced, "a: real[0,1]", Decode("threshold", threshold=0.5)), "True"


def lost_value() -> tuple[Target, str]:
    found, _ = lost_in_the_sum()
    decode = Decode("value", tolerance=0.25)
    return replace(found, claim=replace(found.claim, decode=decode)), "1.0"


def lost_affinely() -> tuple[Target, str]:
    """(1e8 a + 1) - 1e8 a, without a bend."""
    traced = chain(
        ("linear", ("w", "b"), {}),
        ("linear", ("v",), {}),
        w=dense([[1e8], [1e8]]),
        b=dense([1, 0]),
        v=dense([[1, -1]]),
    )
    return target(traced, "a: real[0,1]", Decode("value", tolerance=0.25)), "1.0"


def overflowing(domain: str = "a: real[1,2]") -> tuple[Target, str]:
    """1e30 a, times 1e30, times 1e-30 twice: a in real numbers, and infinite in float32."""
    traced = chain(
        ("linear", ("w",), {}),
        ("relu", (), {}),
        ("linear", ("w",), {}),
        ("linear", ("v",), {}),
        ("linear", ("v",), {}),
        ("clip", (), {"low": -5.0, "high": 5.0}),
        w=dense([[1e30]]),
        v=dense([[1e-30]]),
    )
    return target(traced, domain, Decode("threshold", threshold=3.0)), "False"


def whole_numbers() -> tuple[Target, str]:
    """Integer inputs, of which float32 has not all: a + 0.5 rounds to even beyond 2**23."""
    traced = chain(
        ("cast", (), {"dtype": "float32"}),
        ("linear", ("w", "b"), {}),
        ("linear", ("v",), {}),
        w=dense([[1, 0], [1, 0]]),
        b=dense([0.5, 0]),
        v=dense([[1, -1]]),
    )
    low = 2**24
    found = target(
        traced, f"a: int[{low}..{low + 40}], b: int[0..1000000]", Decode("threshold", 0.25)
    )
    return replace(found, claim=replace(found.claim, dtype="int64")), "True"


EXPLOITS = [lost_in_the_sum, lost_value, lost_affinely, overflowing, whole_numbers]


@pytest.mark.parametrize("exploit", EXPLOITS, ids=lambda f: f.__name__)
def test_no_method_proves_what_only_real_numbers_satisfy(exploit: Any) -> None:
    found, text = exploit()
    program = parse(f"def program({', '.join(found.domain.names)}):\n    return {text}\n")
    for name, method in methods():
        if name == "enumeration":
            continue
        verdict = method(program, found, deadline=time.monotonic() + 10, seed=0, evidence={})
        assert not isinstance(verdict, Proved), name


@pytest.mark.parametrize("exploit", EXPLOITS, ids=lambda f: f.__name__)
def test_the_runtime_itself_disagrees(exploit: Any) -> None:
    from verify import sampling

    found, text = exploit()
    program = parse(f"def program({', '.join(found.domain.names)}):\n    return {text}\n")
    verdict = sampling.verify(
        program, found, deadline=time.monotonic() + 20, seed=0, evidence={}, samples=2000
    )
    assert isinstance(verdict, Refuted)


def test_every_rule_is_met_by_some_network_of_these_tests() -> None:
    used = {call.primitive for seed in range(27) for _, call in bindings(random_network(seed))}
    assert {"linear", "layer_norm", "softmax", "mean", "exp", "gelu", "tanh"} <= used


@pytest.mark.parametrize("turned", [False, True])
def test_exact_zeros_of_a_matrix_round_nothing(turned: bool) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(200, 4)).astype(np.float32)
    weight[3:, :3] = 0.0
    name, held = ("linear", weight.T.copy()) if turned else ("matmul", weight)
    call = Call(name, (Variable("x"), Constant("w")))
    network = Program(
        "network", (("x", None),), (Assign(("y",), (call,)),), Variable("y"), (("w", held),)
    )
    x = rng.normal(size=(50, 200)).astype(np.float32)
    found = rounded(network, Box(x.astype(float), x.astype(float)), "float32", exact_input=True)
    exact = x.astype(np.float64) @ weight.astype(np.float64)
    assert (np.abs((x @ weight).astype(np.float64) - exact) <= found.error).all()
    assert found.error[:, :3].max() < 2e-6 < found.error[:, 3].max()
