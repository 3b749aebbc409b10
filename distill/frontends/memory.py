"""Models in memory: PyTorch modules, JAX functions, scikit-learn perceptrons, plain functions."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dsl.claim import Runtime, Translation
from dsl.errors import DistillError


def read(source: Any, dtype: str) -> tuple[Runtime, Translation]:
    """The runtime and the translation of a module, an estimator, a function, or a pair of a JAX
    function and its parameters.  Raises D012 for a module in training mode."""
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
    from distill.frontends import sklearn

    if sklearn.is_perceptron(source):
        return sklearn.runtime(source), sklearn.translation(source)
    if isinstance(source, tuple):
        from distill.frontends import jax

        function, params = source
        return jax.runtime(function, params), jax.translation(function, params, dtype)
    return _function(source, dtype)


def _function(source: Callable[..., Any], dtype: str) -> tuple[Runtime, Translation]:
    """A function of batches; it is traced only where JAX is in use already."""
    from distill.oracle import chunked

    if "jax" not in sys.modules:
        return chunked(source), lambda shape: None
    from distill.frontends import jax

    return chunked(lambda batch: np.asarray(source(batch))), jax.translation(source, None, dtype)


def function(name: str, params: str | Path | None) -> Any:
    """`module:function` with its parameters from a file, for `read`; the module is the user's
    code and is imported.  Raises D019 where there is no such function."""
    module, _, attribute = name.partition(":")
    try:
        found = importlib.import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise DistillError(
            "D019", f"there is no function {name}", notes=(str(error)[:200],), exit_code=4
        ) from None
    return found if params is None else (found, parameters(Path(params)))


def parameters(path: Path) -> Any:
    """A tree of arrays from `.npz` (names split at `/`), `.safetensors` or Flax's `.msgpack`."""
    match path.suffix:
        case ".npz":
            from distill.frontends import quantised

            return nested(quantised.read(path))
        case ".safetensors":
            from distill.frontends import safetensors

            return nested(safetensors.read(path))
        case ".msgpack":
            return _msgpack(path)
    raise DistillError(
        "D018",
        f"parameters of kind {path.suffix or 'a folder'} cannot be read: {path.name}",
        remedy="save them as .npz, .safetensors or .msgpack (of orbax: restore, then numpy.savez)",
        exit_code=4,
    )


def nested(arrays: Mapping[str, np.ndarray]) -> Any:
    """`{"a/w": ...}` as `{"a": {"w": ...}}`."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *folders, leaf = name.split("/")
        place = tree
        for folder in folders:
            inner = place.setdefault(folder, {})
            place = inner if isinstance(inner, dict) else place
        place[leaf] = array
    return tree


def _msgpack(path: Path) -> Any:
    """Flax's serialisation: nested maps with arrays as extension 1 (shape, dtype, bytes)."""
    try:
        import msgpack
    except ImportError:
        raise DistillError(
            "D011", f"reading {path.name} needs msgpack", remedy="pip install msgpack", exit_code=4
        ) from None

    def extension(code: int, data: bytes) -> Any:
        if code not in (1, 3):
            raise ValueError(f"an extension of kind {code}")
        shape, dtype, content = msgpack.unpackb(data, raw=False)
        array = np.frombuffer(content, np.dtype(dtype)).reshape([int(axis) for axis in shape])
        return array if code == 1 else array[()]

    try:
        content = path.read_bytes()
        return msgpack.unpackb(content, ext_hook=extension, raw=False)
    except (
        *(OSError, ValueError, TypeError, OverflowError, RecursionError),
        *(msgpack.exceptions.UnpackException, msgpack.exceptions.ExtraData),
    ) as error:
        raise DistillError(
            "D010",
            f"{path.name} is not a readable msgpack file",
            place=str(path),
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None
