"""PyTorch: exported programs (`.pt2`) and modules in memory, as programs of the language.

`torch.export` with the empty decomposition table keeps linear, normalisation, attention and
recurrent layers as single nodes; `distill.frontends.aten` has a rule for each operation.
"""

from __future__ import annotations

import functools
import math
import operator
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends.aten_layers import RULES
from distill.frontends.building import Builder
from distill.frontends.graph import Missing, Node, Ref, program_of, resolved, translated
from dsl.claim import Translation
from dsl.errors import DistillError
from dsl.program import Program


@dataclass(frozen=True)
class Input:
    """One input of a graph: its name, dtype and the axes that it was exported with (None where
    one is free), the batch included."""

    name: str
    dtype: np.dtype
    axes: tuple[int | None, ...]


@dataclass(frozen=True)
class Graph:
    """An exported program as plain data: weights by the name of the node that holds them, with
    their names in the checkpoint."""

    model: str
    nodes: tuple[Node, ...]
    inputs: tuple[Input, ...]
    weights: dict[str, tuple[str, np.ndarray]]
    outputs: tuple[Any, ...]


def program(graph: Graph, *shapes: tuple[int, ...]) -> Program:
    """The network for inputs of some shapes (without the batch axis).  Raises D020 with all
    operations that have no translation, D013 for shapes that the graph does not take."""
    if len(shapes) != len(graph.inputs):
        raise DistillError(
            "D013", f"{graph.model} takes {len(graph.inputs)} inputs, not {len(shapes)}"
        )
    builder = Builder()
    values: dict[str, Any] = {}
    for given, shape in zip(graph.inputs, shapes):
        fits = len(given.axes) == len(shape) + 1 and all(
            axis is None or axis == n for axis, n in zip(given.axes[1:], shape)
        )
        if not fits:
            wanted = ", ".join("any" if axis is None else str(axis) for axis in given.axes[1:])
            raise DistillError(
                "D013", f"{graph.model} takes rows of shape ({wanted}), not {shape}", exit_code=2
            )
        values[given.name] = builder.input(given.name, shape, given.dtype)
    for node, (name, array) in graph.weights.items():
        values[node] = builder.constant(array, name)
    try:
        translated(builder, graph.nodes, RULES, values, graph.model)
    except (ValueError, IndexError, TypeError, ZeroDivisionError, KeyError) as error:
        # The graph was made for other shapes, or holds what its own schema does not allow.
        raise DistillError(
            "D013",
            f"{graph.model} cannot be read for rows of shape {shapes[0]}",
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None
    return program_of(builder, resolved(graph.outputs, values), graph.model)


def translation(graph: Callable[[], Graph]) -> Translation:
    """The network for each input shape, translated when it is first asked for; None where it
    cannot be."""
    loaded = functools.cache(graph)

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        try:
            return program(loaded(), tuple(shape))
        except DistillError:
            return None

    return network


def exported(path: Path) -> Any:
    """The exported program in a file.  Raises D010 where it cannot be read."""
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.load(str(path))
    except (RuntimeError, ValueError, KeyError, OSError, EOFError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DistillError(
            "D010",
            f"{path.name} is not a readable torch.export program",
            place=str(path),
            notes=(line[:200],),
            remedy="save it again with torch.export.save",
            exit_code=4,
        ) from None


def from_pt2(path: Path) -> Translation:
    """The network in an exported program."""
    return translation(lambda: graph_of(exported(path), path.name))


def from_module(module: Any, dtype: str) -> Translation:
    """A module in memory, exported anew for each input shape."""

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        try:
            return program(graph_of_module(module, shape, dtype), tuple(shape))
        except DistillError:
            return None

    return network


def graph_of_module(module: Any, shape: tuple[int, ...], dtype: str) -> Graph:
    """The graph of a module in evaluation mode for rows of a shape.  Raises D021 where it cannot
    be exported (its control flow depends on values)."""
    import torch

    example = torch.zeros((1, *shape), dtype=getattr(torch, dtype))
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            found = torch.export.export(module, (example,), strict=False)
    except (RuntimeError, ValueError, TypeError, IndexError, AssertionError) as error:
        line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise DistillError(
            "D021",
            f"{type(module).__name__} cannot be exported for rows of shape {shape}",
            notes=(line[:200],),
            remedy="the search goes on from inputs and outputs alone",
            exit_code=4,
        ) from None
    return graph_of(found, type(module).__name__)


def graph_of(found: Any, model: str) -> Graph:
    """An exported program as plain data, with composite operations kept whole."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = found.run_decompositions({})
    signature = found.graph_signature
    stored = {**found.state_dict, **found.constants}
    names = {
        **signature.inputs_to_parameters,
        **signature.inputs_to_buffers,
        **signature.inputs_to_lifted_tensor_constants,
    }
    weights = {node: (name, _array(stored[name])) for node, name in names.items()}
    nodes, inputs, outputs = [], [], ()
    for node in found.graph.nodes:
        match node.op:
            case "placeholder" if node.name not in weights:
                value = node.meta.get("val")
                axes = tuple(n if isinstance(n, int) else None for n in value.shape)
                inputs.append(Input(node.name, _dtype(value.dtype), axes))
            case "call_function":
                nodes.append(
                    Node(
                        node.name,
                        _target(node.target),
                        _plain(node.args),
                        _plain(node.kwargs),
                        _source(node),
                    )
                )
            case "get_attr":
                nodes.append(Node(node.name, f"the graph {node.target}"))
            case "output":
                wanted = set(signature.user_outputs)
                given = [arg for arg in node.args[0] if getattr(arg, "name", arg) in wanted]
                outputs = tuple(_plain(arg) for arg in given)
    return Graph(model, tuple(nodes), tuple(inputs), weights, outputs)


def _target(target: Any) -> str:
    module = getattr(target, "__module__", "")
    if module in ("_operator", operator.__name__):
        return f"operator.{target.__name__}"
    if module == math.__name__:
        return f"math.{target.__name__}"
    text = str(target)
    if text.startswith("<function"):
        return f"torch.{target.__name__}"
    return text


def _plain(argument: Any) -> Any:
    """An argument of a node with references, dtypes and numbers of ours."""
    import torch

    match argument:
        case torch.fx.Node():
            return Ref(argument.name)
        case torch.dtype():
            return _dtype(argument)
        case tuple() | list():
            return tuple(_plain(item) for item in argument)
        case dict():
            return {key: _plain(item) for key, item in argument.items()}
        case bool() | int() | float() | str() | None:
            return argument
        case torch.SymInt():
            return int(argument)
        case torch.device() | torch.layout() | torch.memory_format():
            return None
        case _:
            return Missing()


def _dtype(dtype: Any) -> np.dtype:
    """A dtype of torch as NumPy's; half precision is computed in single."""
    name = str(dtype).removeprefix("torch.")
    return np.dtype("float32" if name in ("float16", "bfloat16") else name)


def _array(tensor: Any) -> np.ndarray:
    import torch

    if tensor.dtype in (torch.float16, torch.bfloat16):
        tensor = tensor.float()
    return np.asarray(tensor.detach().cpu().numpy())


def _source(node: Any) -> str:
    """`model.py:41`: the innermost line of the user's code that made a node."""
    lines = [line.strip() for line in (node.meta.get("stack_trace") or "").splitlines()]
    for line in reversed(lines):
        if line.startswith("File "):
            parts = line.split('"')
            number = line.partition("line ")[2].partition(",")[0]
            return f"{Path(parts[1]).name}:{number}"
    return ""
