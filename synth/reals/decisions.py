"""Short rules for what a network of real inputs decides: trees of linear tests.

The first program is one inequality; the following have more leaves.  Constants have as few digits
as the code length of program and errors allows.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Expr, Program
from synth.problem import Problem
from synth.reals.boundary import boundary
from synth.reals.points import Points, box_of, decisions
from synth.reals.tidying import rule_expr, tidied, tree_of
from synth.reals.trees import Sample, Tree, grown, leaves, refined

_POINTS = (12_000, 60_000)
_SIZES = (2, 4, 8, 16, 32)
_BOUNDARY = 400


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Trees of growing size, each with short constants."""
    box = box_of(problem.target)
    if box is None:
        return
    tried = 0
    for number, count in enumerate(_POINTS):
        rng = np.random.default_rng([problem.seed, 11, number])
        points = decisions(box, count, rng)
        if points is None or len(points.kinds) < 2:
            return
        sample = sample_of(points, rng, problem.deadline)
        if time.monotonic() > problem.deadline:
            return
        for tree, wrong in grown(sample, _SIZES):
            tried += leaves(tree)
            for expr in written(tree, sample, points, wrong):
                yield Hypothesis(program(problem, expr), "decisions", tried)
            if wrong == 0 or time.monotonic() > problem.deadline:
                break
        if time.monotonic() > problem.deadline:
            return


def sample_of(points: Points, rng: np.random.Generator, deadline: float) -> Sample:
    places, normals = boundary(points, _BOUNDARY, rng)
    return Sample(points.inputs, points.codes, normals, places, deadline)


def written(tree: Tree, sample: Sample, points: Points, wrong: int) -> Iterator[Expr]:
    """The tree with short constants: by code length, and coarser."""
    count = len(sample.codes)
    fine = bits_of_error(count, wrong, len(points.kinds))
    rows = np.arange(count)
    for bits in (fine, fine / 8):
        rule = tidied(tree, sample, points.box, bits)
        # The other tests make up for the rounding of one; then all are rounded again.
        short = refined(sample, tree_of(rule, points.box), rows, passes=1)
        yield rule_expr(tidied(short, sample, points.box, bits), points.kinds)


def bits_of_error(count: int, wrong: int, kinds: int) -> float:
    """What one error more costs among `wrong` of `count`: which it is, and the right value."""
    where = math.log2((count - wrong) / max(wrong, 1))
    return max(0.05, where + math.log2(max(kinds - 1, 1)))


def program(problem: Problem, expr: Expr) -> Program:
    names = problem.target.domain.names
    return Program("program", tuple((name, None) for name in names), (), expr)
