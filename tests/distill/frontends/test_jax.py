"""JAX functions translate, and the translation computes what JAX computes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from distill.frontends import jax as front
from dsl import networks
from dsl.errors import DistillError

RNG = np.random.default_rng(0)


def weights(*shapes: tuple[int, ...]) -> list[Any]:
    return [RNG.normal(size=shape).astype(np.float32) for shape in shapes]


def reals(*shape: int) -> np.ndarray:
    return RNG.normal(size=(5, *shape)).astype(np.float32)


def mlp(params: Any, x: Any) -> Any:
    return jax.nn.relu(x @ params["in"]["w"] + params["in"]["b"]) @ params["out"]["w"]


def recurrent(params: Any, x: Any) -> Any:
    def step(state: Any, item: Any) -> Any:
        state = jnp.tanh(jnp.concatenate([item, state], -1) @ params[0])
        return state, state

    _, states = jax.lax.scan(step, jnp.zeros((x.shape[0], 3)), jnp.swapaxes(x, 0, 1))
    return jnp.swapaxes(states, 0, 1)


def attention(params: Any, x: Any) -> Any:
    h = params[0][x] + params[1][: x.shape[1]]
    scores = jnp.einsum("btd,bsd->bts", h, h) / 2.0
    scores = jnp.where(jnp.tril(jnp.ones((x.shape[1],) * 2, bool)), scores, -1e9)
    h = h + jax.nn.softmax(scores, -1) @ h
    h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-5)
    return jax.nn.gelu(h)


def image(params: Any, x: Any) -> Any:
    y = jax.lax.conv_general_dilated(
        x, params[0], (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return jax.nn.silu(y).reshape(x.shape[0], -1)


FUNCTIONS = {
    "mlp": (
        mlp,
        {
            "in": dict(zip("wb", weights((4, 6), (6,)))),
            "out": dict(zip("w", weights((6, 2)))),
        },
        reals(4),
    ),
    "scan": (recurrent, weights((5, 3)), reals(6, 2)),
    "attention": (attention, weights((7, 4), (9, 4)), RNG.integers(0, 7, (5, 6)).astype(np.int32)),
    "image": (image, weights((3, 3, 2, 4)), reals(6, 6, 2)),
    "vmapped": (
        lambda params, x: jax.vmap(lambda row: jnp.maximum(params[0] @ row, 0.0))(x),
        weights((3, 4)),
        reals(4),
    ),
    "loop": (
        lambda params, x: jax.lax.fori_loop(0, 3, lambda i, h: jnp.sin(h @ params[0]) + i, x),
        weights((4, 4)),
        reals(4),
    ),
    "choice": (
        lambda params, x: jax.vmap(
            lambda row: jax.lax.cond(row[0] > 0, lambda r: r @ params[0], lambda r: -r, row)
        )(x),
        weights((4, 4)),
        reals(4),
    ),
    "last": (lambda params, x: x[:, -1] * jax.nn.sigmoid(params[0]), weights((2,)), reals(4, 2)),
    "places": (lambda params, x: jnp.argmax(x, -1) + jnp.cumsum(x, 1)[:, 0], [], reals(4)),
    "one hot": (
        lambda params, x: jax.nn.one_hot(x, 7).reshape(x.shape[0], -1) @ params[0],
        weights((28, 3)),
        RNG.integers(0, 7, (5, 4)).astype(np.int32),
    ),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_translation_computes_what_jax_computes(name: str) -> None:
    function, params, x = FUNCTIONS[name]
    program = front.program(function, params, x.shape[1:], str(x.dtype))
    expected = front.runtime(function, params)(x)
    found = networks.run(program, x)
    assert found.shape == expected.shape
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_parameters_keep_their_places_as_names() -> None:
    function, params, x = FUNCTIONS["mlp"]
    program = front.program(function, params, x.shape[1:])
    assert {"in/w", "in/b", "out/w"} <= set(networks.parameters(program))


def test_all_operations_without_translation_are_listed() -> None:
    with pytest.raises(DistillError) as caught:
        front.program(lambda x: jnp.sort(x) + jnp.fft.fft(x).real, None, (4,))
    assert caught.value.code == "D020"
    assert "sort x1 (test_jax.py:" in caught.value.notes[0]
    assert "fft x1 (test_jax.py:" in caught.value.notes[0]


def test_operations_that_no_output_needs_may_have_no_translation() -> None:
    def function(x: Any) -> Any:
        jnp.sort(x)  # traced, and left unused
        return x * 2

    assert len(front.program(function, None, (4,)).body) == 1
