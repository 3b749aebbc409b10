"""Functions that jax.export serialised translate, and the translation computes what JAX does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

from distill.frontends import stablehlo
from distill.frontends.registry import declared, frontend
from distill.frontends.source import Source
from dsl import networks
from dsl.errors import DistillError
from tests.distill.frontends.test_jax import FUNCTIONS


def saved(function: Any, rows: str, dtype: Any, path: Path) -> Path:
    """The function exported for rows such as `batch, 4`."""
    shape = jax.ShapeDtypeStruct(export.symbolic_shape(rows), dtype)
    path.write_bytes(export.export(jax.jit(function))(shape).serialize())
    return path


def agrees(path: Path, x: np.ndarray) -> None:
    source = Source(path.parent, path)
    reader = frontend(source)
    assert reader.name == "jax.export"
    program = stablehlo.program(stablehlo.read(path), path.name, x.shape[1:])
    expected = reader.runtime(source)(x)
    found = networks.run(program, x)
    assert found.shape == expected.shape
    assert np.allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_translation_computes_what_jax_computes(name: str, tmp_path: Path) -> None:
    function, params, x = FUNCTIONS[name]
    params = jax.tree_util.tree_map(jnp.asarray, params)
    rows = ", ".join(["batch", *map(str, x.shape[1:])])
    path = saved(lambda x: function(params, x), rows, x.dtype, tmp_path / "model.jax")
    agrees(path, x)
    assert declared(Source(tmp_path, path)) == (x.shape[1:], x.dtype.name)


X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
OPERATIONS = {
    "reductions": lambda x: jnp.stack([x.max(1), x.min(1), x.prod(1), x.sum(1)], 1),
    "places": lambda x: jnp.argmax(x, 1) * 10 + jnp.argmin(x, 1),
    "conditions": lambda x: jnp.any((x > 0) & ~(x > 1), 1) ^ jnp.all(x < 0.5, 1),
    "choices": lambda x: jnp.clip(jnp.where(x > 0, jnp.sqrt(jnp.abs(x)), jnp.expm1(x)), -0.5, 1.0),
    "whole numbers": lambda x: jnp.floor(x * 5).astype(int) // 3 + jnp.floor(x * 5).astype(int) % 3,
    "slices": lambda x: jnp.concatenate([x[:, ::-1], x[:, 1:3], jnp.pad(x, ((0, 0), (1, 2)))], 1),
    "running sums": lambda x: jnp.cumsum(x, 1),
    "outer": lambda x: jnp.einsum("bi,bj->bij", x, jax.nn.gelu(x, approximate=False)),
    "pooled": lambda x: jax.lax.reduce_window(x, 0.0, jax.lax.add, (1, 2), (1, 1), "SAME"),
    "entries": lambda x: x[:, jnp.array([3, 0, 3])] * jnp.arange(3.0) + x[:, 1:2],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_computes_what_jax_computes(name: str, tmp_path: Path) -> None:
    agrees(saved(OPERATIONS[name], "batch, 4", X.dtype, tmp_path / "model.jax"), X)


def test_a_function_for_one_row_runs_row_by_row(tmp_path: Path) -> None:
    agrees(saved(lambda x: jnp.tanh(x) @ X.T, "1, 4", X.dtype, tmp_path / "model.jax"), X)


def test_a_function_for_several_rows_or_arrays_is_refused(tmp_path: Path) -> None:
    path = saved(lambda x: x.sum(1), "3, 4", X.dtype, tmp_path / "model.jax")
    with pytest.raises(DistillError, match="was exported for batches of 3 rows"):
        stablehlo.runtime(path)
    shapes = jax.ShapeDtypeStruct((4,), X.dtype), jax.ShapeDtypeStruct((1, 4), X.dtype)
    path.write_bytes(export.export(jax.jit(lambda w, x: x @ w))(*shapes).serialize())
    with pytest.raises(DistillError, match="takes 2 arrays, not one batch of rows"):
        stablehlo.read(path)


def test_all_operations_without_translation_are_listed_with_their_lines(tmp_path: Path) -> None:
    def function(x: Any) -> Any:
        return jnp.sort(x, 1) + jnp.arctan2(x, x)

    path = saved(function, "batch, 4", X.dtype, tmp_path / "model.jax")
    with pytest.raises(DistillError) as caught:
        stablehlo.program(stablehlo.read(path), path.name, (4,))
    assert caught.value.code == "D020"
    assert "sort x1 (test_stablehlo.py:" in caught.value.notes[0]
    assert "atan2 x1 (test_stablehlo.py:" in caught.value.notes[0]


def test_a_function_that_calls_code_outside_itself_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.jax"
    shape = jax.ShapeDtypeStruct(export.symbolic_shape("batch, 4, 4"), X.dtype)
    allowed = [export.DisabledSafetyCheck.custom_call("my_kernel")]

    def function(x: Any) -> Any:
        result = jax.ShapeDtypeStruct(x.shape, x.dtype)
        return jax.ffi.ffi_call("my_kernel", result)(x)

    found = export.export(jax.jit(function), disabled_checks=allowed)(shape)
    path.write_bytes(found.serialize())
    with pytest.raises(DistillError) as caught:
        stablehlo.runtime(path)
    assert caught.value.code == "D015"
    assert caught.value.notes == ("it asks for my_kernel",)


def test_what_is_no_exported_function_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.jax"
    for content in (b"", b"nothing", bytes(200)):
        path.write_bytes(content)
        with pytest.raises(DistillError, match=r"is not a readable jax.export function"):
            stablehlo.read(path)
