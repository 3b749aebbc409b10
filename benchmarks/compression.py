"""How few bits a table of two labels takes: raw, zlib, image coders, and programs with exceptions.

The coders are adaptive: `template` counts the label under a template of ten earlier neighbours, as
JBIG does (ITU-T T.82); `mixing` joins the predictions of several templates by logistic mixing, as
context-mixing compressors do (Mahoney 2005).  Bits are those of ideal arithmetic coding, the better
of both scan orders.
"""

from __future__ import annotations

import argparse
import json
import math
import zlib
from pathlib import Path

import numpy as np

from synth.mixing import exception_mask_bits, mixing_bits, neighbours

_JBIG = ((0, -1), (0, -2), (0, -3), (0, -4), (-1, -2), (-1, -1), (-1, 0), (-1, 1), (-1, 2), (-2, 0))
_TEMPLATES = (
    (),
    ((0, -1), (-1, 0)),
    ((0, -1), (0, -2), (-1, 0), (-1, 1), (-1, -1)),
    ((-1, 0), (-2, 0), (-3, 0), (-4, 0), (-5, 0)),
    ((0, -1), (0, -2), (0, -3), (0, -4), (0, -5), (0, -6)),
    _JBIG,
    (*_JBIG, (-2, -1), (-2, 1), (-3, 0), (-1, 3), (-1, -3), (0, -5)),
    ((0, -1), (-1, 0), (-2, 0), (-3, 0), (-4, 0), (-5, 0), (-6, 0), (-7, 0), (-8, 0)),
)


def table_bits(table: np.ndarray) -> dict[str, float]:
    """Bits of a table (rows, columns) of truth values, by coder."""
    packed = np.packbits(table.astype(np.uint8)).tobytes()
    turned = np.packbits(table.T.astype(np.uint8)).tobytes()
    return {
        "raw": float(table.size),
        "zlib": 8.0 * min(len(zlib.compress(data, 9)) for data in (packed, turned)),
        "template": min(template_bits(t) for t in (table, table.T)),
        "mixing": min(image_bits(t) for t in (table, table.T)),
    }


def template_bits(table: np.ndarray) -> float:
    """Bits under the ten-cell template with adaptive counts (Krichevsky and Trofimov)."""
    counts: dict[int, list[float]] = {}
    bits = 0.0
    for context, label in zip(
        neighbours(table, _JBIG).tolist(), table.ravel().astype(int).tolist(), strict=True
    ):
        seen = counts.setdefault(context, [0.4, 0.4])
        bits -= math.log2(seen[label] / (seen[0] + seen[1]))
        seen[label] += 1
    return bits


def image_bits(table: np.ndarray) -> float:
    """Bits under a logistic mixture of templates, a set of weights for each value of the two
    nearest neighbours."""
    contexts = [neighbours(table, template) for template in _TEMPLATES]
    return mixing_bits(table.ravel(), contexts, contexts[1])


def law_bits(table: np.ndarray, truth: np.ndarray, program_bits: float) -> float:
    """Bits of a program and of the cells on which its table differs, given its values."""
    return program_bits + exception_mask_bits(truth, table != truth)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks compression", description=__doc__)
    parser.add_argument("table", help="a .npy file (rows, columns) of two labels")
    parser.add_argument("--program", help="a program of two inputs, to compare with")
    options = parser.parse_args(arguments)
    table = np.load(options.table, allow_pickle=False).astype(bool)
    bits = table_bits(table)
    if options.program:
        from dsl.evaluate import run
        from dsl.parser import parse
        from dsl.program import expressions
        from synth.inequalities.formulas import description_bits

        program = parse(Path(options.program).read_text(encoding="utf-8"))
        grid = np.indices(table.shape).reshape(2, -1)
        columns = dict(zip(program.parameters, grid, strict=True))
        truth = run(program, columns).astype(bool).reshape(table.shape)
        length = description_bits(*expressions(program))
        bits["program"] = length
        bits["exceptions"] = float((table != truth).sum())
        bits["program with exceptions"] = law_bits(table, truth, length)
    print(json.dumps({name: round(value, 1) for name, value in bits.items()}, indent=1))
    return 0
