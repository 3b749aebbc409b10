"""Affine networks and one-line programs, compared coefficient by coefficient, exactly."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from dsl import types as t
from dsl.affine import Affine, expression, outputs
from dsl.claim import Proved, Target, Unknown, Verdict
from dsl.program import Call, Expr, Literal, Program
from verify.comparison import blurred

METHOD = "affine"
ARITHMETIC = (
    "exact: the stored weights and the program's constants as rational numbers; the runtime is "
    "within {error:.2g} of them, and may decide otherwise where the outputs differ by less"
)


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proved where program and network are the same comparison or the same sum; else None."""
    if program.body or program.constants:
        return None
    rows = outputs(target)
    if rows is None:
        return None
    decode = target.claim.decode
    error, blur = blurred(target)
    match decode.rule, rows:
        case (("argmax" | "argmin"), (first, second)):
            margin = second - first if decode.rule == "argmax" else first - second
            labels = (0, 1) if decode.labels is None else decode.labels
            same = _same_test(program.result, margin, labels, strict=decode.tie == "low")
        case "threshold", (row,) if decode.labels is None:
            bound = Affine(Fraction(decode.threshold), {})
            same = _same_test(program.result, row - bound, (False, True), strict=True)
        case "value", (row,):
            same = _same_value(program.result, row, target, Fraction(0) if blur else error)
        case _:
            return None
    if not same:
        return None
    if blur:
        return Unknown(f"proven in real arithmetic only: {blur}")
    table = {
        "kind": METHOD,
        "rounding": error,
        "outputs": [
            {"constant": str(r.constant), **{n: str(v) for n, v in r.terms.items()}} for r in rows
        ],
    }
    return Proved(METHOD, str(target.domain), ARITHMETIC.format(error=error), table)


def _same_test(expr: Expr, margin: Affine, labels: tuple[Any, ...], *, strict: bool) -> bool:
    """Is an expression `labels[1] if margin > 0 else labels[0]` (>= if not strict)?"""
    test, yes, no = _branches(expr)
    if test is None:
        return False
    left, right = expression(test.args[0]), expression(test.args[1])
    if left is None or right is None:
        return False
    score, sign = left - right, test.primitive
    if sign in ("lt", "le"):
        score, sign = score.times(Fraction(-1)), {"lt": "gt", "le": "ge"}[sign]
    if (_is(yes, labels[0]), _is(no, labels[1])) == (True, True):
        # not (score > 0) is -score >= 0.
        score, sign = score.times(Fraction(-1)), {"gt": "ge", "ge": "gt"}[sign]
        yes, no = no, yes
    if not (_is(yes, labels[1]) and _is(no, labels[0])):
        return False
    return sign == ("gt" if strict else "ge") and _is_positive_multiple(score, margin)


def _is(value: Any, label: Any) -> bool:
    return type(value) is type(label) and bool(value == label)


def _branches(expr: Expr) -> tuple[Call | None, Any, Any]:
    """The comparison that decides, and the values where it holds and where not."""
    match expr:
        case Call("gt" | "ge" | "lt" | "le"):
            return expr, True, False
        case Call("int", (Call("gt" | "ge" | "lt" | "le") as test,)):
            return test, 1, 0
        case Call("ite", (Call("gt" | "ge" | "lt" | "le") as test, Literal(yes), Literal(no))):
            return test, yes, no
    return None, None, None


def _is_positive_multiple(one: Affine, other: Affine) -> bool:
    names = set(one.terms) | set(other.terms)
    pairs = [(one.terms.get(n, Fraction(0)), other.terms.get(n, Fraction(0))) for n in names]
    pairs.append((one.constant, other.constant))
    lead = next(((a, b) for a, b in pairs if a and b), None)
    if lead is None:
        return False
    factor = lead[0] / lead[1]
    return factor > 0 and all(a == factor * b for a, b in pairs)


def _same_value(expr: Expr, row: Affine, target: Target, rounding: float | Fraction) -> bool:
    """Is the greatest difference on the box, with the rounding, within the tolerance?"""
    found = expression(expr)
    if found is None:
        return False
    off = found - row
    low = high = off.constant
    for name, kind in target.domain.fields:
        factor = off.terms.get(name, Fraction(0))
        if not factor:
            continue
        match kind:
            case t.Real(a, b) | t.Int(a, b) if a is not None and b is not None:
                ends = sorted((factor * Fraction(a), factor * Fraction(b)))
                low, high = low + ends[0], high + ends[1]
            case _:
                return False
    largest = max(abs(low), abs(high)) + Fraction(rounding)
    return largest <= Fraction(target.claim.decode.tolerance)
