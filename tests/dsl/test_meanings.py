"""All meanings of all primitives against each other: NumPy, Python values, text, Z3, intervals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dsl.evaluate import run, run_within
from dsl.parser import parse, parse_expression
from dsl.primitives import PRIMITIVES
from dsl.primitives.base import Beyond, Interval, Primitive, Undefined, registered
from dsl.primitives.scalar import SCALAR
from dsl.primitives.sequence import SequencePrimitive
from dsl.printer import to_python
from dsl.program import Call, Literal, Program, Variable
from tests.programs import INTEGERS, REALS, TOKENS, Failed, plain, python_function, same
from verify import checker

NAMES = ("a", "b", "c")
WHOLE = st.one_of(st.integers(-9, 9), st.sampled_from(INTEGERS), st.integers(-(2**80), 2**80))
REAL = st.one_of(
    st.sampled_from((*REALS, -0.0, 5e-324, 1e308, 2.0**53, math.inf, -math.inf)),
    st.floats(-1e6, 1e6, allow_nan=False),
)
TRUTH = st.booleans()
TEXT = st.sampled_from(TOKENS)
REAL_ONLY = {"sqrt", "exp", "log", "tanh", "sin", "cos"}
COMPARED = {"lt", "le", "gt", "ge", "eq", "ne"}
ARITY = {"ite": 3, "max": 2, "min": 2} | dict.fromkeys(
    ("neg", "abs", "not", "int", "floor", "ceil", "isqrt", *REAL_ONLY), 1
)
SCALARS = sorted([*SCALAR, "max", "min"])


def arguments(name: str) -> st.SearchStrategy[tuple[Any, ...]]:
    """Arguments of the kinds that a primitive takes, boundary values among them."""
    number = st.one_of(WHOLE, TRUTH, REAL)
    match name:
        case "ite":
            return st.one_of(*(st.tuples(TRUTH, k, k) for k in (WHOLE, REAL, TEXT, TRUTH)))
        case "pow":
            exponent = st.one_of(st.integers(-2, 70), REAL)
            return st.tuples(st.one_of(WHOLE, REAL, TRUTH), exponent)
        case "max" | "min":
            return st.one_of(st.tuples(WHOLE, WHOLE), st.tuples(REAL, REAL))
        case _ if name in COMPARED:
            return st.one_of(st.tuples(number, number), st.tuples(TEXT, TEXT))
        case "isqrt":
            return st.tuples(st.one_of(WHOLE, TRUTH))
        case _ if name in REAL_ONLY:
            return st.tuples(REAL)
    return st.tuples(*[number] * ARITY.get(name, 2))


def column(value: Any) -> np.ndarray:
    """A value as a batch of one row, integers that int64 cannot hold as objects."""
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        result = np.empty(1, object)
        result[0] = value
        return result
    return np.array([value])


def program_of(name: str, count: int) -> Program:
    variables = tuple(Variable(NAMES[i]) for i in range(count))
    inputs = tuple((NAMES[i], None) for i in range(count))
    return Program("program", inputs, (), Call(name, variables))


def value_or_none(primitive: Primitive, args: tuple[Any, ...]) -> Any:
    try:
        return primitive.value(*args)
    except (Undefined, ArithmeticError):
        return None


@pytest.mark.parametrize("name", SCALARS)
def test_numpy_python_values_and_the_text_agree(name: str) -> None:
    @settings(max_examples=120, deadline=None)
    @given(arguments(name))
    def check(args: tuple[Any, ...]) -> None:
        program = program_of(name, len(args))
        inputs = dict(zip(NAMES, args, strict=False))
        try:
            python = python_function(program)(**inputs)
        except Failed:
            python = None
        if isinstance(python, complex):
            python = None
        try:
            batched = plain(run(program, {key: column(arg) for key, arg in inputs.items()})[0])
        except Undefined as undefined:
            # Where Python has a value, only a declared refusal may be the reason.
            refusals = ("2**53", "over 4096 bits", "root")
            assert python is None or any(part in undefined.reason for part in refusals)
            return
        assert python is not None, f"{batched} where Python has no value"
        assert same(batched, python)
        assert type(batched) is type(python) or isinstance(python, (bool, int))
        direct = value_or_none(PRIMITIVES[name], args)
        assert direct is not None
        assert same(plain(direct), python)

    check()


@pytest.mark.parametrize("name", [n for n in SCALARS if not PRIMITIVES[n].no_smt])
def test_z3_agrees_with_python_on_integers_and_truth_values(name: str) -> None:
    import z3

    from dsl.smt import literal

    exact = st.one_of(st.integers(-9, 9), st.sampled_from(INTEGERS), TRUTH)
    count = ARITY.get(name, 2)
    drawn = st.tuples(*[exact] * count)
    if name == "pow":
        drawn = st.tuples(st.integers(-9, 9), st.integers(0, 6))

    @settings(max_examples=40, deadline=None)
    @given(drawn)
    def check(args: tuple[Any, ...]) -> None:
        python = value_or_none(PRIMITIVES[name], args)
        if python is None or (name == "truediv" and args[1] == 0):
            return
        term = z3.simplify(PRIMITIVES[name].smt(*(literal(arg) for arg in args)))
        if name == "truediv":
            assert term.eq(z3.simplify(z3.Q(int(args[0]), 1) / z3.Q(int(args[1]), 1)))
        elif z3.is_bool(term):
            assert z3.is_true(term) == bool(python)
        else:
            assert term.as_long() == int(python)

    check()


@pytest.mark.parametrize("name", SCALARS)
def test_intervals_hold_every_value(name: str) -> None:
    finite = st.one_of(
        st.integers(-40, 40), st.sampled_from(INTEGERS), st.floats(-50, 50, allow_nan=False)
    )
    count = ARITY.get(name, 2)

    @settings(max_examples=150, deadline=None)
    @given(st.lists(st.tuples(finite, finite, finite), min_size=count, max_size=count))
    def check(drawn: list[tuple[Any, Any, Any]]) -> None:
        ordered = [sorted(three) for three in drawn]
        if name == "pow":
            exponent = abs(int(drawn[1][0])) % 5
            ordered[1] = [exponent] * 3
        intervals = [Interval(three[0], three[2]) for three in ordered]
        # Whole ends stand for whole numbers.
        members = tuple(
            low if isinstance(low, int) and isinstance(high, int) else member
            for low, member, high in ordered
        )
        try:
            bounds = PRIMITIVES[name].bounds(*intervals)
        except (Undefined, OverflowError):
            return
        for args in (members, tuple(i.low for i in intervals), tuple(i.high for i in intervals)):
            value = value_or_none(PRIMITIVES[name], args)
            if value is not None and not isinstance(value, complex) and not math.isnan(value):
                assert value in bounds, (args, value, bounds)

    check()


EXAMPLES = [
    (name, text, value)
    for name, primitive in PRIMITIVES.items()
    for text, value in primitive.examples.items()
]


@pytest.mark.parametrize(("name", "text", "value"), EXAMPLES, ids=[text for _, text, _ in EXAMPLES])
def test_examples_give_what_they_say(name: str, text: str, value: Any) -> None:
    program = Program("program", (), (), parse_expression(text))
    ours = plain(run(program, {})[0])
    assert ours == plain(value)
    assert eval(text, {"math": math}) == value
    assert plain(run(parse(f"import math\n\ndef program():\n    return {text}\n"), {})[0]) == ours


def test_every_primitive_has_examples_except_those_that_need_tables() -> None:
    without = {name for name, primitive in PRIMITIVES.items() if not primitive.examples}
    assert without == {"get", "dot"}


def test_a_primitive_without_a_meaning_is_refused() -> None:
    class Lonely(Primitive):
        """Has no Z3 meaning and gives no reason."""

        name = "lonely"

    with pytest.raises(ValueError, match="neither smt nor a reason"):
        registered(Lonely)
    with pytest.raises(ValueError, match="two primitives are called add"):
        registered(type(PRIMITIVES["add"]), type(PRIMITIVES["add"]))


BOUNDARIES = [
    ("a + b", (2**63 - 1, 1), 2**63),
    ("a - b", (-(2**63), 1), -(2**63) - 1),
    ("a * b", (2**62, 4), 2**64),
    ("-a", (-(2**63),), 2**63),
    ("abs(a)", (-(2**63),), 2**63),
    ("a // b", (-(2**63), -1), 2**63),
    ("a // b", (-7, 2), -4),
    ("a % b", (-7, 3), 2),
    ("a % b", (7, -3), -2),
    ("a % b", (2**63 - 1, -2), -1),
    ("a ** 2", (2**40,), 2**80),
    ("a ** 0", (0,), 1),
    ("max(a, b)", (2**63 - 1, -(2**63)), 2**63 - 1),
    ("sum([a, a, b])", (2**62, 2**62), 3 * 2**62),
    ("[a, b].index(a)", (5, 5), 0),
    ("sum([])", (), 0),
    ("len([])", (), 0),
    ("any([])", (), False),
    ("all([])", (), True),
    ("[1, 2, 3][5:2]", (), []),
    ("a and b", (3, 5), 5),
    ("a or b", (0, 7), 7),
    ("a < b < 9", (1, 5), True),
    ("int(True) + True", (), 2),
]


@pytest.mark.parametrize(("text", "args", "value"), BOUNDARIES)
def test_boundary_values_neither_wrap_nor_differ_from_python(
    text: str, args: tuple[int, ...], value: Any
) -> None:
    names = NAMES[: len(args)]
    program = parse(f"def program({', '.join(names)}):\n    return {text}\n")
    batch = {name: np.array([arg], np.int64) for name, arg in zip(names, args, strict=True)}
    assert plain(run(program, batch)[0]) == value
    assert python_function(program)(**dict(zip(names, args, strict=True))) == value


UNDEFINED = [
    ("a // b", (1, 0), "the divisor is 0"),
    ("a % b", (1, 0), "the divisor is 0"),
    ("[1, 2][a]", (2,), "no such item"),
    ("[1, 2].index(a)", (3,), "does not occur"),
    ("max([])", (), "the sequence is empty"),
    ("2 ** a", (-1,), "a negative exponent"),
    ("a ** b", (2**40, 2**40), "over 4096 bits"),
    ("sum(range(a))", (2**40,), "over a million"),
    ("[1, 2][::a - 1]", (1,), "the step is 0"),
]


def source_of(text: str, args: tuple[int, ...]) -> str:
    """A program of as many parameters as there are arguments."""
    return f"def program({', '.join(NAMES[: len(args)])}):\n    return {text}\n"


def run_at(text: str, args: tuple[int, ...]) -> np.ndarray:
    batch = {name: np.array([arg], np.int64) for name, arg in zip(NAMES, args, strict=False)}
    return run(parse(source_of(text, args)), batch)


@pytest.mark.parametrize(("text", "args", "reason"), UNDEFINED)
def test_what_has_no_value_is_undefined_and_says_why(
    text: str, args: tuple[int, ...], reason: str
) -> None:
    with pytest.raises(Undefined) as caught:
        run_at(text, args)
    assert reason in caught.value.reason


BEYOND = [
    ("2 ** a", (-1,), True),
    ("0 ** a", (-1,), False),
    ("a ** b", (2**40, 2**40), True),
    ("(a / 2) ** b", (0, -1), False),
    ("(a / 2) ** 0.5", (-1,), True),
    ("(a / 2) ** 2000", (2**40,), False),
    ("sum(range(a))", (2**40,), True),
    ("[0] * a", (2**40,), True),
    ("a + 0.5", (2**60,), True),
    ("1 // a", (0,), False),
    ("[1, 2][::a - 1]", (1,), False),
    ("[1, 2].index(a)", (3,), False),
    ("sum(range(1 // a, b))", (0, 2**40), False),
]


@pytest.mark.parametrize(("text", "args", "beyond"), BEYOND)
def test_where_python_has_a_value_the_language_says_that_it_ends(
    text: str, args: tuple[int, ...], beyond: bool
) -> None:
    with pytest.raises(Undefined) as caught:
        run_at(text, args)
    assert isinstance(caught.value, Beyond) == beyond
    theirs = checker.function_of(source_of(text, args))
    if "/ 2" not in text and "0.5" not in text:
        with pytest.raises(checker.NoValue) as ended:
            theirs.run(*args)
        assert isinstance(ended.value, checker.Beyond) == beyond
    if not beyond:
        with pytest.raises(Failed):
            python_function(parse(source_of(text, args)))(**dict(zip(NAMES, args, strict=False)))


def test_rows_on_which_the_language_ends_do_not_hide_those_on_which_python_raises() -> None:
    program = parse("def program(a, b):\n    return a ** b\n")
    batch = {"a": np.array([2, 0, 3, 2]), "b": np.array([-1, -1, 2, 9999])}
    with pytest.raises(Undefined) as caught:
        run(program, batch)
    assert not isinstance(caught.value, Beyond)
    assert caught.value.rows is not None and caught.value.rows.tolist() == [0, 1, 0, 0]
    found = run_within(program, batch)
    assert found.defined.tolist() == [False, False, True, False]
    assert found.beyond.tolist() == [True, False, False, True]
    assert found.results[2] == 9 and "negative exponent" in found.reason


def test_only_what_python_would_evaluate_needs_a_value() -> None:
    program = parse("def program(a, b):\n    return a // b if b != 0 and a // b > 0 else -1\n")
    batch = {"a": np.array([6, 6]), "b": np.array([0, 2])}
    assert run(program, batch).tolist() == [-1, 3]


def test_sequence_primitives_say_why_they_have_no_z3_meaning_of_their_own() -> None:
    silent = [
        name
        for name, primitive in PRIMITIVES.items()
        if isinstance(primitive, SequencePrimitive) and not primitive.no_smt
    ]
    assert silent == []


def test_a_decision_list_of_a_thousand_lines_is_read_run_and_printed() -> None:
    lines = "\n".join(f"    if a == {i}:\n        return {i * i}" for i in range(1000))
    program = parse(f"def program(a):\n{lines}\n    return -1\n")
    assert run(program, {"a": np.array([3, 999, 1000])}).tolist() == [9, 998001, -1]
    assert to_python(parse(to_python(program))) == to_python(program)
    assert Literal(True) != Literal(1)


SHORT = [
    ("return any(6 // v > a for v in [1, 0])", 0, True),
    ("return all(6 // v < a for v in [1, 0])", 0, False),
    ("return TABLE[a] if a in TABLE else 7 // a", 0, 5),
]


@pytest.mark.parametrize(("line", "a", "value"), SHORT)
def test_what_python_stops_before_refutes_nothing(line: str, a: int, value: Any) -> None:
    text = f"TABLE = {{0: 5}}\n\n\ndef program(a):\n    {line}\n"
    program = parse(text)
    assert python_function(program)(a=a) == value
    assert checker.function_of(text).run(a) == value
    found = run_within(program, {"a": np.array([a, 9])})
    assert found.beyond[0] or found.results[0] == value
    assert not (~found.defined & ~found.beyond)[0]


def test_where_a_lookup_needs_its_default_python_raises() -> None:
    program = parse("T = {1: 5}\n\n\ndef program(a):\n    return T.get(a, 7 // a)\n")
    found = run_within(program, {"a": np.array([0, 1, 7])})
    assert (found.defined.tolist(), found.beyond.tolist()) == ([False, True, True], [False] * 3)


def test_text_compared_with_a_number_that_nothing_reaches_is_no_error() -> None:
    program = parse('def program(a, w):\n    return a == 0 and ("x" if a else w[a]) < "b"\n')
    found = run_within(program, {"a": np.array([1, 2]), "w": np.zeros((2, 0), np.int64)})
    assert (found.defined | found.beyond).all()


def test_sums_of_reals_are_pythons_to_the_last_bit() -> None:
    rows = np.random.default_rng(0).standard_normal((50, 40))
    program = parse("def program(r):\n    return sum(r)\n")
    assert run(program, {"r": rows}).tolist() == [sum(row) for row in rows.tolist()]


def test_lists_that_nest_without_end_are_bounded() -> None:
    lines = "\n".join(f"    x{i} = [x{i - 1}, x{i - 1}]" for i in range(1, 60))
    program = parse(f"def program(a):\n    x0 = [a, a]\n{lines}\n    return len(x59)\n")
    with pytest.raises(Beyond, match="134 million"):
        run(program, {"a": np.arange(4096)})


@pytest.mark.parametrize("parts", [1, 2, 3])
@pytest.mark.parametrize("count", [1, 2, 9, 200])
def test_membership_in_a_long_list_of_records_is_that_of_python(parts: int, count: int) -> None:
    rng = np.random.default_rng([parts, count])
    rows = sorted({tuple(row) for row in rng.integers(-3, 6, (count, parts)).tolist()})
    listed = tuple(rows) if parts > 1 else tuple(row[0] for row in rows)
    names = NAMES[:parts]
    key = f"({', '.join(names)})" if parts > 1 else names[0]
    text = f"def program({', '.join(names)}):\n    return {key} in LISTED\n"
    program = parse(f"LISTED = {listed!r}\n\n\n{text}")
    batch = {name: rng.integers(-4, 7, 500) for name in names}
    keys = zip(*(batch[name].tolist() for name in names), strict=True)
    assert run(program, batch).tolist() == [row in rows for row in keys]
    inner = f"sum(1 for a in s if {key} in LISTED)"
    looped = parse(f"LISTED = {listed!r}\n\n\ndef program(s, b, c):\n    return {inner}\n")
    words = {"s": rng.integers(-4, 7, (60, 5)), "b": np.arange(60) % 4, "c": np.arange(60) % 3}
    others = [(b, c)[: parts - 1] for b, c in zip(words["b"].tolist(), words["c"].tolist())]
    wanted = [
        sum((a, *rest) in rows for a in word)
        for word, rest in zip(words["s"].tolist(), others, strict=True)
    ]
    assert run(looped, words).tolist() == wanted
