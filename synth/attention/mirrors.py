"""Yes where a sequence is its own mirror image, at the pairs that the network looks at."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dsl.program import Comprehension, Expr, Literal
from synth.attention.features import Names, call
from synth.attention.solver import Answer, either
from synth.problem import Problem

CLOSEST = "closest"
_MOST = 64
_BETTER = 0.7


def mirrored(problem: Problem, names: Names) -> Iterator[Answer]:
    """`s == s[::-1]`, or the pairs of places that must match: of all pairs those are dropped, one
    after the other, without which the test comes closer to all that was observed."""
    columns, values = _matches(problem, names.s.name)
    kinds = sorted(set(values.tolist()), key=repr)
    if len(kinds) != 2 or not 1 < len(columns) <= _MOST:
        return
    for yes in (1, 0):
        wanted = values == kinds[yes]
        kept = list(range(len(columns)))
        wrong = _wrong(columns, kept, wanted)
        while len(kept) > 1:
            fewer = [[k for k in kept if k != dropped] for dropped in kept]
            counts = [_wrong(columns, chosen, wanted) for chosen in fewer]
            best = int(np.argmin(counts))
            if counts[best] >= wrong:
                break
            kept, wrong = fewer[best], counts[best]
        if wrong < _BETTER * min(wanted.sum(), (~wanted).sum()):
            test = _test(names, kept, len(columns))
            yield Answer(either(test, kinds[yes], kinds[1 - yes]), how=CLOSEST)


def _matches(problem: Problem, name: str) -> tuple[np.ndarray, np.ndarray]:
    """(pairs, inputs): does item k from the front equal item k from the back?  With the answers.
    Empty where lengths differ."""
    observed = problem.observations
    shapes = {(o.inputs[name].shape[1], *o.values.shape[1:]) for o in observed}
    if len(shapes) != 1 or any(o.values.ndim != 1 for o in observed):
        return np.zeros((0, 0), bool), np.zeros(0)
    items = [o.inputs[name] for o in observed]
    together = np.concatenate(items)
    half = together.shape[1] // 2
    matches = together[:, :half] == together[:, ::-1][:, :half]
    return matches.T, np.concatenate([o.values for o in observed])


def _pair(s: Expr, k: Expr) -> Expr:
    return call("eq", call("index", s, k), call("index", s, call("sub", -1, k)))


def _wrong(columns: np.ndarray, kept: list[int], wanted: np.ndarray) -> int:
    """On how many inputs the chosen pairs do not say what is wanted."""
    return int((columns[kept].all(axis=0) != wanted).sum())


def _test(n: Names, kept: list[int], pairs: int) -> Expr:
    if len(kept) == pairs:
        return call("eq", n.s, call("slice", n.s, Literal(None), Literal(None), -1))
    k = n.loops[1][0]
    return call("all", Comprehension(_pair(n.s, k), (k.name,), Literal(tuple(kept))))
