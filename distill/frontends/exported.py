"""Exported programs of PyTorch as plain data, and their translation.  Nothing imports torch."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from distill.frontends.aten_layers import RULES
from distill.frontends.building import Builder
from distill.frontends.graph import Node, program_of, record_of, resolved, translated
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
    half: bool = False


def program(graph: Graph, *shapes: tuple[int, ...]) -> Program:
    """The network for inputs of some shapes (without the batch axis).  Raises D020 with all
    operations that have no translation, D013 for shapes that the graph does not take."""
    builder, values = _walked(graph, shapes)
    return program_of(builder, resolved(graph.outputs, values), graph.model)


def step_program(graph: Graph) -> Program:
    """One step of a recurrent network, (input, state) to the record (output, next state), for
    the shapes that it was exported with."""
    shapes = [tuple(axis or 0 for axis in given.axes[1:]) for given in graph.inputs]
    builder, values = _walked(graph, tuple(shapes))
    return record_of(builder, resolved(graph.outputs, values), graph.model)


def _walked(graph: Graph, shapes: tuple[tuple[int, ...], ...]) -> tuple[Builder, dict[str, Any]]:
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
    return builder, values


def translation(graph: Callable[[], Graph]) -> Translation:
    """The network for each input shape, translated when it is first asked for; None where it
    cannot be."""
    loaded = functools.cache(graph)

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        try:
            # In single precision half a network is another one: nothing may be proved of it.
            return None if loaded().half else program(loaded(), tuple(shape))
        except DistillError:
            return None

    return network
