"""Perceptrons of eight-bit integers in a `.npz`: W0, b0, x0_scale, x0_zp, w0_scale, y0_scale,
y0_zp, W1, ...

The arithmetic is TensorFlow Lite's (Jacob et al., "Quantization and training of neural networks
for efficient integer-arithmetic-only inference", 2018): whole sums, times a multiplier of 31 bits,
rounded once, halves up.  A rectifier needs no word: the zero point of what it gives is the least
integer.  There is no other runtime here: the program is the network.
"""

from __future__ import annotations

import functools
import math
import re
from pathlib import Path

import numpy as np

from distill.frontends import archives
from distill.frontends import operators as o
from distill.frontends.archives import BROKEN
from distill.frontends.building import Builder, Value
from distill.frontends.graph import program_of
from dsl import networks
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program

_PARTS = ("W{}", "b{}", "x{}_scale", "x{}_zp", "w{}_scale", "y{}_scale", "y{}_zp")


def is_quantised(path: Path) -> bool:
    """Does a file hold the layers of such a network?"""
    return {part.format(0) for part in _PARTS} <= archives.names(path)


def runtime(path: Path) -> Runtime:
    from distill.oracle import chunked

    network = translation(path)

    def run(batch: np.ndarray) -> np.ndarray:
        found = network(tuple(batch.shape[1:]))
        if found is None:
            raise DistillError(
                "D013", f"{path.name} does not take rows of shape {batch.shape[1:]}", exit_code=2
            )
        return networks.run(found, batch)

    return chunked(run)


def translation(path: Path) -> Translation:
    """The network for rows of its width; None for others."""
    loaded = functools.cache(lambda: program(archives.arrays(path), path.name))

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        try:
            found = loaded()
        except DistillError:
            return None
        return found if networks.shapes(found)["x"].shape[1:] == tuple(shape) else None

    return network


def program(arrays: dict[str, np.ndarray], name: str) -> Program:
    """The network.  Raises D010 for arrays that do not fit together."""
    count = sum(bool(re.fullmatch(r"W\d+", key)) for key in arrays)
    b = Builder()
    try:
        x = b.input("x", (int(arrays["W0"].shape[1]),), np.int8)
        value = b.cast(x, np.int64)
        for layer in range(count):
            value = _layer(b, value, {p: arrays[p.format(layer)] for p in _PARTS}, layer)
        b.hint = "y"
        return program_of(b, b.cast(value, np.int8), name)
    except (*BROKEN, ArithmeticError) as error:
        raise DistillError(
            "D010",
            f"{name} holds layers that do not fit together",
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None


def _layer(b: Builder, x: Value, parts: dict[str, np.ndarray], layer: int) -> Value:
    weight = b.constant(parts["W{}"].astype(np.int64), f"W{layer}")
    bias = b.constant(parts["b{}"].astype(np.int64), f"b{layer}")
    b.hint = f"sum{layer}"
    centred = b.elementwise("sub", x, b.constant(parts["x{}_zp"].astype(np.int64)))
    total = o.linear(b, centred, weight, bias)
    scale = float(parts["x{}_scale"].item() * parts["w{}_scale"].item() / parts["y{}_scale"].item())
    b.hint = f"y{layer}"
    rounded = _times(b, total, scale)
    shifted = b.elementwise("add", rounded, b.constant(parts["y{}_zp"].astype(np.int64)))
    return b.elementwise("clip", shifted, low=-128, high=127)


def _times(b: Builder, x: Value, scale: float) -> Value:
    """`x * scale` as TensorFlow Lite rounds it; all sums stay below 2**53."""
    fraction, exponent = math.frexp(scale)
    multiplier = round(fraction * 2**31)
    if exponent > 0 or not math.isfinite(scale) or scale <= 0:
        raise ValueError(f"a scale of {scale} between layers")

    def number(value: float) -> Value:
        return b.constant(np.asarray(value, np.float64))

    product = b.elementwise("mul", b.cast(x, np.float64), number(multiplier))
    raised = b.elementwise("add", product, number(2.0 ** (30 - exponent)))
    high = b.elementwise("floor", b.elementwise("div", raised, number(2.0 ** (31 - exponent))))
    return b.cast(high, np.int64)
