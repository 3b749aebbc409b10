"""Decision lists over half-lines of short terms: `if a + b > 70: return 1`, for few exact labels.

A rule `term > c` or `term < c` holds on rows of one label only; given the term and the label, the
widest such rule is known without search (Rivest 1987, with half-lines for attributes).  So lists
are searched by a beam over (term, side, label), under two-part code length.  Labels that are
integers are also written as sums of truth values, each a list of two labels.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dsl.claim import Hypothesis
from dsl.program import Call, Expr, Literal, Program, negated
from synth.enumeration import INTEGER, Bank, Leaf
from synth.expressions import disagreements, simplest, starting_leaves
from synth.guidance import nodes
from synth.inequalities.forms import scaled, total
from synth.leaves import Inputs, chosen
from synth.problem import Problem
from synth.sufficiency import ranks
from synth.tables import literal

_ROWS = 800
_ROUNDS = 4
_SHARE = 0.2
_TERMS, _LINEAR = 600, 300
_COST = 5
_FACTORS = {2: (1, 2, 3), 3: (1, 2), 4: (1,)}
"""Sizes of factors in sums of so many inputs."""
_MOST_SUMMED = 6
_VOTES = {3: 3, 4: 3, 5: 3, 6: 2, 7: 1, 8: 1}
"""Sizes of factors of so many inputs that are 0 or 1."""
_MOST_LABELS = 8
_FEW_VALUES = 12
_BEAM, _RULES = 8, 10
_FEW_RULES = (1, 2, 4)
_NODE_BITS = 5.0
_SIZES = (1, 3, 99)
_SPLITS = 12


@dataclass(frozen=True, slots=True)
class Terms:
    """Integer expressions with their values (n, N) and sizes in nodes; a truth value counts as 0
    or 1, and `truths` says which are such."""

    exprs: tuple[Expr, ...]
    values: np.ndarray
    sizes: np.ndarray
    truths: np.ndarray


@dataclass(frozen=True, slots=True)
class Rule:
    """A test that holds on rows of one label, the number `label`, among the rows that remain."""

    test: Expr
    label: int


@dataclass(frozen=True, slots=True)
class Decisions:
    """Rules to be tried in turn, what remains after them, and the bits of both."""

    rules: tuple[Rule, ...]
    remaining: np.ndarray
    bits: float


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Lists, and for integers sums of truth values, that agree with all that was observed; the
    closest ones on the way.  Short ones are found soon or not at all: a share of the time is
    enough."""
    if any(o.values.ndim != 1 or o.values.dtype.kind not in "iubU" for o in problem.observations):
        return
    extra: tuple[tuple[int, int], ...] = ()
    tried = 0
    deadline = time.monotonic() + _SHARE * problem.time_left
    for _ in range(_ROUNDS):
        inputs = chosen(problem, _ROWS, extra)
        kinds, codes = np.unique(inputs.values, return_inverse=True)
        if not 1 < len(kinds) <= _MOST_LABELS:
            return
        terms, count = _terms(problem, inputs)
        tried += count
        if not terms.exprs:
            return
        found = [
            *_sums(terms, kinds, codes, deadline),
            *_list_of(terms, kinds, codes, deadline),
        ]
        if not found:
            return
        missed: set[tuple[int, int]] = set()
        exact = False
        for expr in sorted(dict.fromkeys(found), key=nodes)[:3]:
            names = tuple((name, None) for name in problem.target.domain.names)
            program = Program("program", names, (), expr)
            wrong = disagreements(problem, program, 64)
            yield Hypothesis(program, "lists", tried)
            missed |= set(wrong)
            exact |= not wrong
        if exact or time.monotonic() > deadline:
            return
        extra = (*extra, *sorted(missed))


def _terms(problem: Problem, inputs: Inputs) -> tuple[Terms, int]:
    """The simplest expressions over the inputs that are not constant, and how many were tried."""
    leaves = starting_leaves(problem, inputs)
    truths = [leaf for leaf in leaves if leaf.values.dtype == bool]
    numbers = [leaf for leaf in leaves if leaf.values.dtype != bool]
    exprs: list[Expr] = [leaf.expr for leaf in truths]
    rows: list[np.ndarray] = [leaf.values.astype(np.int64) for leaf in truths]
    tried = 0
    if numbers:
        bank = Bank(numbers, operators=INTEGER, capacity=4 * _TERMS, seed=problem.seed)
        limit = time.monotonic() + max(0.5, 0.1 * problem.time_left)
        for _ in bank.grow(_COST, min(problem.deadline, limit)):
            pass
        tried = bank.tried
        grown = bank.rows("int")
        sums = sorted(_sums_of_inputs(numbers), key=lambda leaf: nodes(leaf.expr))
        sums = [*_weighted_votes(numbers, inputs.values), *sums]
        whole = np.concatenate([grown, *(leaf.values[None] for leaf in sums)])
        kept = _orders(whole)
        from_bank = kept[kept < len(grown)][:_TERMS]
        linear = kept[kept >= len(grown)][:_LINEAR]
        exprs += [bank.expr("int", int(i)) for i in from_bank]
        exprs += [sums[i - len(grown)].expr for i in linear]
        rows += [*whole[from_bank], *whole[linear]]
    values = np.array(rows, np.int64).reshape(len(exprs), len(inputs.values))
    sizes = np.array([nodes(expr) for expr in exprs], np.int64)
    return Terms(tuple(exprs), values, sizes, np.arange(len(exprs)) < len(truths)), tried


def _sums_of_inputs(leaves: list[Leaf]) -> Iterator[Leaf]:
    """`a + b - 2 * c`: sums of a few inputs with small whole factors, without their opposites,
    and the sum of all."""
    inputs = [leaf for leaf in leaves if not isinstance(leaf.expr, Literal)]
    for count, factors in _FACTORS.items():
        if len(inputs) > _MOST_SUMMED and count > 2:
            break
        signed = (*factors, *(-factor for factor in factors))
        for summed in itertools.combinations(inputs, count):
            for chosen_factors in itertools.product(factors, *[signed] * (count - 1)):
                if math.gcd(*chosen_factors) == 1:
                    yield _weighted(summed, chosen_factors)
    if len(inputs) > max(_FACTORS):
        yield _weighted(inputs, [1] * len(inputs))


def _weighted_votes(leaves: list[Leaf], labels: np.ndarray) -> Iterator[Leaf]:
    """Of inputs that are 0 or 1 the sum with the smallest factors that tells low labels from high
    ones, for each place to divide them."""
    inputs = [leaf for leaf in leaves if not isinstance(leaf.expr, Literal)]
    most = _VOTES.get(len(inputs))
    columns = np.array([leaf.values for leaf in inputs])
    if most is None or labels.dtype.kind not in "iub" or not np.isin(columns, (0, 1)).all():
        return
    factors = np.array(list(itertools.product(range(-most, most + 1), repeat=len(inputs))))
    lengths = (2 * (factors != 0) + 2 * (np.abs(factors) > 1)).sum(1)
    factors = factors[np.argsort(lengths, kind="stable")]
    rows, first = np.unique(columns.T, axis=0, return_index=True)
    votes = factors @ rows.T
    for label in np.unique(labels)[1:]:
        high = labels[first] >= label
        if not high.any() or high.all():
            continue
        apart = np.flatnonzero(votes[:, high].min(1) > votes[:, ~high].max(1))
        if len(apart):
            chosen_factors = factors[apart[0]].tolist()
            kept = [(f, leaf) for f, leaf in zip(chosen_factors, inputs, strict=True) if f]
            yield _weighted([leaf for _, leaf in kept], [f for f, _ in kept])


def _weighted(leaves: Sequence[Leaf], factors: Sequence[int]) -> Leaf:
    """The sum, with what is taken away at the end."""
    parts = sorted(zip(factors, leaves, strict=True), key=lambda part: part[0] < 0)
    (first, leaf), *others = parts
    expr, values = scaled(first, leaf.expr), first * leaf.values
    for factor, other in others:
        expr, values = total(expr, factor, other.expr), values + factor * other.values
    return Leaf(expr, values)


def _orders(rows: np.ndarray) -> np.ndarray:
    """The first of all rows that put the inputs into one order, or its reverse: they have the same
    half-lines.  None that is constant."""
    order = ranks(rows)
    reverse = order.max(1, keepdims=True) - order
    known: set[bytes] = set()
    kept = []
    for i in np.flatnonzero(order.max(1) > 0):
        key = order[i].tobytes()
        if key not in known:
            kept.append(i)
            known |= {key, reverse[i].tobytes()}
    return np.array(kept, np.int64)


def _list_of(terms: Terms, kinds: np.ndarray, codes: np.ndarray, deadline: float) -> Iterator[Expr]:
    """The shortest list, as an expression with the values themselves."""
    found = shortest_list(terms, codes, _RULES, deadline)
    if found is None:
        return
    rules, last = found
    if kinds.dtype == bool or len(kinds) == 2:
        truth = as_truth(rules, last)
        if kinds.dtype == bool:
            yield truth
        elif kinds.dtype.kind in "iu" and kinds.tolist() == [0, 1]:
            yield Call("int", (truth,))
        else:
            yield Call("ite", (truth, literal(kinds[1]), literal(kinds[0])))
        return
    expr: Expr = literal(kinds[last])
    for rule in reversed(_merged(rules)):
        expr = Call("ite", (rule.test, literal(kinds[rule.label]), expr))
    yield expr


def _merged(rules: tuple[Rule, ...]) -> list[Rule]:
    """Neighbours of one label as one rule."""
    merged: list[Rule] = []
    for rule in rules:
        if merged and merged[-1].label == rule.label:
            merged[-1] = Rule(Call("or", (merged[-1].test, rule.test)), rule.label)
        else:
            merged.append(rule)
    return merged


def _sums(terms: Terms, kinds: np.ndarray, codes: np.ndarray, deadline: float) -> Iterator[Expr]:
    """Integers as sums of truth values: one for each step from a value to the next, and weighted
    ones that leave fewer values for the others."""
    if kinds.dtype.kind not in "iu" or len(kinds) < 3:
        return
    numbers = kinds.astype(np.int64)[codes]
    for most in _FEW_RULES:
        parts = _split(terms, numbers - numbers.min(), most, deadline)
        if parts is not None:
            yield _summed(int(numbers.min()), parts)
            return
    steps = []
    for code in range(1, len(kinds)):
        found = shortest_list(terms, (codes >= code).astype(np.int64), _FEW_RULES[-1], deadline)
        if found is None:
            return
        steps.append((int(kinds[code] - kinds[code - 1]), as_truth(*found)))
    yield _summed(int(kinds[0]), steps)


def _summed(start: int, parts: list[tuple[int, Expr]]) -> Expr:
    whole: Expr | None = Literal(start) if start else None
    for weight, truth in sorted(parts, key=lambda part: (-part[0], nodes(part[1]))):
        part: Expr = Call("int", (truth,))
        if weight > 1:
            part = Call("mul", (Literal(weight), part))
        whole = part if whole is None else Call("add", (whole, part))
    assert whole is not None
    return whole


def _split(
    terms: Terms, numbers: np.ndarray, most: int, deadline: float
) -> list[tuple[int, Expr]] | None:
    """Numbers from 0 as `weight * truth + rest` where the rest has a smaller range, with lists of
    at most so many rules.  The first truth is a half-line that must hold wherever the rest would
    be too large without it, and fail wherever it would be negative."""
    largest = int(numbers.max())
    if largest > _MOST_LABELS or time.monotonic() > deadline:
        return None
    trials: list[tuple[int, int, Expr, np.ndarray]] = []
    for weight in range(largest, 0, -1):
        must, mustnt = numbers > largest - weight, numbers < weight
        if (must & mustnt).any() or not must.any() or not mustnt.any():
            continue
        for test, held in _separating(terms, must, mustnt):
            trials.append((nodes(test), weight, test, held))
    trials.sort(key=lambda trial: trial[0])
    for _, weight, test, held in trials[:_SPLITS]:
        rest = numbers - weight * held
        values = np.unique(rest)
        if len(values) == 1:
            return [(weight, test)]
        if len(values) == 2 and values[0] == 0:
            found = shortest_list(terms, (rest > 0).astype(np.int64), most, deadline)
            if found is not None:
                return [(weight, test), (int(values[1]), as_truth(*found))]
        elif values[-1] < largest:
            inner = _split(terms, rest, most, deadline)
            if inner is not None:
                return [(weight, test), *inner]
    return None


def _separating(
    terms: Terms, must: np.ndarray, mustnt: np.ndarray
) -> Iterator[tuple[Expr, np.ndarray]]:
    """Half-lines that hold on the first rows and not on the second."""
    high, low = terms.values[:, must], terms.values[:, mustnt]
    above = np.flatnonzero(high.min(1) > low.max(1))
    below = np.flatnonzero(high.max(1) < low.min(1))
    order = [(int(i), True) for i in above] + [(int(i), False) for i in below]
    for term, up in sorted(order, key=lambda place: terms.sizes[place[0]])[:_SPLITS]:
        if up:
            bound = simplest(int(low[term].max()), int(high[term].min()), "gt")
            held = terms.values[term] > bound
        else:
            bound = simplest(int(high[term].max()), int(low[term].min()), "lt")
            held = terms.values[term] < bound
        yield _test(terms, term, up, bound), held


def _test(terms: Terms, term: int, up: bool, bound: int) -> Expr:
    expr = terms.exprs[term]
    if terms.truths[term]:
        return expr if up else negated(expr)
    strict, loose, other = ("gt", "ge", bound + 1) if up else ("lt", "le", bound - 1)
    if _roundness(other) > max(_roundness(bound), 2):
        return _compared(loose, expr, other)
    return _compared(strict, expr, bound)


def _compared(comparison: str, expr: Expr, bound: int) -> Expr:
    """`expr < bound`; a difference beside 0 is a comparison of its terms, and so is a distance."""
    match expr, comparison, bound:
        case Call("sub", terms), _, 0:
            return Call(comparison, terms)
        case Call("abs", (Call("sub", terms),)), "le" | "lt", 0 | 1 if (
            comparison == "le"
        ) != bound:
            return Call("eq", terms)
        case Call("abs", (Call("sub", terms),)), "gt" | "ge", 0 | 1 if (
            comparison == "gt"
        ) != bound:
            return Call("ne", terms)
    return Call(comparison, (expr, Literal(bound)))


def _roundness(number: int) -> int:
    return next((step for step in (1000, 100, 50, 10, 5, 2) if number % step == 0), 1)


def shortest_list(
    terms: Terms, codes: np.ndarray, most: int, deadline: float
) -> tuple[tuple[Rule, ...], int] | None:
    """The list of at most `most` rules with the fewest bits that gives every row its code, and the
    code of the rows that no rule names.  Short terms first: among many terms a beam loses them."""
    found = []
    for largest in _SIZES:
        kept = np.flatnonzero(terms.sizes <= largest)
        part = Terms(
            tuple(terms.exprs[i] for i in kept),
            terms.values[kept],
            terms.sizes[kept],
            terms.truths[kept],
        )
        one = _by_beam(part, codes, most, deadline) if len(kept) else None
        if one is not None:
            found.append(one)
    if not found:
        return None
    _, rules, last = min(found, key=lambda one: one[0])
    return rules, last


def _by_beam(
    terms: Terms, codes: np.ndarray, most: int, deadline: float
) -> tuple[float, tuple[Rule, ...], int] | None:
    """The list with its bits, and the code of what remains."""
    beam = [Decisions((), np.ones(len(codes), bool), 0.0)]
    best: tuple[float, tuple[Rule, ...], int] | None = None
    for length in range(most + 1):
        open_: list[Decisions] = []
        for state in beam:
            left = codes[state.remaining]
            if (left != left[0]).any():
                open_.append(state)
            elif best is None or state.bits < best[0]:
                best = state.bits, state.rules, int(left[0])
        open_ = [state for state in open_ if best is None or state.bits < best[0]]
        open_.sort(key=lambda state: state.bits + _open_bits(codes[state.remaining]))
        following: dict[bytes, Decisions] = {}
        for state in open_[:_BEAM] if length < most else []:
            if time.monotonic() > deadline:
                return best
            for longer in _extended(terms, codes, state):
                key = longer.remaining.tobytes()
                if key not in following or longer.bits < following[key].bits:
                    following[key] = longer
        beam = list(following.values())
    return best


def _open_bits(codes: np.ndarray) -> float:
    """Bits of the labels that remain, one by one."""
    counts = np.bincount(codes)
    counts = counts[counts > 0]
    return float(-(counts * np.log2(counts / len(codes))).sum())


def _extended(terms: Terms, codes: np.ndarray, state: Decisions) -> Iterator[Decisions]:
    """The state with one more rule: for each label the widest half-lines and single values that
    hold no row of another label."""
    rows = np.flatnonzero(state.remaining)
    values, left = terms.values[:, rows], codes[rows]
    for label in np.unique(left):
        mine, others = values[:, left == label], values[:, left != label]
        for up in (True, False):
            bound = others.max(1) if up else others.min(1)
            covered = mine > bound[:, None] if up else mine < bound[:, None]
            counts = covered.sum(1)
            gains = counts * (counts > 0) / (terms.sizes + 2)
            # A term that holds all rows of its label counts, however long it is.
            whole = np.flatnonzero(counts == mine.shape[1])
            shortest = whole[np.argsort(terms.sizes[whole], kind="stable")[:1]]
            best = np.argsort(-gains, kind="stable")[: 2 * _BEAM]
            for term in dict.fromkeys([*shortest.tolist(), *best.tolist()]):
                if not counts[term]:
                    break
                edge, side = int(bound[term]), mine[term][covered[term]]
                if up:
                    cut = simplest(edge, int(side.min()), "gt")
                    held = terms.values[term] > cut
                else:
                    cut = simplest(int(side.max()), edge, "lt")
                    held = terms.values[term] < cut
                test = _test(terms, term, up, cut)
                yield _with_rule(state, Rule(test, int(label)), held)
        for term in np.flatnonzero(~terms.truths):
            if terms.sizes[term] > 3:
                break
            kinds = np.unique(mine[term])
            if len(kinds) > _FEW_VALUES:
                continue
            for value in np.setdiff1d(kinds, others[term]).tolist():
                test = _compared("eq", terms.exprs[term], value)
                yield _with_rule(state, Rule(test, int(label)), terms.values[term] == value)


def _with_rule(state: Decisions, rule: Rule, held: np.ndarray) -> Decisions:
    bits = state.bits + _NODE_BITS * (nodes(rule.test) + 1)
    return replace(state, rules=(*state.rules, rule), remaining=state.remaining & ~held, bits=bits)


def as_truth(rules: tuple[Rule, ...], last: int) -> Expr:
    """A list of two labels, 0 and 1, as a condition for 1."""
    truth: Expr | None = None
    held = last
    for rule in reversed(_merged(rules)):
        if rule.label == held:
            continue
        if truth is None:
            truth = rule.test if rule.label else _none_of(rule.test)
            held = 2
        elif rule.label:
            truth = Call("or", (rule.test, truth))
        else:
            truth = Call("and", (_none_of(rule.test), truth))
    return Literal(bool(last)) if truth is None else truth


def _none_of(test: Expr) -> Expr:
    """The opposite of a disjunction, as a conjunction."""
    match test:
        case Call("or", (first, second)):
            return Call("and", (_none_of(first), _none_of(second)))
        case _:
            return negated(test)
