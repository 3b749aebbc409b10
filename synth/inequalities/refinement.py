"""A formula and its features, improved in turn until nothing gets shorter."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from dsl.program import Call, Expr, Literal, Variable
from synth.inequalities.atoms import Library, Order, order_of
from synth.inequalities.cells import Cells
from synth.inequalities.constants import Cut, best_cut
from synth.inequalities.forms import Feature, Form, mixed_form, spread, test_of
from synth.inequalities.formulas import (
    MISTAKE_BITS,
    Formula,
    counts_of,
    description_bits,
    formulas,
    substituted,
)

_ROUNDS = 6
_TABLE = 1 << 14
_PROMISING = 8
_FAR = 1.6
_CHEAPEST = 1.0
_NEAREST = 40


@dataclass(frozen=True, slots=True)
class Rule:
    """A formula with the features that it speaks of; `bits` are those of the program and, at
    `MISTAKE_BITS` each, of its mistakes."""

    features: tuple[Feature, ...]
    formula: Formula
    mistakes: int
    bits: float


def refined(
    cells: Cells,
    library: Library,
    features: tuple[Feature, ...],
    most: int,
    best: float,
    deadline: float,
) -> list[Rule]:
    """Rules over features like the given ones, the shortest first; those that begin much longer
    than `best` bits are not followed."""
    if np.prod([feature.arity for feature in features]) > _TABLE:
        return []
    found: list[Rule] = []
    for formula in _formulas(cells, features, most):
        if time.monotonic() > deadline and found:
            break
        rule = _improved(cells, library, rule_of(cells, features, formula), best, deadline)
        best = min(best, rule.bits)
        found.append(rule)
    return sorted(found, key=lambda rule: rule.bits)


def rule_of(cells: Cells, features: tuple[Feature, ...], formula: Formula) -> Rule:
    truth = formula.table[tuple(feature.codes for feature in features)]
    wrong = int((truth != cells.labels).sum())
    bits = description_bits(*written(features, formula)) + MISTAKE_BITS * wrong
    return Rule(features, formula, wrong, bits)


def rounded(rule: Rule, cells: Cells) -> Rule:
    """The rule with rounder constants, each paid for by mistakes at the price that they have beside
    the bound, where a network that learned the rule makes most of its own."""
    for place, feature in enumerate(rule.features):
        if feature.form is None:
            continue
        without, within = _wrong_by_code(cells, rule, place)
        price = _price_at_the_bound(feature, without, within)
        cut = _cut(feature.form, order_of(feature.form), without, within, price)
        if cut is not None and cut.constant != feature.constant:
            rounder = _test_feature(feature.form, cut)
            features = (*rule.features[:place], rounder, *rule.features[place + 1 :])
            rule = rule_of(cells, features, rule.formula)
    return rule


def _price_at_the_bound(feature: Feature, without: np.ndarray, within: np.ndarray) -> float:
    """Bits that one more mistake costs among the cells that are nearest to a test's bound, of those
    whose label depends on the test; at most `MISTAKE_BITS`."""
    assert feature.form is not None
    depends = np.flatnonzero(without != within)
    held = feature.codes[depends] == 1
    order = np.argsort(feature.form.keys[depends], kind="stable")
    bound = int(held.sum())
    nearest = order[max(0, bound - _NEAREST) : bound + _NEAREST]
    wrong = np.where(held, within[depends], without[depends])[nearest]
    share = (float(wrong.sum()) + 0.5) / (len(wrong) + 1)
    return min(MISTAKE_BITS, max(_CHEAPEST, math.log2((1 - share) / share)))


def written(features: tuple[Feature, ...], formula: Formula) -> tuple[Expr | None, Expr]:
    """The score, where there is one, and the truth value, over the variables of the program."""
    values = {f"f{i}": feature.expr for i, feature in enumerate(features)}
    score = None if formula.score is None else substituted(formula.score, values)
    return score, substituted(formula.result, values)


def _formulas(cells: Cells, features: tuple[Feature, ...], most: int) -> list[Formula]:
    counts = counts_of(
        [feature.codes for feature in features],
        tuple(feature.arity for feature in features),
        cells.labels,
    )
    return formulas(counts, most)


def _improved(cells: Cells, library: Library, rule: Rule, best: float, deadline: float) -> Rule:
    """Tests, residues and the formula changed in turn.  A rough test has no constant yet, so the
    first round replaces each test whatever it costs."""
    for number in range(_ROUNDS):
        before = rule.bits
        for place in range(len(rule.features)):
            changed = _with_better(cells, library, rule, place)
            if changed is not None and (changed.bits < rule.bits or number == 0):
                rule = changed
        rule = _without_idle(rule)
        single = tuple({feature.expr: feature for feature in rule.features}.values())
        for formula in _formulas(cells, single, 3):
            rival = rule_of(cells, single, formula)
            if rival.bits < rule.bits:
                rule = _without_idle(rival)
        rule = _with_plainer(cells, library, rule)
        if (number and rule.bits >= before - 0.5) or time.monotonic() > deadline:
            break
        if rule.bits > _FAR * best:
            break
    return rule


def _with_plainer(cells: Cells, library: Library, rule: Rule) -> Rule:
    """The rule with a plainer residue in the place of one, and a formula for it, where that is
    shorter."""
    best = rule
    for place, feature in enumerate(rule.features):
        for plainer in _plainer(cells, library, feature):
            features = (*rule.features[:place], plainer, *rule.features[place + 1 :])
            for formula in _formulas(cells, features, 1):
                rival = rule_of(cells, features, formula)
                if rival.bits < best.bits:
                    best = rival
    return _without_idle(best)


def _plainer(cells: Cells, library: Library, feature: Feature) -> Iterator[Feature]:
    """Of a residue those by a divisor of its modulus, and those of shorter expressions of the same
    variable: `b % 7 == 3` says what `(b ** 2 + b) % 7 == 5` does."""
    match feature.expr:
        case Call("mod", (inner, Literal(int(modulus)))):
            pass
        case _:
            return
    for divisor in range(2, modulus // 2 + 1):
        if modulus % divisor == 0:
            expr = Call("mod", (inner, Literal(divisor)))
            codes = feature.codes % divisor
            yield replace(feature, expr=expr, codes=codes, arity=divisor)
    for residue in library.residues:
        same = (residue.axis,) == feature.axes and residue.arity == modulus
        if same and residue.bits < feature.bits:
            yield spread(residue, cells)


def _without_idle(rule: Rule) -> Rule:
    """The rule without the features on which it does not depend; one stays."""
    table, features = rule.formula.table, list(rule.features)
    for axis in range(table.ndim - 1, -1, -1):
        if len(features) > 1 and (table == table.take([0], axis=axis)).all():
            table = table.take(0, axis=axis)
            del features[axis]
    if len(features) == len(rule.features):
        return rule
    # The names of the features move up.
    kept = {id(feature): f"f{i}" for i, feature in enumerate(features)}
    names: dict[str, Expr] = {
        f"f{i}": Variable(kept[id(feature)])
        for i, feature in enumerate(rule.features)
        if id(feature) in kept
    }
    formula = rule.formula
    score = None if formula.score is None else substituted(formula.score, names)
    moved = replace(formula, score=score, result=substituted(formula.result, names), table=table)
    return replace(rule, features=tuple(features), formula=moved)


def _with_better(cells: Cells, library: Library, rule: Rule, place: int) -> Rule | None:
    """The rule with another test, or another residue, in one place: the one of fewest bits."""
    feature = rule.features[place]
    wrong = _wrong_by_code(cells, rule, place)
    if feature.form is not None:
        better = _better_test(cells, library, feature.form, wrong[0], wrong[1])
    else:
        better = _better_residue(cells, library, feature, wrong)
    if better is None:
        return None
    features = (*rule.features[:place], better, *rule.features[place + 1 :])
    return rule_of(cells, features, rule.formula)


def _wrong_by_code(cells: Cells, rule: Rule, place: int) -> np.ndarray:
    """On which cells (arity, N) the rule is wrong for each code of the feature in that place."""
    others = [feature.codes for feature in rule.features]
    wrong = []
    for code in range(rule.features[place].arity):
        others[place] = np.full(len(cells), code)
        wrong.append(rule.formula.table[tuple(others)] != cells.labels)
    return np.array(wrong)


def _better_test(
    cells: Cells, library: Library, form: Form, without: np.ndarray, within: np.ndarray
) -> Feature | None:
    """The test of fewest bits where a failing test is wrong on the cells `without`, and one that
    holds on the cells `within`."""
    candidates = _promising(library.forms, library.orders, without, within)
    mixed = [candidate for candidate, _ in candidates if candidate.mixed is not None][:1]
    for candidate in mixed if form.mixed is None else [form, *mixed]:
        near = tuple(_nearby(cells, candidate))
        candidates += _promising(near, tuple(map(order_of, near)), without, within)
    best: tuple[float, Form, Cut] | None = None
    for candidate, order in candidates:
        cut = _cut(candidate, order, without, within)
        if cut is None:
            continue
        bits = MISTAKE_BITS * cut.mistakes + description_bits(test_of(candidate, cut.constant))
        if best is None or bits < best[0]:
            best = bits, candidate, cut
    if best is None:
        return None
    return _test_feature(*best[1:])


def _test_feature(form: Form, cut: Cut) -> Feature:
    test = test_of(form, cut.constant)
    bits = description_bits(test)
    return Feature(test, _held(form, cut), 2, bits, form.axes, form, cut.constant, cut.interval)


def _promising(
    forms: tuple[Form, ...],
    orders: tuple[Order, ...],
    without: np.ndarray,
    within: np.ndarray,
) -> list[tuple[Form, Order]]:
    """The forms with the fewest bits if their best constant were free."""
    change = (within.astype(np.int8) - without).astype(np.int8)
    base = int(without.sum())
    estimates = np.empty(len(forms))
    for number, order in enumerate(orders):
        running = np.cumsum(change[order.cells], dtype=np.int32)[order.ends - 1]
        estimates[number] = MISTAKE_BITS * (base + min(0, int(running.min()))) + forms[number].bits
    chosen = np.argsort(estimates, kind="stable")[:_PROMISING]
    return [(forms[i], orders[i]) for i in chosen]


def _cut(
    form: Form,
    order: Order,
    without: np.ndarray,
    within: np.ndarray,
    price: float = MISTAKE_BITS,
) -> Cut | None:
    return best_cut(
        order.keys,
        order.mistakes(without, within),
        whole=form.right is None,
        mistake_bits=price,
    )


def _held(form: Form, cut: Cut) -> np.ndarray:
    bound = float(cut.constant)
    if form.right is not None:
        bound *= 1 - 1e-13
    return (form.keys < bound).astype(np.int64)


def _nearby(cells: Cells, form: Form) -> list[Form]:
    """The same form with other round factors of about the same size."""
    assert form.mixed is not None
    p, q, r = form.mixed
    size = abs(q)
    if size < 4:
        factors = {1, 2, 3, 4, 5, 6}
    else:
        unit = 10 ** (len(str(size)) - 1)
        factors = {unit * k // 10 for k in range(max(10, 6 * size // unit), 17 * size // unit + 1)}
        factors = {f for f in factors if 0.6 * size <= f <= 1.7 * size}
    sign = 1 if q > 0 else -1
    return [
        mixed_form(cells.axes, cells.columns, (form.axes[0], form.axes[1]), (p, sign * factor, r))
        for factor in sorted(factors)
        if factor > 0
    ]


def _better_residue(
    cells: Cells, library: Library, feature: Feature, wrong: np.ndarray
) -> Feature | None:
    """The residue of the same number of values with the fewest bits; `wrong` (arity, N) marks the
    cells on which each value is a mistake."""
    best: tuple[float, Feature] | None = None
    for axis in range(len(cells.axes)):
        rows = cells.columns[axis] - cells.axes[axis].low
        width = len(cells.axes[axis].values)
        by_row = np.array([np.bincount(rows, part, minlength=width) for part in wrong])
        for residue in library.residues:
            if residue.axis != axis or residue.arity != feature.arity:
                continue
            mistakes = by_row[residue.values, np.arange(width)].sum()
            bits = MISTAKE_BITS * mistakes + description_bits(residue.expr)
            if best is None or bits < best[0]:
                best = bits, spread(residue, cells)
    for joint in library.joint:
        if joint.arity != feature.arity:
            continue
        mistakes = np.take_along_axis(wrong, joint.codes[None], 0).sum()
        bits = MISTAKE_BITS * mistakes + description_bits(joint.expr)
        if best is None or bits < best[0]:
            best = bits, joint
    return None if best is None else best[1]
