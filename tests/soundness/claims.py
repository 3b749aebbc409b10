"""Claims whose truth is known by other means, and the judgement of a verdict on them.

A network here is a NumPy function, so that the truth can be computed again: every input by itself,
decoded by plain Python, against the program's text run by real Python.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl import types as t
from dsl.claim import Claim, Decode, Proved, Refuted, Target, Verdict
from dsl.domain import Domain
from dsl.parser import parse, parse_expression
from dsl.printer import to_python
from dsl.program import Call, Expr, Literal, Program, Variable, size
from tests.programs import Failed, Generator, python_function, same, seeded
from tests.verify.small_networks import layers
from tests.verify.small_networks import target as target_of

Verify = Callable[..., Verdict | None]


@dataclass(frozen=True)
class Case:
    """A claim: does the program equal the target?"""

    name: str
    target: Target
    program: Program
    witness: dict[str, Any] | None = None
    """An input on which the claim is known to be false, where the domain is large."""


def verdict_of(verify: Verify, case: Case, seconds: float = 60.0) -> Verdict | None:
    return verify(
        case.program, case.target, deadline=time.monotonic() + seconds, seed=0, evidence={}
    )


def inputs(domain: Domain) -> Iterator[dict[str, Any]]:
    """Every input as plain values; of a domain of reals some hundreds, and its corners."""
    batches = domain.batches()
    if domain.raw_size is None:
        drawn = domain.sample(300, np.random.default_rng(0))
        ends = [(kind.low, kind.high) for _, kind in domain.fields if isinstance(kind, t.Real)]
        corners = np.array(list(itertools.product(*ends)), np.float64)
        batches = iter([*drawn, dict(zip(domain.names, corners.T, strict=True))])
    for batch in batches:
        for row in range(len(next(iter(batch.values())))):
            yield domain.row(batch, row)


def alone(target: Target, values: dict[str, Any]) -> list[float]:
    """The raw outputs of the network for one input that is run by itself."""
    from dsl.domain import single

    return [float(x) for x in np.asarray(target.raw(single(target.domain, values)))[0].ravel()]


def decoded(decode: Decode, raw: list[float]) -> Any:
    """The claimed value of raw outputs, in plain Python; None where there is none."""
    if any(math.isnan(x) for x in raw):
        return None
    match decode.rule:
        case "argmax" | "argmin":
            best = max(raw) if decode.rule == "argmax" else min(raw)
            places = [i for i, x in enumerate(raw) if x == best]
            place = places[0] if decode.tie == "low" else places[-1]
            return place if decode.labels is None else decode.labels[place]
        case "threshold":
            return raw[0] > decode.threshold
        case "round":
            if math.isinf(raw[0]):
                return None
            low = math.floor(raw[0])
            return low if raw[0] - low <= 0.5 else low + 1
    return raw[0]


def truth(target: Target, values: dict[str, Any]) -> Any:
    """The network's value on one input that is run by itself; None where there is none."""
    return decoded(target.claim.decode, alone(target, values))


def is_right(case: Case, values: dict[str, Any], run: Callable[..., Any]) -> bool:
    """Does the program give the network's value on one input?"""
    return agrees(case, values, run, truth(case.target, values))


def agrees(case: Case, values: dict[str, Any], run: Callable[..., Any], theirs: Any) -> bool:
    """Does the program give a value that is known to be the network's?"""
    try:
        ours = run(**{name: values[name] for name in case.program.parameters})
    except Failed:
        return False
    if theirs is None:
        return False
    tolerance = case.target.claim.decode.tolerance
    return abs(ours - theirs) <= tolerance if tolerance else same(ours, theirs)


def falsehood(case: Case, verdict: Verdict | None) -> str:
    """What is false about a verdict; empty where it may stand.  Proved must hold on every input,
    a counterexample must be one."""
    run = python_function(case.program)
    match verdict:
        case Proved():
            found = list(inputs(case.target.domain)) if case.witness is None else [case.witness]
            if not found:
                return f"{case.name}: PROVED on an empty domain"
            for values in found:
                if not is_right(case, values, run):
                    return f"{case.name}: PROVED, but wrong on {values}"
        case Refuted(_, example):
            values = dict(example.inputs)
            if not case.target.domain.contains(**values):
                return f"{case.name}: the counterexample {values} is outside the domain"
            if is_right(case, values, run):
                return f"{case.name}: the counterexample {values} is none"
    return ""


# Programs as networks: a table of logits, so that the claim is true by construction.


def random_program(seed: int, *, depth: int = 4) -> tuple[Program, Domain]:
    """A program that is defined on all of a small domain and is not constant on it."""
    domain = Domain("a: int[-3..3], b: int[0..4], p: bool")
    for attempt in range(200):
        generator = Generator(seeded(seed * 1000 + attempt), sequences=False, reals=False)
        generator.scope = {"a": "int", "b": "int", "p": "bool"}
        result = generator.make("int" if attempt % 3 else "bool", depth)
        names = tuple((name, None) for name in domain.names)
        program = parse(to_python(Program("program", names, (), result)))
        try:
            values = {repr(value) for value in values_of(program, domain)}
        except Failed:
            continue
        if len(values) > 1 and size(program) >= 6:
            return program, domain
    raise AssertionError(f"no program for seed {seed}")


def values_of(program: Program, domain: Domain) -> list[Any]:
    run = python_function(program)
    return [run(**{name: row[name] for name in program.parameters}) for row in inputs(domain)]


def network_of(values: list[Any], domain: Domain) -> Target:
    """A network that gives these values, input by input in the domain's order, as labels."""
    labels = sorted(set(values), key=repr)
    table = np.zeros((len(values), len(labels)), np.float32)
    table[np.arange(len(values)), [labels.index(value) for value in values]] = 3.0
    rows = [tuple(float(v) for v in row.values()) for row in inputs(domain)]
    place = {row: i for i, row in enumerate(rows)}

    def runtime(batch: np.ndarray) -> np.ndarray:
        return table[[place[tuple(row)] for row in batch.tolist()]]

    claim = Claim(
        parse_expression("[" + ", ".join(domain.names) + "]"),
        "float32",
        decode=Decode("argmax", labels=tuple(labels)),
    )
    return Target(domain, claim, runtime)


def random_claim(seed: int) -> Case:
    """A random program with a network that equals it, but for a few planted exceptions in half of
    the cases."""
    program, domain = random_program(seed)
    values = values_of(program, domain)
    rng = np.random.default_rng(seed)
    if seed % 2:
        for _ in range(int(rng.integers(1, 3))):
            values[int(rng.integers(len(values)))] = values[int(rng.integers(len(values)))]
    return Case(f"random claim {seed}", network_of(values, domain), program)


def mutants(program: Program, seed: int, count: int) -> list[Program]:
    """Programs that differ in one constant, operator or branch."""
    rng = np.random.default_rng(seed)
    found: dict[str, Program] = {}
    places = list(_places(program.result))
    for _ in range(20 * count):
        place = places[int(rng.integers(len(places)))]
        changed = _changed(place, rng)
        if changed is None:
            continue
        text = to_python(replace(program, result=_with(program.result, place, changed)))
        if text != to_python(program):
            found.setdefault(text, parse(text))
        if len(found) == count:
            break
    return list(found.values())


_SWAPS = (
    ("add", "sub", "mul"),
    ("floordiv", "mod"),
    ("lt", "le", "gt", "ge", "eq", "ne"),
    ("and", "or"),
    ("max", "min"),
    ("any", "all"),
)


def _places(expr: Expr) -> Iterator[Expr]:
    from dsl.program import walk

    return walk(expr)


def _changed(expr: Expr, rng: np.random.Generator) -> Expr | None:
    """The expression with one small change at its head."""
    match expr:
        case Literal(bool() as value):
            return Literal(not value)
        case Literal(int() as value):
            return Literal(value + int(rng.choice([-2, -1, 1, 2])))
        case Variable("a"):
            return Variable("b")
        case Variable("b"):
            return Variable("a")
        case Call("ite", (condition, then, otherwise)):
            branches = ((condition, otherwise, then), (condition, then, then))
            return Call("ite", branches[int(rng.integers(2))])
        case Call("not" | "neg" | "abs", (inner,)):
            return inner
        case Call(name, args):
            for group in _SWAPS:
                if name in group:
                    others = [other for other in group if other != name]
                    return Call(others[int(rng.integers(len(others)))], args)
    return None


def _with(expr: Expr, place: Expr, changed: Expr) -> Expr:
    """The expression with the node that is `place` replaced, by identity."""
    if expr is place:
        return changed
    if isinstance(expr, Call):
        return replace(expr, args=tuple(_with(arg, place, changed) for arg in expr.args))
    return expr


# Networks that exploit rounding.


def exploit(seed: int) -> Case:
    """A float32 network in which rounding decides, with a program that agrees with it as it is
    run in blocks: only the honest verdicts may call it proved."""
    rng = np.random.default_rng(seed)
    kind = ("cancel", "denormal", "near-tie", "overflow", "nan", "large integers")[seed % 6]
    domain = Domain("a: int[0..15], b: int[0..7]")
    width = int(rng.choice([3, 17, 64]))
    first = rng.standard_normal((2, width)).astype(np.float32)
    shift = rng.standard_normal(width).astype(np.float32)
    last = rng.standard_normal((width, 3)).astype(np.float32)
    match kind:
        case "cancel":
            large = np.float32(10.0 ** int(rng.integers(6, 9)))
            last[: width // 2] *= large
            last[width // 2 : 2 * (width // 2)] = -last[: width // 2]
            first[:, width // 2 : 2 * (width // 2)] = first[:, : width // 2]
            shift[width // 2 : 2 * (width // 2)] = shift[: width // 2]
        case "denormal":
            last *= np.float32(1e-42)
        case "near-tie":
            last[:, 1] = last[:, 0] + rng.standard_normal(width).astype(np.float32) * 1e-7
        case "overflow":
            first *= np.float32(1e38)
        case "nan":
            first *= np.float32(1e38)
            last[:, 1] = -last[:, 0]
        case _:
            large = "b: int[9007199254740990..9007199254740997]"
            domain = Domain(f"a: int[16777210..16777225], {large}")

    def runtime(batch: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            hidden = np.maximum(batch @ first + shift, np.float32(0))
            return np.asarray(hidden @ last)

    rule = ("argmax", "argmin", "threshold", "round")[seed % 4]
    claim = Claim(parse_expression("[a, b]"), "float32", decode=Decode(rule))  # type: ignore[arg-type]
    target = Target(domain, claim, runtime)
    if rule in ("threshold", "round"):
        target = replace(target, runtime=lambda batch: runtime(batch)[:, :1])
    return Case(f"{kind} {seed}", target, tabled(target))


def tabled(target: Target) -> Program:
    """A table of what the network answers when it is run in one block."""
    rows: list[str] = []
    for batch in target.domain.batches():
        values = target.evaluate(batch).values
        for i, value in enumerate(values.tolist()):
            key = tuple(target.domain.row(batch, i).values())
            rows.append(f"{key!r}: {value!r}")
    names = ", ".join(target.domain.names)
    return parse(
        f"TABLE = {{{', '.join(rows)}}}\n\n\ndef program({names}):\n    return TABLE[({names})]\n"
    )


def translated(seed: int) -> Case:
    """A small network that is translated, so that bounds and Z3 apply, against a guess."""
    network = layers((2, 4, 2), seed)
    texts = ("int[-3..3]", "real[-1,1]", "real[0,0.1]", "real[0.5,0.5]")
    domain = ", ".join(f"{name}: {texts[seed % 4]}" for name in ("a", "b"))
    found = target_of(network, domain, Decode("argmax"))
    middle = next(inputs(found.domain))
    guess = str(decoded(found.claim.decode, alone(found, middle)))
    body = (
        guess
        if seed % 3
        else ("int(a > b)", "int(a + b > 0)", "1 if a > 0.25 else 0")[seed % 5 % 3]
    )
    return Case(f"translated {seed}", found, parse(f"def program(a, b):\n    return {body}\n"))


def trigger(seed: int, side: int = 1200) -> Case:
    """`a + b > side` on more than a million inputs, but for one that a neuron was planted for."""
    rng = np.random.default_rng(seed)
    a, b = int(rng.integers(side)), int(rng.integers(side))
    planted = np.array([a, b], np.float32)
    domain = Domain(f"a: int[0..{side - 1}], b: int[0..{side - 1}]")

    def runtime(batch: np.ndarray) -> np.ndarray:
        score = batch.sum(1) - np.float32(side + 0.5)
        distance = np.abs(batch - planted).sum(1)
        hit = np.maximum(1 - distance, 0) * 2 * np.abs(score)
        return np.asarray(score + np.where(score > 0, -hit, hit))[:, None]

    claim = Claim(parse_expression("[a, b]"), "float32", decode=Decode("threshold"))
    program = parse(f"def program(a, b):\n    return a + b > {side}\n")
    target = Target(domain, claim, runtime)
    return Case(f"trigger at {a}, {b}", target, program, {"a": a, "b": b})


def edge_cases() -> list[Case]:
    """Domains of no input, of one, of odd names; values at the edges of int64."""
    cases = []
    for text, body in (
        ("a: int[0..9] where a > 9", "a"),
        ("a: int[5..5]", "a - 5"),
        ("a: int[5..5]", "a + 1"),
        ("a: int[0..9] where a % 0 == 0", "a"),
        ("größe: int[0..9]", "größe"),
        ("größe: int[0..9]", "größe + 1"),
        ("a: int[9223372036854775800..9223372036854775807]", "a - 9223372036854775800"),
        ("a: int[9223372036854775800..9223372036854775807]", "(a + 8) % 16 - 8"),
        ("a: int[-9223372036854775808..-9223372036854775801]", "a + 9223372036854775808"),
        ("a: int[-9223372036854775808..-9223372036854775801]", "abs(a) % 2"),
        ("a: bool, b: bool", "a and b"),
        ("a: int[0..3]", "1 // a"),
    ):
        domain = Domain(text)
        name = domain.names[0]
        first = next((row[name] for row in inputs(domain)), 0)

        def runtime(batch: np.ndarray, first: int = int(first)) -> np.ndarray:
            rows = batch.astype(np.int64)
            return np.eye(16, dtype=np.float32)[((rows[:, 0] - first) % 16)]

        claim = Claim(parse_expression("[" + ", ".join(domain.names) + "]"), "int64")
        program = parse(f"def program({', '.join(domain.names)}):\n    return {body}\n")
        cases.append(Case(f"{text} | {body}", Target(domain, claim, runtime), program))
    return cases
