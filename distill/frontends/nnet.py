"""`.nnet` files (Stanford's text format for small rectifier networks): normalised inputs, layers
of weights, a denormalised output."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from distill.frontends import operators as o
from distill.frontends.building import Builder, Value
from distill.frontends.graph import program_of
from dsl import networks
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program

_WIDEST, _DEEPEST = 1 << 16, 1 << 10


def runtime(path: Path) -> Runtime:
    """The format has no runtime of its own: the program in double precision."""
    from distill.oracle import chunked

    network = read(path)
    return chunked(lambda batch: networks.run(network, batch, dtype=np.float64))


def translation(path: Path) -> Translation:
    loaded = functools.cache(lambda: read(path))

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        found = loaded()
        return found if networks.shapes(found)["x"].shape[1:] == tuple(shape) else None

    return network


def read(path: Path) -> Program:
    """The network in a file.  Raises D010."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
        return _program(_rows(lines), path.name)
    except (OSError, ValueError, IndexError, StopIteration, OverflowError, RuntimeError) as error:
        raise DistillError(
            "D010",
            f"{path.name} is not a readable .nnet file",
            place=str(path),
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None


def _rows(lines: list[str]) -> Iterator[list[float]]:
    for line in lines:
        text = line.strip().rstrip(",")
        if text and not text.startswith("//"):
            yield [float(part) for part in text.split(",")]


def _program(rows: Iterator[list[float]], name: str) -> Program:
    layers, inputs = (int(number) for number in next(rows)[:2])
    sizes = [int(number) for number in next(rows)]
    if not 0 < layers <= _DEEPEST or len(sizes) != layers + 1 or sizes[0] != inputs:
        raise ValueError("its layers and sizes do not fit")
    if any(not 0 < size <= _WIDEST for size in sizes):
        raise ValueError("a layer of an absurd size")
    next(rows)  # a flag that is not used
    lowest, highest, means, ranges = (np.array(next(rows)) for _ in range(4))
    b = Builder()
    x = b.input("x", (inputs,), np.float32)

    def vector(values: np.ndarray, label: str) -> Value:
        return b.constant(values.astype(np.float32), label)

    # Inputs outside their range are taken as its ends.
    b.hint = "normal"
    value = b.elementwise("maximum", x, vector(lowest[:inputs], "minimum"))
    value = b.elementwise("minimum", value, vector(highest[:inputs], "maximum"))
    value = b.elementwise("sub", value, vector(means[:inputs], "mean"))
    value = b.elementwise("div", value, vector(ranges[:inputs], "range"))
    for layer in range(layers):
        weight = np.array([next(rows) for _ in range(sizes[layer + 1])])
        bias = np.array([next(rows)[0] for _ in range(sizes[layer + 1])])
        if weight.shape != (sizes[layer + 1], sizes[layer]):
            raise ValueError(f"layer {layer} has weights of another shape")
        b.hint = f"layer{layer}"
        matrix = b.constant(weight.astype(np.float32), f"W{layer}")
        value = o.linear(b, value, matrix, b.constant(bias.astype(np.float32), f"b{layer}"))
        if layer < layers - 1:
            value = b.elementwise("relu", value)
    b.hint = "y"
    value = b.elementwise("mul", value, b.constant(np.float32(ranges[inputs])))
    return program_of(b, b.elementwise("add", value, b.constant(np.float32(means[inputs]))), name)
