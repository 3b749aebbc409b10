"""What a position of a sequence, or a sequence as a whole, may be described by.

Features are expressions over the sequence `s` and, at a position, its index `i` and item `c`; a
head that selects by a predicate and aggregates is `s.count(c)`, `sum(d < c for d in s)`,
`s[i - 1]` and the like.  Causal heads read `s[:i + 1]`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from dsl import types as t
from dsl.program import Call, Comprehension, Expr, Literal, Variable, walk

_FEW_TOKENS = 12
_SUFFIXES = 64


@dataclass(frozen=True, slots=True)
class Names:
    """The sequence, and names for index and item in one loop and in the loops inside it."""

    s: Variable
    loops: tuple[tuple[Variable, Variable], ...]

    @property
    def i(self) -> Variable:
        return self.loops[0][0]

    @property
    def c(self) -> Variable:
        return self.loops[0][1]


def names(sequence: str, taken: tuple[str, ...]) -> Names:
    """Names that no input of the domain has."""
    pairs = (("i", "c"), ("j", "d"), ("k", "e"), ("m", "f"), ("index", "item"), ("other", "entry"))
    free = [pair for pair in pairs if not set(pair) & set(taken)]
    return Names(Variable(sequence), tuple((Variable(a), Variable(b)) for a, b in free))


def call(primitive: str, *args: Expr | float | str) -> Call:
    """A call; numbers and texts stand for literals."""
    written = (Literal(a) if isinstance(a, (int, float, str)) else a for a in args)
    return Call(primitive, tuple(written))


def part(
    s: Expr, start: Expr | int | None, stop: Expr | int | None, step: int | None = None
) -> Expr:
    """`s[start:stop:step]`."""
    ends = [a if a is not None and not isinstance(a, int) else Literal(a) for a in (start, stop)]
    return Call("slice", (s, *ends, Literal(step)))


def tally(test: Expr, item: Variable, source: Expr) -> Expr:
    """`sum(test for item in source)`."""
    return Call("sum", (Comprehension(test, (item.name,), source),))


def plus(a: Expr, k: int) -> Expr:
    return a if k == 0 else call("add" if k > 0 else "sub", a, abs(k))


def at_position(n: Names, item: t.Type) -> Iterator[Expr]:
    """Features of a position, the plainest first."""
    s, i, c = n.s, n.i, n.c
    size = call("len", s)
    yield c
    yield i
    yield size
    yield from _tests(c, item)
    for other in _elsewhere(n):
        yield other
        if isinstance(item, t.Token):
            yield call("eq", c, other)
    yield from _neighbours(n, item)
    yield from _counts(n, item)
    yield from of_sequence(s, item, n)
    yield call("sub", size, i)
    for k in (2, 3):
        yield call("mod", i, k)
    yield call("floordiv", i, 2)
    for half in (call("floordiv", plus(size, 1), 2), call("floordiv", size, 2)):
        yield half
        yield call("lt", i, half)
    yield call("eq", i, 0)
    yield call("eq", i, plus(size, -1))


def _elsewhere(n: Names) -> Iterator[Expr]:
    """Items at other places: neighbours (at the border the item itself, or around the corner),
    the mirror image, the place in the sorted sequence, the partner of a pair."""
    s, i = n.s, n.i
    size = call("len", s)
    last = plus(size, -1)
    for k in (1, 2, 3):
        yield call("index", s, call("max", plus(i, -k), 0))
        yield call("index", s, call("min", plus(i, k), last))
    for k in (1, 2):
        yield call("index", s, call("mod", plus(i, -k), size))
        yield call("index", s, call("mod", plus(i, k), size))
    mirror = call("sub", -1, i)
    ordered = call("sorted", s)
    yield call("index", s, mirror)
    yield call("index", ordered, i)
    yield call("index", ordered, mirror)
    yield call("find", ordered, call("index", ordered, i))
    for k in (0, 1, 2):
        yield call("index", s, call("min", k, last)) if k else call("index", s, 0)
        yield call("index", s, call("max", plus(size, -k - 1), 0)) if k else call("index", s, -1)
    partner = plus(i, 1), plus(i, -1)
    yield call("index", s, call("floordiv", i, 2))
    yield call("index", s, call("sub", i, call("mod", i, 2)))
    odd = call("ite", call("eq", call("mod", i, 2), 1), *partner)
    even = call("ite", call("eq", call("mod", i, 2), 0), *partner)
    for swap in (even, odd):
        yield call("index", s, call("max", call("min", swap, last), 0))
    yield call("find", s, n.c)
    # A head that finds no place attends to all alike.
    most = most_frequent(s, n)
    for k in (1, 2):
        yield call("ite", call("ge", i, k), call("index", s, plus(i, -k)), most)
        yield call("ite", call("lt", plus(i, k), size), call("index", s, plus(i, k)), most)


def _neighbours(n: Names, item: t.Type) -> Iterator[Expr]:
    """Is the item some places before or after a certain one?  Where there is no such place, either
    no, or what most items are: a head that finds nothing to attend to averages over all."""
    s, i = n.s, n.i
    size = call("len", s)
    if not isinstance(item, t.Token) or len(item.alphabet) > _FEW_TOKENS // 2:
        return
    for k in (1, 2, 3):
        for token in item.alphabet:
            most = call("gt", call("mul", call("count", s, token), 2), size)
            there = (call("ge", i, k), plus(i, -k)), (call("lt", plus(i, k), size), plus(i, k))
            for inside, place in there:
                test = call("eq", call("index", s, place), token)
                yield call("and", inside, test)
                if k < 3:
                    yield call("ite", inside, test, most)


def _counts(n: Names, item: t.Type) -> Iterator[Expr]:
    """How many items before, up to, from here on, or anywhere stand in a relation to this one."""
    s, i, c = n.s, n.i, n.c
    d = n.loops[1][1]
    before, upto, after = part(s, None, i), part(s, None, plus(i, 1)), part(s, plus(i, 1), None)
    for source in (s, before, after):
        yield call("count", source, c)
        yield tally(call("lt", d, c), d, source)
        yield tally(call("gt", d, c), d, source)
    yield call("contains", c, before)
    yield call("contains", c, after)
    for source in (upto, before, after):
        if isinstance(item, t.Token):
            if len(item.alphabet) <= _FEW_TOKENS:
                yield from (call("count", source, token) for token in item.alphabet)
        else:
            yield call("sum", source)
            if source is not upto:
                continue
            yield call("max", source)
            yield call("min", source)
    yield call("len", call("set", upto))
    yield call("max", part(s, i, None))
    yield call("min", part(s, i, None))


def of_sequence(s: Expr, item: t.Type, n: Names) -> Iterator[Expr]:
    """Features of a sequence as a whole; none that an empty sequence lacks comes first."""
    d = n.loops[1][1]
    yield call("len", s)
    if isinstance(item, t.Token):
        if len(item.alphabet) <= 2 * _FEW_TOKENS:
            yield from (call("count", s, token) for token in item.alphabet)
    else:
        yield call("sum", s)
        if isinstance(item, t.Int) and item.high is not None and item.high - (item.low or 0) < 4:
            yield from (call("count", s, k) for k in range(item.low or 0, item.high + 1))
    yield call("max", s)
    yield call("min", s)
    yield call("len", call("set", s))
    yield call("eq", s, part(s, None, None, -1))
    yield call("eq", s, call("sorted", s))
    yield call("index", s, 0)
    yield call("index", s, -1)
    for extreme in ("max", "min"):
        yield call("find", s, call(extreme, s))
    yield from _first_alone(s, n)
    yield most_frequent(s, n)
    yield call("max", Comprehension(call("count", s, d), (d.name,), s))
    yield from _of_neighbours(s, item, n)


def _first_alone(s: Expr, n: Names) -> Iterator[Expr]:
    """Where the first item stands that is there once, the length if there is none; whether there is
    one; and that item, else the last."""
    j, d = n.loops[1]
    size = call("len", s)
    there = call("ite", call("eq", call("count", s, d), 1), j, size)
    place = call("min", Comprehension(there, (j.name, d.name), call("enumerate", s)))
    yield place
    yield call("contains", 1, Comprehension(call("count", s, d), (d.name,), s))
    yield call("index", s, call("min", place, plus(size, -1)))


def _of_neighbours(s: Expr, item: t.Type, n: Names) -> Iterator[Expr]:
    """How items compare with the next one, all along the sequence."""
    d, e = n.loops[1][1], n.loops[2][1]
    pairs = call("zip", s, part(s, 1, None))

    def along(test: Expr) -> Expr:
        return Comprehension(test, (d.name, e.name), pairs)

    yield call("any", along(call("eq", d, e)))
    yield call("sum", along(call("eq", d, e)))
    if isinstance(item, t.Token):
        return
    yield call("all", along(call("lt", d, e)))
    yield call("all", along(call("ne", call("mod", d, 2), call("mod", e, 2))))
    yield call("all", along(call("eq", call("sub", e, d), 1)))
    yield call("sum", along(call("lt", d, e)))
    yield call("max", along(call("abs", call("sub", e, d))))


def most_frequent(s: Expr, n: Names) -> Expr:
    """The least of the most frequent items: what the greatest of averaged one-hot values is."""
    d, e = n.loops[1][1], n.loops[2][1]
    most = call("max", Comprehension(call("count", s, e), (e.name,), s))
    wanted = Comprehension(d, (d.name,), s, call("eq", call("count", s, d), most))
    return call("min", wanted)


def of_prefix(p: Expr, item: t.Type, n: Names) -> Iterator[Expr]:
    """Features of a prefix, which may be empty: counts, ends, what it consists of."""
    yield from of_sequence(p, item, n)
    alphabet: tuple[Any, ...] = item.alphabet if isinstance(item, t.Token) else ()
    if isinstance(item, t.Int) and item.high is not None and item.high - (item.low or 0) < 12:
        alphabet = tuple(range(item.low or 0, item.high + 1))
    ends: list[tuple[Any, ...]] = [()]
    for length in (1, 2, 3):
        ends = [(token, *end) for token in alphabet for end in ends]
        if len(ends) > _SUFFIXES:
            break
        for end in ends:
            yield call("eq", part(p, -length, None), Call("list", tuple(Literal(x) for x in end)))
        for end in ends:
            yield call("eq", part(p, None, length), Call("list", tuple(Literal(x) for x in end)))


def _tests(c: Expr, item: t.Type) -> Iterator[Expr]:
    if isinstance(item, t.Token) and len(item.alphabet) <= 3 * _FEW_TOKENS:
        yield from (call("eq", c, token) for token in item.alphabet if isinstance(token, str))


def reduced(feature: Expr, n: Names) -> Expr:
    """A feature of a position as one of the positions in a loop inside: its own inner loops get
    the names of deeper ones, `i` and `c` become `j` and `d`."""
    pairs = list(zip(n.loops, n.loops[1:], strict=False))
    renaming = {a.name: b.name for old, new in pairs for a, b in zip(old, new, strict=True)}
    return renamed(feature, renaming)


def renamed(expr: Expr, names_to: dict[str, str]) -> Expr:
    """The expression with variables renamed, the bound ones too."""
    match expr:
        case Variable(name):
            return Variable(names_to.get(name, name))
        case Call(primitive, args, options):
            return Call(primitive, tuple(renamed(arg, names_to) for arg in args), options)
        case Comprehension(element, targets, source, condition):
            return Comprehension(
                renamed(element, names_to),
                tuple(names_to.get(name, name) for name in targets),
                renamed(source, names_to),
                None if condition is None else renamed(condition, names_to),
            )
        case _:
            return expr


def over(element: Expr, n: Names, source: Expr, level: int = 0) -> Expr:
    """`[element for i, c in enumerate(source)]`, without what the element does not use."""
    i, c = n.loops[level]
    used = {node.name for node in walk(element) if isinstance(node, Variable)}
    if i.name not in used:
        return Comprehension(element, (c.name,), source)
    if c.name not in used:
        return Comprehension(element, (i.name,), call("range", call("len", source)))
    return Comprehension(element, (i.name, c.name), call("enumerate", source))
