"""Networks that are affine maps: their decision is one inequality with exact coefficients."""

from __future__ import annotations

from collections.abc import Iterator

from dsl.affine import Affine, outputs
from dsl.claim import Hypothesis, Target
from dsl.program import Call, Expr, Literal, Program
from synth.problem import Problem
from synth.reals.tidying import conditional, linear, number
from synth.tables import literal


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """The network itself in one line, where it is an affine map of the inputs."""
    rows = outputs(problem.target)
    if rows is None:
        return
    expr = _decided(problem.target, rows)
    if expr is not None:
        names = tuple((name, None) for name in problem.target.domain.names)
        yield Hypothesis(Program("program", names, (), expr), "affine", 1)


def _decided(target: Target, rows: tuple[Affine, ...]) -> Expr | None:
    decode = target.claim.decode
    labels = decode.labels
    match decode.rule, rows:
        case "value", (row,):
            return _sum(row)
        case "threshold", (row,) if labels is None:
            return Call("gt", (_sum(Affine(row.constant * 0, row.terms)), _bound(row, decode)))
        case (("argmax" | "argmin"), (first, second)):
            margin = second - first if decode.rule == "argmax" else first - second
            zero, one = (0, 1) if labels is None else labels
            sign = "gt" if decode.tie == "low" else "ge"
            score = _sum(Affine(margin.constant * 0, margin.terms))
            test = Call(sign, (score, number(float(-margin.constant))))
            return conditional(test, literal(one), literal(zero))
    return None


def _bound(row: Affine, decode: object) -> Literal:
    threshold = getattr(decode, "threshold", 0.0)
    return number(threshold - float(row.constant))


def _sum(row: Affine) -> Expr:
    return linear(
        tuple((name, float(value)) for name, value in row.terms.items()), float(row.constant)
    )
