"""Models in memory: modules of PyTorch, Flax, Haiku and Equinox, JAX functions, scikit-learn
perceptrons, plain functions."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends import architectures, jax_modules, sklearn
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program


def read(source: Any, dtype: str) -> tuple[Runtime, Translation]:
    """The runtime and the translation of a module, an estimator, a function, or a pair of a JAX
    function or module and its parameters.  Raises D012 for a module in training mode."""
    if getattr(source, "training", False):
        raise DistillError(
            "D012",
            "the module is in training mode, where dropout and batch norm are random",
            remedy="call module.eval() first",
            exit_code=4,
        )
    if hasattr(source, "state_dict"):
        from distill import oracle
        from distill.frontends import torch

        return oracle.from_torch(source), torch.from_module(source, dtype)
    if sklearn.is_perceptron(source):
        return sklearn.runtime(source), sklearn.translation(source)
    pair = jax_modules.paired(source)
    if pair is not None:
        from distill.frontends import jax

        function, params = pair
        return jax.runtime(function, params), jax.translation(function, params, dtype)
    return _function(source, dtype)


def program(source: Any, shape: tuple[int, ...], dtype: str) -> Program:
    """The network for rows of a shape; raises what keeps a source from being one."""
    if hasattr(source, "state_dict"):
        from distill.frontends import exported, torch

        return exported.program(torch.graph_of_module(source, shape, dtype), shape)
    pair = jax_modules.paired(source)
    if pair is not None:
        from distill.frontends import jax

        return jax.program(*pair, shape, dtype)
    found = read(source, dtype)[1](shape)
    if found is None:
        raise DistillError("D020", f"there is no translation for rows of shape {shape}")
    return found


def is_network(source: Any) -> bool:
    """Is this something that `read` takes?"""
    if callable(source) or jax_modules.is_module(source) or sklearn.is_perceptron(source):
        return True
    is_pair = isinstance(source, tuple) and len(source) == 2
    return is_pair and (callable(source[0]) or jax_modules.is_module(source[0]))


def _function(source: Callable[..., Any], dtype: str) -> tuple[Runtime, Translation]:
    """A function of batches; it is traced only where JAX is in use already."""
    from distill.oracle import chunked

    if "jax" not in sys.modules:
        return chunked(source), lambda shape: None
    from distill.frontends import jax

    return chunked(lambda batch: np.asarray(source(batch))), jax.translation(source, None, dtype)


def function(name: str) -> Any:
    """`module:function` or `file.py:function`, the user's code, which is imported.  Raises D019
    where there is none."""
    try:
        return architectures.built(name, Path())
    except DistillError as error:
        raise DistillError(
            "D019", f"there is no function {name}", notes=error.notes, exit_code=4
        ) from None
