"""Modules of the libraries on top of JAX (Flax, Haiku, Equinox), as functions with parameters.

No library is imported here: what is no module of one that is in use already is none of it.
Modules of Equinox take one row, as is its custom, and are mapped over the batch.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from dsl.errors import DistillError

Pair: TypeAlias = tuple[Callable[[Any, Any], Any], Any]
"""A function of parameters and a batch, and the parameters."""


def is_module(source: Any) -> bool:
    """Is this a module of one of the libraries, with or without its parameters?"""
    return _library(source) != ""


def _library(source: Any) -> str:
    for library, kinds in (
        ("flax.linen", ("Module",)),
        ("flax.nnx", ("Module",)),
        ("equinox", ("Module",)),
        ("haiku", ("Transformed", "TransformedWithState")),
    ):
        loaded = sys.modules.get(library)
        classes = tuple(getattr(loaded, kind) for kind in kinds if hasattr(loaded, kind))
        if classes and isinstance(source, classes):
            return library
    return ""


def paired(source: Any) -> Pair | None:
    """A module that holds its parameters, or a pair of a module or function and parameters, as a
    function and its parameters; None for what is neither.  Raises D012 in training mode."""
    match _library(source):
        case "flax.nnx":
            return _nnx(source)
        case "equinox":
            return _equinox(source)
        case "flax.linen" if source.scope is not None:
            module, variables = source.unbind()
            return _linen(module), variables
        case "flax.linen" | "haiku":
            raise DistillError(
                "D016",
                f"{type(source).__name__} is a network without parameters",
                remedy="give (module, parameters)",
                exit_code=4,
            )
    if not isinstance(source, tuple) or len(source) != 2:
        return None
    first, params = source
    match _library(first):
        case "flax.linen":
            return _linen(first), params
        case "haiku":
            return _haiku(first), params
    return (first, params) if callable(first) else None


def fitted(network: Any, tree: Any, arrays: Mapping[str, np.ndarray]) -> tuple[Pair, list[str]]:
    """A network with the parameters of a file, and how they do not fit; `tree` are they as the
    file nests them, `arrays` the same by joined names."""
    match _library(network):
        case "flax.linen":
            bare = "params" not in tree
            return (_linen(network), {"params": tree} if bare else tree), []
        case "haiku":
            modules: dict[str, dict[str, Any]] = {}
            for name, array in arrays.items():
                module, _, leaf = name.rpartition("/")
                modules.setdefault(module, {})[leaf] = array
            return (_haiku(network), modules), []
    pair = paired(network)
    if pair is None:
        return (network, tree), []
    return _replaced(pair, arrays)


def _replaced(pair: Pair, arrays: Mapping[str, np.ndarray]) -> tuple[Pair, list[str]]:
    """The pair with its parameters replaced by those of the same names (`a/b` or `a.b`)."""
    import jax

    from distill.frontends.architectures import misfits

    function, like = pair
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    wanted = {path_name(path): np.shape(leaf) for path, leaf in leaves}
    held = {name.replace(".", "/"): array for name, array in arrays.items()}
    problems = misfits({name: array.shape for name, array in held.items()}, wanted)
    if problems:
        return pair, list(problems)
    filled = jax.tree_util.tree_unflatten(structure, [held[name] for name in wanted])
    return (function, filled), []


def path_name(path: Any) -> str:
    """`layers/0/w`: where a leaf lies in a tree of parameters."""
    parts = []
    for key in path:
        for attribute in ("key", "idx", "name"):
            if hasattr(key, attribute):
                parts.append(str(getattr(key, attribute)))
                break
    return "/".join(parts)


def _linen(module: Any) -> Callable[[Any, Any], Any]:
    errors: Any = sys.modules["flax.errors"]

    def function(variables: Any, x: Any) -> Any:
        try:
            return module.apply(variables, x)
        except (errors.InvalidRngError, errors.ModifyScopeVariableError):
            raise training(
                "give its layers deterministic=True or use_running_average=True"
            ) from None
        except errors.FlaxError as error:
            raise DistillError(
                "D017",
                f"{type(module).__name__} does not take these parameters",
                notes=(str(error).strip().splitlines()[0][:200],),
                exit_code=4,
            ) from None

    return named(function, module)


def _haiku(module: Any) -> Callable[[Any, Any], Any]:
    """A transformed function; one with state takes (parameters, state)."""
    loaded: Any = sys.modules["haiku"]
    if isinstance(module, loaded.TransformedWithState):
        return lambda params, x: module.apply(*params, None, x)[0]
    takes_rng = "rng" in inspect.signature(module.apply).parameters

    def function(params: Any, x: Any) -> Any:
        try:
            return module.apply(params, None, x) if takes_rng else module.apply(params, x)
        except ValueError as error:
            if "next_rng_key" in str(error) or "PRNGKey" in str(error):
                raise training("leave dropout out") from None
            raise DistillError(
                "D017",
                "the Haiku network does not take these parameters",
                notes=(str(error).strip().splitlines()[0][:200],),
                exit_code=4,
            ) from None

    return function


def _nnx(module: Any) -> Pair:
    nnx: Any = sys.modules["flax.nnx"]
    for _, part in nnx.iter_graph(module):
        random = getattr(part, "deterministic", None) is False and getattr(part, "rate", 0.0) > 0
        if random or getattr(part, "use_running_average", None) is False:
            raise training("call module.eval() first")
    graph, random_state, state = nnx.split(module, nnx.RngState, ...)

    def function(params: Any, x: Any) -> Any:
        import jax

        filled = jax.tree_util.tree_map(lambda leaf: leaf, state)
        nnx.replace_by_pure_dict(filled, params)
        return nnx.merge(graph, random_state, filled)(x)

    return named(function, module), nnx.to_pure_dict(state)


def _equinox(module: Any) -> Pair:
    import jax

    equinox: Any = sys.modules["equinox"]
    layers = jax.tree_util.tree_leaves(module, is_leaf=lambda part: hasattr(part, "inference"))
    if any(getattr(part, "inference", True) is False and getattr(part, "p", 1) for part in layers):
        raise training("call equinox.nn.inference_mode(model) first")
    params, rest = equinox.partition(module, equinox.is_array)

    def function(params: Any, x: Any) -> Any:
        return jax.vmap(equinox.combine(params, rest))(x)

    return named(function, module), params


def training(remedy: str) -> DistillError:
    """D012: a module that is random."""
    return DistillError(
        "D012",
        "the module is in training mode, where dropout and batch norm are random",
        remedy=remedy,
        exit_code=4,
    )


def named(function: Callable[[Any, Any], Any], module: Any) -> Callable[[Any, Any], Any]:
    """The function under the name of the module's class, for messages."""
    function.__name__ = type(module).__name__
    return function
