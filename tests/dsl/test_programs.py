"""Random programs: their text, their types and what every evaluator makes of them."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.evaluate import run_defined
from dsl.parser import equal_programs, parse, parse_with_places
from dsl.primitives.base import Undefined
from dsl.printer import to_python
from dsl.program import Call, Program, size
from dsl.typecheck import result_type
from tests.programs import (
    Choose,
    Failed,
    Generator,
    batches_of,
    inputs_of,
    plain,
    python_function,
    same,
    seeded,
)

DOMAIN = Domain(
    'a: int[-4..9], b: int[-4..9], p: bool, x: real[-3,3], c: tokens("abcé日"), '
    's: seq(int[-4..9], 0..4), w: seq(tokens("abcé日"), 0..4), r: seq(real[-3,3], 0..9)'
)


def chooser(data: st.DataObject) -> Choose:
    return lambda low, high: data.draw(st.integers(low, high))


def drawn(data: st.DataObject, **options: bool) -> Program:
    return Generator(chooser(data), **options).program()


SLOW = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@SLOW
@given(st.data())
def test_a_program_is_read_as_it_was_printed(data: st.DataObject) -> None:
    program = drawn(data)
    text = to_python(program)
    read = parse(text)
    assert equal_programs(read, program), text
    assert to_python(read) == text
    assert read.digest == parse(text + "\n# a comment\n").digest
    assert size(read) == size(program)


@SLOW
@given(st.data())
def test_programs_over_the_domain_have_a_type(data: st.DataObject) -> None:
    program, places = parse_with_places(to_python(drawn(data)))
    assert str(result_type(program, DOMAIN, places))


def disagreements(program: Program, choose: Choose, rows: int) -> list[str]:
    """Inputs on which the batched meaning and real Python differ; being undefined where Python
    has a value is no disagreement, the reverse is one."""
    function = python_function(program)
    inputs = [
        {k: v for k, v in inputs_of(choose).items() if k in program.parameters} for _ in range(rows)
    ]
    found = []
    for batch, numbers in batches_of(inputs):
        ours, defined = run_defined(program, batch)
        for k in np.flatnonzero(defined):
            row = inputs[numbers[k]]
            try:
                theirs: Any = function(**row)
            except Failed as failure:
                found.append(f"{to_python(program)}{row}: {plain(ours[k])} but {failure}")
                continue
            if not same(plain(ours[k]), theirs):
                found.append(f"{to_python(program)}{row}: {plain(ours[k])}, Python {theirs}")
    return found


@pytest.mark.parametrize("seed", range(0, 240, 40))
def test_batches_give_what_python_gives(seed: int) -> None:
    for number in range(seed, seed + 40):
        choose = seeded(number)
        program = Generator(choose, sequences=number % 4 != 0, reals=number % 3 != 0).program()
        assert disagreements(program, choose, 8) == []


def text_of(term: Any) -> str:
    """A Z3 text with its escapes read."""
    return re.sub(r"\\u\{([0-9a-f]+)\}", lambda m: chr(int(m[1], 16)), term.as_string())


def value_of(term: Any) -> Any:
    import z3

    if isinstance(term, (list, tuple)):
        return [value_of(item) for item in term]
    term = z3.simplify(term)
    if z3.is_bool(term):
        return z3.is_true(term)
    return text_of(term) if z3.is_string(term) else term.as_long()


def smt_disagreements(program: Program, choose: Choose, rows: int) -> tuple[list[str], int]:
    """Inputs on which the Z3 meaning differs from real Python, and how many were compared."""
    import z3

    from dsl.smt import literal, to_smt

    function, found, compared = python_function(program), [], 0
    for _ in range(rows):
        row = inputs_of(choose)
        try:
            meaning = to_smt(program, {name: literal(value) for name, value in row.items()})
        except Undefined:
            return found, compared
        defined = z3.is_true(z3.simplify(meaning.defined))
        row = {name: row[name] for name in program.parameters}
        compared += 1
        try:
            theirs: Any = function(**row)
        except Failed:
            if defined:
                found.append(f"{to_python(program)}{row}: defined, but Python fails")
            continue
        if not defined or not same(value_of(meaning.value), theirs):
            found.append(f"{to_python(program)}{row}: {meaning.value}, Python {theirs}")
    return found, compared


def test_z3_gives_what_python_gives() -> None:
    total = 0
    for number in range(120):
        choose = seeded(10_000 + number)
        program = Generator(choose, sequences=number % 3 != 0, reals=False).program(3)
        found, compared = smt_disagreements(program, choose, 3)
        assert found == []
        total += compared
    assert total > 200


def test_z3_reads_no_escapes_in_texts() -> None:
    import z3

    from dsl.smt import literal

    assert z3.is_false(z3.simplify(literal("\\u{41}") == literal("A")))
    assert text_of(literal("é\\")) == "é\\"


REFUSED = [
    ("return __import__('os')", "names do not begin with two underscores|not a function"),
    ("return a.b", "programs have no attributes"),
    ("return a.__class__()", "method __class__"),
    ("return open(a)", "open is not a function of this language"),
    ("return (lambda: 1)()", "not a program of this language"),
    ("import os\n    return a", "not a program of this language"),
    ("while True:\n        a = 1\n    return a", "not a program of this language"),
    ("return len(a, b)", "another number of arguments"),
    ("return math.sqrt(a, b)", "another number of arguments"),
    ("return [a].index(a, 1)", "another number of arguments"),
    ("return unknown", "unknown is not defined"),
    ("len = a\n    return len", "len is a function of this language"),
    ("return [x for sum in [a]]", "sum is a function of this language"),
    ("return [c for c in set([a])]", "the order of a set is not defined"),
    ("return 007", "does not begin with 0"),
    ("return 1 if a", "not a program of this language"),
    ("return " + "(" * 100 + "a" + ")" * 100, "brackets nest deeper than 90"),
    ("return " + "not " * 6000 + "a", "nests too deeply"),
    ("return " + "9" * 1400, "a number of over 1300 digits"),
    ("a = 1", "does not return a value on every path"),
    ('return "\\0"', "NUL character"),
    ("return ﬁ", "another spelling|not defined"),
]


@pytest.mark.parametrize(("body", "finding"), REFUSED, ids=[body[:30] for body, _ in REFUSED])
def test_what_is_no_program_is_refused(body: str, finding: str) -> None:
    with pytest.raises(DistillError) as caught:
        parse(f"def program(a, b):\n    {body}\n", "program.py")
    assert caught.value.code == "D101"
    assert re.search(finding, caught.value.finding), caught.value.finding


@pytest.mark.parametrize(
    "line", ["import os", "import numpy", "import math as m", "X = a", "X = 1 + 1"]
)
def test_only_math_and_numpy_and_literal_constants_stand_before_the_function(line: str) -> None:
    with pytest.raises(DistillError, match=r"import of|not defined|made of literals"):
        parse(f"{line}\n\ndef program(a):\n    return a\n")


def test_a_bracket_in_a_text_is_no_bracket() -> None:
    table = ", ".join(f'"{"(" * n}": {n}' for n in range(1, 100))
    program = parse(f"TABLE = {{{table}}}\n\n\ndef program(a):\n    return TABLE[a]\n")
    assert dict(program.constants)["TABLE"]["((("] == 3


def test_texts_mean_what_they_mean_in_python() -> None:
    for text in ('"\\/"', '"\\x41"', "'\\u00e9'", '"a\\tb"', '"\\\\u{41}"'):
        program = parse(f"def program():\n    return {text}\n")
        assert python_function(program)() == eval(text)
        assert equal_programs(parse(to_python(program)), program)


MISTYPED = [
    ("return a + c", 2, 12, "+ takes numbers, not tokens"),
    ("return a < c", 2, 12, "no common type"),
    ("return a ** -1", 2, 12, "an integer to the power of -1 is no integer"),
    ("return (a + 1) ** -2 if p else 0", 2, 12, "an integer to the power of -2 is no integer"),
    ("return len(a)", 2, 12, "len takes a sequence, not int"),
    ("t = c\n    return -t", 3, 12, "- takes numbers"),
    ("return [a, c]", 2, 12, "no common type"),
    ("return 1 if c else 2", 2, 17, "a condition is a truth value"),
    ("return s[c]", 2, 12, "an index is an integer"),
    ("return sum(w)", 2, 12, "sum takes numbers"),
    ("return [i for i, j in s]", 2, 27, "cannot be unpacked into 2 names"),
    ("t = 0\n    for i in s:\n        t = c\n    return t", 0, 0, "no common type"),
]


@pytest.mark.parametrize(("body", "line", "column", "finding"), MISTYPED)
def test_a_type_error_names_its_place(body: str, line: int, column: int, finding: str) -> None:
    text = f"def program(a, c, p, s, w):\n    {body}\n"
    program, places = parse_with_places(text, "program.py")
    with pytest.raises(DistillError) as caught:
        result_type(program, DOMAIN, places)
    assert caught.value.code == "D102"
    assert finding in caught.value.finding
    if line:
        assert str(caught.value.place) == f"program.py:{line}:{column}"


def test_an_input_that_the_domain_lacks_is_named() -> None:
    with pytest.raises(DistillError, match="takes `z`, which is no input"):
        result_type(parse("def program(z):\n    return z\n"), DOMAIN)


TYPES = [
    ("return a", "int[-4..9]"),
    ("return a + p", "int"),
    ("return a / 2", "real"),
    ("return (a / 2) ** -1", "real"),
    ("return a ** -1.0", "real"),
    ("return a ** b", "int"),
    ("return a < b", "bool"),
    ("return c", 'tokens("abcé日")'),
    ("return [i for i in s if i > 0]", "seq(int[-4..9], 0..)"),
    ("return (a, c)", '(int[-4..9], tokens("abcé日"))'),
    ("t = 0\n    for i in s:\n        t = t + i\n    return t", "int"),
]


@pytest.mark.parametrize(("body", "kind"), TYPES)
def test_results_have_the_type_that_one_expects(body: str, kind: str) -> None:
    program = parse(f"def program(a, b, c, p, s):\n    {body}\n")
    assert str(result_type(program, DOMAIN)) == kind


def test_numbers_and_texts_together_have_no_order() -> None:
    program = parse("def program(a):\n    return sorted([a, 'x'])\n")
    _, defined = run_defined(program, {"a": np.arange(3)})
    assert not defined.any()


def test_a_long_look_up_among_exceptions_is_written_as_a_decision():
    text = (
        "RARE = {(0, 1): 2, (3, 4): 1}\n\n\ndef program(a, b):\n"
        "    if (a, b) in RARE:\n        return RARE[a, b]\n"
        "    if a + b > 70:\n        return 2\n"
        "    return 1 if a * b > 1000000000000000000 else 0 if a - b < 100000000000000 else 3\n"
    )
    program = parse(text)
    assert isinstance(program.result, Call) and program.result.primitive == "get"
    assert parse(to_python(program)) == program
    assert "    if (a, b) in RARE:\n        return RARE[a, b]\n" in to_python(program)


def test_a_look_up_in_a_tuple_stays_as_it_is():
    program = parse(
        "T = (0, 1)\n\n\ndef program(a):\n    if a in T:\n        return T[a]\n    return 7\n"
    )
    assert isinstance(program.result, Call) and program.result.primitive == "ite"
