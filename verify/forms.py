"""Values of programs as exact linear forms over the nodes of a graph, and the rows made of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np

from verify.graph import Affine, Builder, accumulated, matrix
from verify.relaxations import UNIT


class Untranslatable(ValueError):
    """The program has an operation that has no pieces here; the message says which."""


Atom: TypeAlias = tuple[int, int]
"""A node of the graph and an entry of it."""


@dataclass(frozen=True, slots=True)
class Form:
    """`constant + sum of coefficient * atom`, exactly; `sizes` are the sums of the magnitudes
    that were added up for each atom (None for the constant), and `steps` the operations, for the
    rounding of an evaluation in float64.  `integral`: whole at all inputs of the domain."""

    constant: Fraction
    terms: tuple[tuple[Atom, Fraction], ...] = ()
    sizes: tuple[tuple[Atom | None, Fraction], ...] = ()
    steps: int = 0
    integral: bool = False

    def __add__(self, other: Form) -> Form:
        return _combined(self, other, Fraction(1))

    def __sub__(self, other: Form) -> Form:
        return _combined(self, other, Fraction(-1))

    def scaled(self, factor: Fraction, whole: bool = False) -> Form:
        return Form(
            self.constant * factor,
            tuple((atom, c * factor) for atom, c in self.terms),
            tuple((atom, size * abs(factor)) for atom, size in self.sizes),
            self.steps + 1,
            self.integral and whole,
        )


def number(value: bool | int | float) -> Form:
    exact = Fraction(value)
    return Form(exact, (), ((None, abs(exact)),), 0, exact.denominator == 1)


def _combined(a: Form, b: Form, sign: Fraction) -> Form:
    terms = dict(a.terms)
    for atom, c in b.terms:
        terms[atom] = terms.get(atom, Fraction(0)) + sign * c
    sizes: dict[Atom | None, Fraction] = dict(a.sizes)
    for place, size in b.sizes:
        sizes[place] = sizes.get(place, Fraction(0)) + size
    return Form(
        a.constant + sign * b.constant,
        tuple(sorted((atom, c) for atom, c in terms.items() if c)),
        tuple(sizes.items()),
        a.steps + b.steps + 1,
        a.integral and b.integral,
    )


Value: TypeAlias = "Form | bool | str | tuple[Value, ...] | None"


@dataclass
class Rows:
    """The rows that conditions and claims refer to, each once."""

    builder: Builder
    forms: list[Form] = field(default_factory=list)
    numbers: dict[tuple[Fraction, tuple[tuple[Atom, Fraction], ...]], int] = field(
        default_factory=dict
    )

    def row(self, form: Form) -> int:
        key = (form.constant, form.terms)
        if key not in self.numbers:
            self.numbers[key] = len(self.forms)
            self.forms.append(form)
        return self.numbers[key]

    def node(self, forms: list[Form] | None = None) -> int:
        """A node with the rows as entries; its noise covers their evaluation in float64."""
        forms = self.forms if forms is None else forms
        sources = sorted({atom[0] for form in forms for atom, _ in form.terms})
        tables = {s: np.zeros((len(forms), self.builder.nodes[s].size)) for s in sources}
        for place, form in enumerate(forms):
            for (source, entry), c in form.terms:
                tables[source][place, entry] = _float(c)
        bias = np.array([_float(form.constant) for form in forms])
        terms = tuple((source, matrix(tables[source])) for source in sources)
        # Rounding of the float64 evaluation, by the magnitudes that were added up.
        errors = {s: np.zeros((len(forms), self.builder.nodes[s].size)) for s in sources}
        absolute = np.zeros(len(forms))
        for place, form in enumerate(forms):
            unit = accumulated(form.steps + len(form.sizes) + 4, UNIT)
            for atom, size in form.sizes:
                if atom is None:
                    absolute[place] += unit * _float(size)
                else:
                    source, entry = atom
                    if source not in errors:
                        errors[source] = np.zeros((len(forms), self.builder.nodes[source].size))
                    errors[source][place, entry] += unit * _float(size)
        sizes = tuple((source, matrix(errors[source])) for source in sorted(errors))
        return self.builder.add(Affine(len(forms), terms, bias, 0.0, absolute, sizes))

    def entry(self, form: Form) -> int:
        """A node of one entry with the value of a form."""
        return self.node([form])


def _float(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        raise Untranslatable("a number beyond float64") from None


def lifted(value: Any) -> Value:
    """A Python value as a value of pieces."""
    match value:
        case bool() | str() | None:
            return value
        case int():
            return number(value)
        case float():
            if not np.isfinite(value):
                raise Untranslatable("a number that is not finite")
            return number(value)
        case np.ndarray() | np.generic():
            return lifted(value.tolist())
        case tuple() | list():
            return tuple(lifted(item) for item in value)
    raise Untranslatable(f"a {type(value).__name__}")


def folded(value: Value) -> tuple[bool, Any]:
    """Whether a value is one plain Python value everywhere, and that value."""
    match value:
        case Form():
            if value.terms:
                return False, None
            exact = value.constant
            return True, int(exact) if value.integral else float(exact)
        case tuple():
            parts = [folded(item) for item in value]
            return all(known for known, _ in parts), [item for _, item in parts]
    return True, value


def form_of(value: Value) -> Form:
    if isinstance(value, bool):
        return number(value)
    if not isinstance(value, Form):
        raise Untranslatable(f"arithmetic with {kind_of(value)}")
    return value


def items_of(value: Value) -> tuple[Value, ...]:
    if not isinstance(value, tuple):
        raise Untranslatable(f"the greatest of {kind_of(value)}")
    return value


def truth_of(value: Value) -> bool:
    known, plain = folded(value)
    if not known:
        raise Untranslatable("a number used as a truth value")
    return bool(plain)


def kind_of(value: Value) -> str:
    match value:
        case Form():
            return "a number"
        case tuple():
            return "a list"
        case bool():
            return "a truth value"
    return "a text"
