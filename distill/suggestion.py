"""The command to type after `distill inspect`: a domain and a decoding, as the network suggests.

What a network takes is read off what it does with its inputs first: a table that they index, a
row of whole numbers that they are compared with, bounds that they are cut to.  Nothing says what
it was trained on; where nothing is found, the suggestion is a small box to start from.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from dsl import networks
from dsl.program import Call, Constant, Program, Variable

_KEPT = ("cast", "reshape", "slice", "transpose", "expand", "concat")
_CUT = ("clip", "maximum", "minimum")
_FEW = 4
_UNBOUNDED = 8
"""How many items a sequence of any length has at most in a suggestion."""


def command(
    path: Path,
    given: Mapping[str, str],
    *,
    program: Program | None,
    rows: tuple[int | None, ...],
    dtype: str,
    outputs: tuple[int, ...],
    whole_outputs: bool,
    largest: float,
) -> str:
    """`distill compile ...` for a network of rows of a shape (None for axes of any length)."""
    kind = _kind(program, rows, dtype)
    words = ["distill", "compile", shlex.quote(str(path)), "-d", shlex.quote(_domain(kind, rows))]
    if whole_outputs:
        words += ["--decode", "round"]
    elif outputs and outputs[-1] == 1:
        words += ["--decode", shlex.quote(f"value +- {_tolerance(largest)}")]
    for name in ("arch", "dtype", "shape", "pack"):
        if given.get(name):
            words += [f"--{name}", shlex.quote(given[name])]
    return " ".join(words)


def _domain(kind: str, rows: tuple[int | None, ...]) -> str:
    if None in rows:
        if len(rows) == 1:
            return f"s: seq({kind}, 1..{_UNBOUNDED})"
        rows = tuple(_UNBOUNDED if axis is None else axis for axis in rows)
    axes = [axis for axis in rows if axis is not None]
    if math.prod(axes) <= _FEW:
        return ", ".join(f"{name}: {kind}" for name in "abcd"[: math.prod(axes)])
    if len(axes) == 1 and not kind.startswith("real"):
        return f"s: seq({kind}, {axes[0]})"
    return f"x: array({kind}, {'x'.join(map(str, axes))})"


def _kind(program: Program | None, rows: tuple[int | None, ...], dtype: str) -> str:
    """The type of one entry."""
    kind = np.dtype(dtype)
    found = None if program is None else _bounds(program)
    if found is not None:
        low, high = found
        whole = float(low).is_integer() and float(high).is_integer()
        if kind.kind in "iub" or (whole and _is_compared(program)):
            return f"int[{int(low)}..{int(high)}]"
        return f"real[{low:g},{high:g}]"
    if kind.kind == "b":
        return "bool"
    if kind.kind in "iu" and kind.itemsize == 1:
        return f"int[{np.iinfo(kind).min}..{np.iinfo(kind).max}]"
    if kind.kind in "iu":
        return "int[0..9]"
    is_image = len(rows) >= 2 and None not in rows and min(rows[-2:], key=_number) not in (None, 1)
    return "real[0,1]" if len(rows) == 3 and is_image else "real[-1,1]"


def _number(axis: int | None) -> int:
    return axis or 0


def _first_uses(program: Program) -> list[Call]:
    """The calls that read the inputs, as they are, in another shape, or cut to bounds."""
    same = set(program.parameters)
    found = []
    for name, call in networks.bindings(program):
        if not any(isinstance(arg, Variable) and arg.name in same for arg in call.args):
            continue
        if call.primitive in (*_KEPT, *_CUT):
            same.add(name)
        if call.primitive not in _KEPT:
            found.append(call)
    return found


def _bounds(program: Program) -> tuple[float, float] | None:
    """The least and greatest entries that the network itself tells apart, if it says so."""
    found: list[tuple[float, float]] = []
    for call in _first_uses(program):
        arrays = [program.constant(a.name) for a in call.args if isinstance(a, Constant)]
        match call.primitive:
            case "gather" if isinstance(call.args[0], Constant):
                axis = int(dict(call.options).get("axis", 0))
                found.append((0, arrays[0].shape[axis] - 1))
            case "eq" if arrays and _is_count(arrays[0]):
                found.append((0, int(arrays[0].max())))
            case "clip":
                options = dict(call.options)
                if options.get("low") is not None and options.get("high") is not None:
                    found.append((float(options["low"]), float(options["high"])))
            case "maximum" | "minimum" if len(arrays) == 1 and arrays[0].size > 1:
                found.append((float(arrays[0].min()), float(arrays[0].max())))
    if not found:
        return None
    if any(call.primitive in ("maximum", "minimum") for call in _first_uses(program)):
        return min(low for low, _ in found), max(high for _, high in found)
    return max(low for low, _ in found), min(high for _, high in found)


def _is_count(array: np.ndarray) -> bool:
    """Is this 0, 1, 2, ...?"""
    flat = np.sort(array.reshape(-1))
    return flat.size > 1 and bool((flat == np.arange(flat.size)).all())


def _is_compared(program: Program | None) -> bool:
    return program is not None and any(c.primitive == "eq" for c in _first_uses(program))


def _tolerance(largest: float) -> str:
    """A hundredth of the greatest output, as a power of ten."""
    if not math.isfinite(largest) or largest <= 0:
        return "0.01"
    return f"{10.0 ** (math.floor(math.log10(largest)) - 2):g}"


def after_refusal(path: Path, code: str, given: Mapping[str, str]) -> str:
    """What to type where a model could not be read."""
    known: Mapping[str, Sequence[str]] = {
        "D016": ("distill", "inspect", shlex.quote(str(path)), "--arch", "file.py:callable"),
        "D013": ("distill", "inspect", shlex.quote(str(path)), "--shape", "'[batch, 8]'"),
    }
    words = list(known.get(code, ("distill", "explain", code)))
    if code == "D013" and given.get("arch"):
        words += ["--arch", shlex.quote(given["arch"])]
    return " ".join(words)
