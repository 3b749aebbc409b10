"""ONNX models as programs of the language; onnxruntime stays the oracle.

A model with a fixed batch of one and one with a free batch read alike.  Shape subgraphs fold, for
every axis is a number; an If with a constant condition is its branch.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends.building import Builder, Unsupported, Value
from distill.frontends.graph import Node, Ref, Rule, program_of, translated
from distill.frontends.onnx_package import read
from distill.frontends.onnx_rules import RULES
from dsl.claim import Translation
from dsl.errors import DistillError
from dsl.program import Program


def from_onnx(path: Path) -> Translation:
    """The network for each input shape, translated when it is first asked for; None where it
    cannot be."""
    loaded = functools.cache(lambda: read(path))

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        try:
            return program(loaded(), path.name, tuple(shape))
        except DistillError:
            return None

    return network


def declared(model: Any) -> tuple[tuple[int | None, ...], str]:
    """The axes of rows that the first input has (None where one is free) and its dtype."""
    from onnx import helper

    held = {tensor.name for tensor in model.graph.initializer}
    kind = next(v for v in model.graph.input if v.name not in held).type.tensor_type
    axes = [axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim]
    return tuple(axes[1:]), np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type)).name


def program(model: Any, name: str, *shapes: tuple[int, ...]) -> Program:
    """The network for inputs of some shapes (without the batch axis).  Raises D020 with all
    operations that have no translation, D013 for shapes that the model does not take."""
    from onnx import helper

    graph = model.graph
    held = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in held]
    if len(inputs) != len(shapes):
        raise DistillError("D013", f"{name} takes {len(inputs)} inputs, not {len(shapes)}")
    builder = Builder()
    values: dict[str, Any] = {}
    for value, shape in zip(inputs, shapes):
        kind = value.type.tensor_type
        axes = [axis.dim_value if axis.HasField("dim_value") else None for axis in kind.shape.dim]
        fits = len(axes) == len(shape) + 1 and all(
            axis is None or axis == n for axis, n in zip(axes[1:], shape)
        )
        if not fits:
            wanted = ", ".join("any" if axis is None else str(axis) for axis in axes[1:])
            raise DistillError("D013", f"{name} takes rows of shape ({wanted}), not {shape}")
        dtype = helper.tensor_dtype_to_np_dtype(kind.elem_type)
        values[value.name] = builder.input(value.name, shape, dtype)
    opset = next((entry.version for entry in model.opset_import if not entry.domain), 13)
    try:
        walked(builder, graph, values, opset, name)
    except (ValueError, IndexError, TypeError, ZeroDivisionError, KeyError, MemoryError) as error:
        raise DistillError(
            "D013",
            f"{name} cannot be read for rows of shape {shapes[0]}",
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None
    result = values[graph.output[0].name]
    if isinstance(result, Value) and _is_fixed(inputs[0]) and set(result.shape[:-1]) == {1}:
        # The runtime gives one row for each run of such a model.
        result = builder.reshape(result, (1, result.shape[-1]))
    return program_of(builder, result, name)


def _is_fixed(value: Any) -> bool:
    axes = value.type.tensor_type.shape.dim
    return bool(len(axes)) and axes[0].HasField("dim_value")


def walked(builder: Builder, graph: Any, values: dict[str, Any], opset: int, name: str) -> None:
    """Adds the values of a graph to those that are known."""
    from onnx import numpy_helper

    for tensor in graph.initializer:
        values[tensor.name] = builder.constant(numpy_helper.to_array(tensor), tensor.name)
    values[""] = None
    nodes: list[Node] = []
    for node in graph.node:
        nodes += _plain(node, opset)

    def branch(b: Builder, inputs: tuple[Any, ...], attributes: Any, **_: Any) -> Any:
        condition = inputs[0]
        if not condition.is_constant:
            raise Unsupported("on a computed condition")
        taken = attributes["then_branch" if condition.sample.item() else "else_branch"]
        inner = dict(values)
        walked(b, taken, inner, opset, name)
        found = tuple(inner[value.name] for value in taken.output)
        return found if len(found) > 1 else found[0]

    rules: Mapping[str, Rule] = {**RULES, "If": branch}
    translated(builder, nodes, rules, values, name)


def _plain(node: Any, opset: int) -> list[Node]:
    """A node as plain data; one more for each of several outputs."""
    from onnx import helper, numpy_helper

    attributes: dict[str, Any] = {}
    for attribute in node.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.type == attribute.TENSOR:
            value = numpy_helper.to_array(value)
        elif isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif attribute.type == attribute.STRINGS:
            value = [item.decode("utf-8", "replace") for item in value]
        attributes[attribute.name] = _Opaque(value) if attribute.type == attribute.GRAPH else value
    target = f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
    inputs = tuple(Ref(name) for name in node.input)
    options = {
        "attributes": _Attributes(attributes),
        "outputs": len(node.output),
        "opset": opset,
    }
    if len(node.output) == 1:
        return [Node(node.output[0], target, (inputs,), options, node.name)]
    joint = f"{node.name or node.op_type}:{''.join(node.output)}"
    parts = [
        Node(output, "getitem", (Ref(joint), place))
        for place, output in enumerate(node.output)
        if output
    ]
    return [Node(joint, target, (inputs,), options, node.name), *parts]


class _Attributes(Mapping[str, Any]):
    """Attributes of a node, which hold no references."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        self._table = table

    def __getitem__(self, key: str) -> Any:
        value = self._table[key]
        return value.graph if isinstance(value, _Opaque) else value

    def __iter__(self) -> Any:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)


class _Opaque:
    """A subgraph, kept as it is."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph
