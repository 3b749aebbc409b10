"""A small checker: it establishes the evidence of a certificate again, from the network's runtime,
the text of the program and the evidence, and knows nothing of how any of them was found.

It reads programs by Python's own `ast` module and gives them their meaning as Python, value by
value: another parser and another evaluator than those of the compiler (dsl.parser, dsl.evaluate).
Nothing of a program is executed: its text is turned into closures over a short list of operations,
with bounds on exponents, sizes and rounds.

What it believes: this file, `dsl/domain.py` (which inputs there are), `dsl/decoding.py` (how they
are packed, and raw outputs decoded), `dsl/generation.py` and `dsl/prefixes.py` (greedy answers),
the runtime that it is handed, Python and NumPy.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import math
import operator
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import GeneratorType
from typing import Any, TypeAlias

import numpy as np

from dsl.claim import Evaluation, Proved, Target
from dsl.domain import BLOCK, Shape
from dsl.types import Seq

_LONGEST_TEXT = 4_000_000
_MOST_BITS = 4096
_MOST_ITEMS = 10**6
_MOST_ROUNDS = 10**6

Environment: TypeAlias = dict[str, Any]
Term: TypeAlias = Callable[[Environment], Any]


class Refused(Exception):
    """The text is no program that the checker gives a meaning to."""


class NoValue(Exception):
    """The program has no value on an input: Python would raise."""


class Beyond(NoValue):
    """The checker has no value on an input, for a bound is exceeded: Python may have one."""


@dataclass(frozen=True, slots=True)
class Function:
    """A program as a function of plain values."""

    name: str
    parameters: tuple[str, ...]
    run: Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was established: `state` is holds, broken or undecided.

    `domain` is what was established, as text.  `digest` is that of the network's decoded values, in
    the form of the evidence; a broken claim comes with its first counterexample: inputs, the
    program's value, the network's value.
    """

    state: str
    reason: str = ""
    inputs: int = 0
    digest: str = ""
    counterexample: tuple[Mapping[str, Any], Any, Any] | None = None
    wrong: int = 0
    margin: float = math.inf
    domain: str = ""


# Programs.


def function_of(text: str) -> Function:
    """The function that a text defines.  Raises Refused, with the line, for anything else."""
    if len(text) > _LONGEST_TEXT:
        raise Refused("the text is longer than 4 MB")
    try:
        tree = ast.parse(text)
        return _module(tree)
    except SyntaxError as error:
        raise Refused(f"line {error.lineno}: {error.msg}") from None
    except (RecursionError, MemoryError, ValueError) as error:
        raise Refused(f"the text cannot be read: {error}") from None


def _module(tree: ast.Module) -> Function:
    constants: Environment = {}
    function: Function | None = None
    for node in tree.body:
        match node:
            case ast.Import(names=[ast.alias(name="math", asname=None)]):
                continue
            case ast.Import(names=[ast.alias(name="numpy", asname="np")]):
                continue
            case ast.Expr(value=ast.Constant(value=str())):
                continue
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                constants[_name(name, node)] = _literal(value)
            case ast.FunctionDef() if function is None:
                function = _function(node, constants)
            case _:
                raise _refused(node, "only imports of math, constants and one function")
    if function is None:
        raise Refused("there is no function")
    return function


def _function(node: ast.FunctionDef, constants: Environment) -> Function:
    a = node.args
    if a.posonlyargs or a.kwonlyargs or a.vararg or a.kwarg or a.defaults or node.decorator_list:
        raise _refused(node, "plain parameters only")
    names = tuple(_name(arg.arg, node) for arg in a.args)
    body = node.body
    if isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant):
        body = body[1:]
    block = _block(body)

    def run(*values: Any) -> Any:
        environment = dict(constants)
        environment.update(zip(names, values, strict=True))
        environment[_ROUNDS] = 0
        try:
            finished, result = block(environment)
        except (ArithmeticError, ValueError, LookupError, TypeError) as error:
            raise NoValue(str(error)) from None
        except (RecursionError, MemoryError) as error:
            raise Beyond(f"the value is too large: {error}") from None
        if not finished:
            raise NoValue("the function returned nothing")
        return result

    return Function(node.name, names, run)


_ROUNDS = "?rounds"
Block: TypeAlias = Callable[[Environment], tuple[bool, Any]]


def _block(statements: list[ast.stmt]) -> Block:
    """Statements in order; (True, value) as soon as one returns."""
    steps = [_statement(statement) for statement in statements]

    def run(environment: Environment) -> tuple[bool, Any]:
        for step in steps:
            finished, value = step(environment)
            if finished:
                return True, value
        return False, None

    return run


def _statement(node: ast.stmt) -> Block:
    match node:
        case ast.Return(value=ast.expr() as value):
            term = _term(value)
            return lambda environment: (True, term(environment))
        case ast.Assign(targets=[target], value=value):
            names, term = _targets(target), _term(value)
            return lambda environment: _bound(environment, names, term(environment))
        case ast.AugAssign(target=ast.Name(id=name), op=op, value=value):
            operation, term, name = _operation(op, node), _term(value), _name(name, node)
            return lambda environment: _bound(
                environment, name, operation(environment[name], term(environment))
            )
        case ast.Expr(value=ast.Call(func=ast.Attribute(attr="append") as function, args=[value])):
            items, term = _term(function.value), _term(value)
            return lambda environment: _appended(environment, items(environment), term(environment))
        case ast.If(test=test, body=body, orelse=orelse):
            condition = _term(test)
            then, otherwise = _block(body), _block(orelse)
            return lambda environment: (then if condition(environment) else otherwise)(environment)
        case ast.For(target=target, iter=source, body=body, orelse=[]):
            return _loop(_targets(target), _term(source), _block(body))
        case ast.Pass():
            return lambda environment: (False, None)
    raise _refused(node, "no statement of this language")


def _loop(names: Any, source: Term, body: Block) -> Block:
    def run(environment: Environment) -> tuple[bool, Any]:
        for item in _iterated(source(environment)):
            _counted(environment)
            _bound(environment, names, item)
            finished, value = body(environment)
            if finished:
                return True, value
        return False, None

    return run


def _counted(environment: Environment, rounds: int = 1) -> None:
    environment[_ROUNDS] += rounds
    if environment[_ROUNDS] > _MOST_ROUNDS:
        raise Beyond("over a million rounds")


def _targets(node: ast.expr) -> Any:
    match node:
        case ast.Name(id=name):
            return _name(name, node)
        case ast.Tuple(elts=elements):
            return tuple(_targets(element) for element in elements)
    raise _refused(node, "only names can be bound")


def _bound(environment: Environment, names: Any, value: Any) -> tuple[bool, Any]:
    if isinstance(names, str):
        environment[names] = value
    else:
        parts = list(value)
        if len(parts) != len(names):
            raise NoValue(f"{len(parts)} values for {len(names)} names")
        for name, part in zip(names, parts, strict=True):
            _bound(environment, name, part)
    return False, None


def _appended(environment: Environment, items: Any, value: Any) -> tuple[bool, Any]:
    _counted(environment, _weight(value))
    _of(items, list).append(value)
    return False, None


def _weight(value: Any, known: dict[int, int] | None = None) -> int:
    """How many items a value holds, those of its items counted too.  A few lines of text can nest
    so many that Python's comparison of two of them would never end."""
    if not isinstance(value, (list, tuple)):
        return 1
    known = {} if known is None else known
    if id(value) not in known:
        inner = (_weight(item, known) for item in value if isinstance(item, (list, tuple)))
        known[id(value)] = 1 + len(value) + sum(inner)
    if known[id(value)] > _MOST_ITEMS + 1:
        raise Beyond("a sequence of over a million items")
    return known[id(value)]


def _weighed(value: Any) -> Any:
    """The value, if it holds at most a million items."""
    _weight(value)
    return value


# Expressions.


def _term(node: ast.expr) -> Term:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return lambda environment: value
        case ast.Name(id=name):
            _name(name, node)
            return lambda environment: _looked_up(environment, name)
        case ast.BinOp(left=left, op=op, right=right):
            operation, a, b = _operation(op, node), _term(left), _term(right)
            return lambda environment: operation(a(environment), b(environment))
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() | ast.Not() as op, operand=operand):
            a, sign = _term(operand), _UNARY[type(op)]
            return lambda environment: sign(a(environment))
        case ast.BoolOp(op=op, values=values):
            return _connective(isinstance(op, ast.And), [_term(value) for value in values])
        case ast.Compare(left=left, ops=ops, comparators=comparators):
            return _comparison([_term(left), *map(_term, comparators)], ops, node)
        case ast.IfExp(test=test, body=body, orelse=orelse):
            condition, then, otherwise = _term(test), _term(body), _term(orelse)
            return lambda environment: (then if condition(environment) else otherwise)(environment)
        case ast.Subscript(value=value, slice=key):
            items, place = _term(value), _key(key)
            return lambda environment: items(environment)[place(environment)]
        case ast.List(elts=elements):
            parts = [_term(element) for element in elements]
            return lambda environment: _weighed([part(environment) for part in parts])
        case ast.Tuple(elts=elements):
            parts = [_term(element) for element in elements]
            return lambda environment: _weighed(tuple(part(environment) for part in parts))
        case ast.Dict():
            table = _literal(node)
            return lambda environment: table
        case ast.ListComp(elt=element, generators=[clause]):
            items = _comprehension(element, clause)
            return lambda environment: _weighed(list(items(environment)))
        case ast.GeneratorExp(elt=element, generators=[clause]):
            return _comprehension(element, clause)
        case ast.Call(func=function, args=args, keywords=[]):
            return _call(function, [_term(arg) for arg in args], node)
        case ast.Attribute(value=ast.Name(id="math"), attr="inf" | "nan" as which):
            number = float(which)
            return lambda environment: number
    raise _refused(node, "no expression of this language")


def _looked_up(environment: Environment, name: str) -> Any:
    if name not in environment:
        raise NoValue(f"{name} has no value")
    return environment[name]


def _key(node: ast.expr) -> Term:
    match node:
        case ast.Slice(lower=lower, upper=upper, step=step):
            ends = [None if end is None else _term(end) for end in (lower, upper, step)]
            return lambda environment: slice(
                *(None if end is None else end(environment) for end in ends)
            )
    return _term(node)


def _connective(conjunction: bool, terms: list[Term]) -> Term:
    def run(environment: Environment) -> Any:
        for term in terms[:-1]:
            value = term(environment)
            if bool(value) != conjunction:
                return value
        return terms[-1](environment)

    return run


_COMPARED: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
}


def _comparison(terms: list[Term], ops: list[ast.cmpop], node: ast.expr) -> Term:
    if any(type(op) not in _COMPARED for op in ops):
        raise _refused(node, "no comparison of this language")
    tests = [_COMPARED[type(op)] for op in ops]

    def run(environment: Environment) -> bool:
        left = terms[0](environment)
        for test, term in zip(tests, terms[1:], strict=True):
            right = term(environment)
            if not test(left, right):
                return False
            left = right
        return True

    return run


def _comprehension(element: ast.expr, clause: ast.comprehension) -> Term:
    names, source, term = _targets(clause.target), _term(clause.iter), _term(element)
    conditions = [_term(condition) for condition in clause.ifs]

    def run(environment: Environment) -> Iterator[Any]:
        return generated(environment, _iterated(source(environment)))

    def generated(environment: Environment, items: Any) -> Iterator[Any]:
        inner = dict(environment)
        for item in items:
            _counted(environment)
            inner[_ROUNDS] = environment[_ROUNDS]
            _bound(inner, names, item)
            kept = all(condition(inner) for condition in conditions)
            value = term(inner) if kept else None
            environment[_ROUNDS] = inner[_ROUNDS]
            if kept:
                yield value

    return run


def _iterated(value: Any) -> Any:
    if not isinstance(value, (list, tuple, str, range, set, GeneratorType)):
        raise NoValue(f"{type(value).__name__} is no sequence")
    return sorted(value) if isinstance(value, set) else value


def _operation(op: ast.operator, node: ast.AST) -> Callable[[Any, Any], Any]:
    if type(op) not in _BINARY:
        raise _refused(node, "no operation of this language")
    return _BINARY[type(op)]


def _plus(a: Any, b: Any) -> Any:
    if isinstance(a, str) and len(a) + len(b) > _MOST_ITEMS:
        raise Beyond("a text of over a million letters")
    return _weighed(a + b) if isinstance(a, (list, tuple)) else a + b


def _times(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int):
        if a.bit_length() + b.bit_length() > 1 << 20:
            raise Beyond("a number of over a million bits")
    elif isinstance(a, str) and len(a) * b > _MOST_ITEMS:
        raise Beyond("a text of over a million letters")
    elif isinstance(a, (list, tuple)) and (_weight(a) - 1) * b > _MOST_ITEMS:
        raise Beyond("a sequence of over a million items")
    elif isinstance(b, (list, tuple, str)):
        raise Beyond("a count stands after its sequence")
    return a * b


def _power(a: Any, b: Any) -> Any:
    if isinstance(a, int) and isinstance(b, int) and a.bit_length() * b > _MOST_BITS:
        raise Beyond("a power of over 4096 bits")
    result = a**b
    if type(result) is not type(a + b):
        raise Beyond("a power of another kind: of a negative exponent, or complex")
    return result


_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: _plus,
    ast.Sub: operator.sub,
    ast.Mult: _times,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: lambda a, b: _number(a) % b,
    ast.Pow: _power,
}


def _number(value: Any) -> Any:
    """The value, unless it is a text: `%` would format it."""
    return _of(value, (bool, int, float))


def _range(*ends: int) -> range:
    span = range(*ends)
    if len(span) > _MOST_ITEMS:
        raise Beyond("a range of over a million numbers")
    return span


_FUNCTIONS: dict[str, tuple[int, int, Callable[..., Any]]] = {
    "abs": (1, 1, abs),
    "len": (1, 1, len),
    "max": (1, 99, max),
    "min": (1, 99, min),
    "sum": (1, 1, lambda xs: sum(_iterated(xs))),
    "any": (1, 1, lambda xs: any(_iterated(xs))),
    "all": (1, 1, lambda xs: all(_iterated(xs))),
    "sorted": (1, 1, lambda xs: sorted(_iterated(xs))),
    "set": (1, 1, lambda xs: set(_iterated(xs))),
    "list": (1, 1, lambda xs: list(_iterated(xs))),
    "tuple": (1, 1, lambda xs: tuple(_iterated(xs))),
    "range": (1, 3, _range),
    "enumerate": (1, 1, lambda xs: list(enumerate(_iterated(xs)))),
    "zip": (1, 99, lambda *xs: _weighed(list(zip(*map(_iterated, xs), strict=False)))),
    "int": (1, 1, lambda x: int(_number(x))),
    **{
        f"math.{name}": (1, 1, getattr(math, name))
        for name in ("sqrt", "exp", "log", "tanh", "sin", "cos", "floor", "ceil", "isqrt")
    },
    "np.dot": (2, 2, lambda a, b: sum(x * y for x, y in zip(a, b, strict=True))),
}
_METHODS: dict[str, tuple[int, Callable[..., Any]]] = {
    "count": (1, lambda items, x: items.count(x)),
    "index": (1, lambda items, x: items.index(x)),
    "get": (2, lambda table, key, default: table.get(key, default)),
}


def _call(function: ast.expr, args: list[Term], node: ast.expr) -> Term:
    match function:
        case ast.Name(id=name):
            pass
        case ast.Attribute(value=ast.Name(id="math" | "np" as module), attr=attribute):
            name = f"{module}.{attribute}"
        case ast.Attribute(value=owner, attr=name) if name in _METHODS:
            count, method = _METHODS[name]
            if len(args) != count:
                raise _refused(node, f"{name} takes {count} arguments")
            items = _term(owner)
            kind = dict if name == "get" else (list, tuple)
            return lambda environment: method(
                _of(items(environment), kind), *(arg(environment) for arg in args)
            )
        case _:
            raise _refused(node, "no function of this language")
    if name not in _FUNCTIONS:
        raise _refused(node, f"{name} is no function of this language")
    low, high, called = _FUNCTIONS[name]
    if not low <= len(args) <= high:
        raise _refused(node, f"{name} does not take {len(args)} arguments")
    if len(args) == 1:
        (only,) = args
        return lambda environment: called(only(environment))
    return lambda environment: called(*(arg(environment) for arg in args))


def _of(value: Any, kind: Any) -> Any:
    if not isinstance(value, kind):
        raise NoValue(f"{type(value).__name__} has no such method")
    return value


def _literal(node: ast.expr) -> Any:
    """A constant: numbers, texts, tuples, lists and maps of them."""
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            inner = _literal(operand)
            if isinstance(inner, (int, float)):
                return -inner
        case ast.Tuple(elts=elements):
            return tuple(_literal(element) for element in elements)
        case ast.List(elts=elements):
            return [_literal(element) for element in elements]
        case ast.Dict(keys=keys, values=values) if None not in keys:
            pairs = [(_literal(k), _literal(v)) for k, v in zip(keys, values, strict=True) if k]
            table = dict(pairs)
            if len(table) == len(pairs):
                return table
        case ast.Attribute(value=ast.Name(id="math"), attr="inf" | "nan" as which):
            return float(which)
    raise _refused(node, "a constant is made of literals")


def _name(name: str, node: ast.AST) -> str:
    if name.startswith("__") or name in _FUNCTIONS or name in ("math", "np"):
        raise _refused(node, f"{name} cannot be the name of a value")
    return name


def _refused(node: ast.AST, reason: str) -> Refused:
    return Refused(f"line {getattr(node, 'lineno', 0)}: {reason}")


# Evidence.

ALONE = 2048
_SMALL = 5_000_000
_UNSTEADY = "an input gets another value when it is run alone"
_CLOSE = 1e-4
"""Decisions so near to a tie, beside the clearest of their block, are also run one by one."""
ELSEWHERE = {"branch_and_bound": "verify.branch_and_bound", "invariant": "verify.invariants"}
"""Kinds of evidence that are checked by `recheck` of their method's module, from the recorded
regions alone; with it that module, what it imports, and the translated network must be believed."""


def recheck(
    text: str,
    target: Target,
    evidence: Mapping[str, Any],
    *,
    deadline: float = math.inf,
    alone: int = ALONE,
) -> Outcome:
    """Establishes a claim of equality again by the kind of evidence that was recorded, or, where
    the whole domain is small, input by input whatever the evidence.

    Raises Refused for a program that it cannot read, or evidence of a kind that it does not know.
    All inputs of domains of up to `alone` are also run one by one.
    """
    kind = str(evidence.get("kind", ""))
    function = function_of(text)
    unknown = set(function.parameters) - set(target.domain.names)
    if unknown:
        raise Refused(f"the program takes {sorted(unknown)[0]}, which is no input of the domain")
    size = target.domain.raw_size
    small = size is not None and size <= _SMALL and not target.claim.closed_loop
    match kind:
        case "lengths" if not target.claim.closed_loop:
            return lengths(function, target, evidence, deadline)
        case _ if kind == "enumeration" or (small and kind):
            return enumeration(function, target, evidence, deadline, alone)
        case _ if kind in ELSEWHERE:
            return _elsewhere(ELSEWHERE[kind], text, target, evidence, deadline)
    raise Refused(f"evidence of the kind `{kind}` has no independent check")


def _elsewhere(
    name: str, text: str, target: Target, evidence: Mapping[str, Any], deadline: float
) -> Outcome:
    from dsl.parser import parse

    module = importlib.import_module(name)
    match module.recheck(evidence, parse(text), target, deadline=deadline):
        case Proved() as proved:
            return Outcome("holds", name, domain=proved.proven_domain)
        case _:
            return Outcome("undecided", "the recorded regions do not establish the claim")


def enumeration(
    function: Function, target: Target, evidence: Mapping[str, Any], deadline: float, alone: int
) -> Outcome:
    """Every input of the domain, in the network and in the program."""
    domain = target.domain
    if target.claim.closed_loop:
        return Outcome("undecided", "which sequences belong to a closed loop is not established")
    shapes = tuple(domain.shapes()) if domain.raw_size is not None else ()
    if not shapes:
        return Outcome("undecided", "the domain is not finite")
    every = (domain.raw_size or 0) <= alone
    outcome = _compared(function, target, iter(shapes), deadline, every=every)
    expected = domain.raw_size if domain.where is None else outcome.inputs
    if evidence.get("kind") == "enumeration" and domain.where is not None:
        expected = evidence.get("inputs")
    if outcome.state == "holds" and outcome.inputs != expected:
        return Outcome("undecided", f"{outcome.inputs} inputs were met, not {expected}")
    return replace(outcome, domain=str(domain))


def lengths(
    function: Function, target: Target, evidence: Mapping[str, Any], deadline: float
) -> Outcome:
    """Every input up to the length that the evidence names."""
    longest, sequences = evidence.get("longest"), _sequences(target)
    if not isinstance(longest, int) or len(sequences) != 1:
        raise Refused("the evidence names no length, or there is more than one sequence")

    def shapes() -> Iterator[Shape]:
        for shape in target.domain.shapes():
            if max((length for _, length in shape.lengths), default=0) > longest:
                return
            yield shape

    outcome = _compared(function, target, shapes(), deadline, every=False)
    ((name, high),) = sequences
    whole = high is not None and longest >= high
    cut = target.domain if whole else target.domain.restricted(f"len({name}) <= {longest}")
    return replace(outcome, domain=str(cut))


def _sequences(target: Target) -> list[tuple[str, int | None]]:
    return [(name, kind.high) for name, kind in target.domain.fields if isinstance(kind, Seq)]


def _compared(
    function: Function, target: Target, shapes: Iterator[Shape], deadline: float, *, every: bool
) -> Outcome:
    digest = hashlib.sha256()
    inputs, wrong, margin, limit = 0, 0, math.inf, ""
    first: tuple[Mapping[str, Any], Any, Any] | None = None
    tolerance = target.claim.decode.tolerance
    for shape in shapes:
        size = target.domain.shape_size(shape)
        if size is None:
            return Outcome("undecided", "the domain is not finite", inputs)
        for start in range(0, size, BLOCK):
            batch = target.domain.block(shape, start, min(start + BLOCK, size))
            batch = target.domain.kept(batch)
            count = len(next(iter(batch.values())))
            if count == 0:
                continue
            if time.monotonic() > deadline:
                return Outcome("undecided", f"time is up after {inputs} inputs", inputs)
            evaluation = target.evaluate(batch)
            if np.isnan(evaluation.margins).any():
                return Outcome("undecided", "an output of the network is not a number", inputs)
            margin = min(margin, float(evaluation.margins.min()))
            digest.update(hashlib.sha256(_bytes(evaluation.values)).digest())
            theirs = evaluation.values.tolist()
            columns = [batch[name].tolist() for name in function.parameters]
            ours: list[Any] = []
            for row, values in enumerate(zip(*columns, strict=True) if columns else ((),) * count):
                if time.monotonic() > deadline:
                    return Outcome("undecided", f"time is up after {inputs + row} inputs", inputs)
                ours.append(_value(function, values))
                if isinstance(ours[row], Beyond):
                    limit = limit or f"the program on {target.domain.row(batch, row)}: {ours[row]}"
                elif not _same(ours[row], theirs[row], tolerance):
                    wrong += 1
                    if first is None:
                        alone = _alone(target, batch, row)
                        if _same(ours[row], alone, tolerance):
                            limit = _UNSTEADY
                        else:
                            first = target.domain.row(batch, row), ours[row], alone
            inputs += count
            if first is None and not limit and not _steady(target, batch, ours, evaluation, every):
                return Outcome("undecided", _UNSTEADY)
    if first is not None:
        return Outcome("broken", "", inputs, digest.hexdigest(), first, wrong)
    if limit:
        return Outcome("undecided", limit, inputs)
    if inputs == 0:
        return Outcome("undecided", "no input satisfies the domain's condition")
    return Outcome("holds", "", inputs, digest.hexdigest(), margin=margin)


def _steady(
    target: Target, batch: dict[str, np.ndarray], ours: list[Any], found: Evaluation, every: bool
) -> bool:
    """Do inputs that are nearly tied, or all, get the program's value when they are run alone?"""
    clearest = float(found.margins[np.isfinite(found.margins)].max(initial=0.0))
    rows = np.flatnonzero(every | (found.margins <= _CLOSE * clearest)).tolist()
    tolerance = target.claim.decode.tolerance
    return all(_same(ours[row], _alone(target, batch, row), tolerance) for row in rows)


def _alone(target: Target, batch: dict[str, np.ndarray], row: int) -> Any:
    """The network's value on one row that is run by itself."""
    one = {name: column[row : row + 1] for name, column in batch.items()}
    return target.evaluate(one).values.tolist()[0]


def _value(function: Function, values: tuple[Any, ...]) -> Any:
    try:
        return function.run(*values)
    except Beyond as limit:
        return limit
    except NoValue:
        return NoValue


def _same(ours: Any, theirs: Any, tolerance: float) -> bool:
    """Python's equality, item by item; real numbers within the tolerance.  NaN equals nothing."""
    if isinstance(theirs, (list, tuple)):
        alike = isinstance(ours, (list, tuple)) and len(ours) == len(theirs)
        return alike and all(_same(a, b, tolerance) for a, b in zip(ours, theirs, strict=True))
    if tolerance and isinstance(ours, (int, float)) and isinstance(theirs, (int, float)):
        return abs(ours - theirs) <= tolerance
    return bool(ours == theirs)


def _bytes(values: np.ndarray) -> bytes:
    """Decoded values in the form that the evidence's digest was made of."""
    if values.dtype.kind in "iub":
        fits = values.size == 0 or (values.min() >= -128 and values.max() <= 127)
        return np.ascontiguousarray(values.astype(np.int8 if fits else np.int64)).tobytes()
    if values.dtype.kind == "f":
        return np.ascontiguousarray(values.astype(np.float64)).tobytes()
    return repr(values.tolist()).encode()
