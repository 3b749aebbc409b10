"""What is claimed of a recurrent network, as a machine beside a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from dsl.claim import Target
from dsl.decoding import packed
from dsl.errors import DistillError
from dsl.program import Call, Comprehension, Expr, Literal, Program, Variable, walk
from dsl.rolling import Rolled, rolled
from dsl.unrolling import unrolled
from verify.recurrent.enclosures import Form, points
from verify.recurrent.exploration import Network
from verify.recurrent.machines import Alphabet, Machine, alphabet_of, machine_of
from verify.recurrent.patches import Beginning, patched
from verify.recurrent.steps import enclosed
from verify.rounding import Unbounded, precision

_UNBOUNDED = (8, 9, 40)
"""The lengths at which a network for sequences of any length is rolled up and compared."""
LENGTHS = f"{', '.join(map(str, _UNBOUNDED[:-1]))} and {_UNBOUNDED[-1]}"
_FOLDED = 1e-5
"""A first state that a front end has computed may differ from the runtime's by this, relatively."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """A program beside a network.  `base` is the program without what it looks up: `exceptions`
    are whole words, `answers` those after some beginnings."""

    machine: Machine
    network: Network
    alphabet: Alphabet
    rolled: Rolled
    at_end: bool
    exceptions: tuple[dict[str, Any], ...]
    base: Program
    answers: Mapping[Beginning, Any]

    @property
    def shortest(self) -> int:
        return self.alphabet.shortest

    @property
    def longest(self) -> int | None:
        return self.alphabet.longest

    def asked(self, length: int) -> bool:
        """Is an answer after that many symbols part of the claim?"""
        if not self.at_end:
            return True
        return length >= self.shortest and (self.longest is None or length <= self.longest)


def comparison(program: Program, target: Target) -> Comparison | None:
    """None where the program is no machine, or the network no unrolled step, over the words of the
    domain."""
    alphabet = alphabet_of(target.domain)
    claim = target.claim
    if alphabet is None or claim.feedback is not None or claim.closed_loop:
        return None
    names = target.domain.names
    base, exceptions = without_exceptions(program, names)
    looked_up = None if exceptions else patched(base, alphabet)
    if looked_up is not None:
        base = looked_up.base
    machine = machine_of(base, names)
    if machine is None or not is_letterwise(claim.pack, names):
        return None
    found = _rolled(target, alphabet)
    if found is None or found.lead or not _is_single(found, claim.dtype):
        return None
    at_end = not found.every_step
    match claim.positions:
        case None:
            pass
        case Literal(-1) | Call("neg", (Literal(1),)) if found.every_step:
            at_end = True
        case _:
            return None
    if machine.final and not at_end:
        return None
    return Comparison(
        machine,
        network_of(found, target, alphabet),
        alphabet,
        found,
        at_end,
        exceptions,
        base,
        {} if looked_up is None else looked_up.answers,
    )


def _is_single(found: Rolled, dtype: str) -> bool:
    """Is the step computed in single precision or better?"""
    try:
        precision(found.step, dtype)
    except Unbounded:
        return False
    return True


def network_of(found: Rolled, target: Target, alphabet: Alphabet) -> Network:
    """The rolled network over the numbers of symbols."""
    length = found.length
    words = alphabet.words(np.repeat(np.arange(len(alphabet))[:, None], length, axis=1))
    table = packed(target.claim, words)[:, 0].astype(np.float64)

    def step(symbols: np.ndarray, state: Form) -> tuple[Form, Form]:
        x = points(table[symbols], state.generators.shape[1])
        answer, after = enclosed(found.step, {"x": x, "h": state})
        assert isinstance(answer, Form) and isinstance(after, Form)
        return answer, after

    start = found.start.astype(np.float64)
    return Network(step, start, _FOLDED * float(np.abs(start).max(initial=0.0)))


def step_of_forms(found: Rolled) -> Callable[[Form, Form], tuple[Form, Form]]:
    """The rolled network on forms of packed items, (B, item)."""

    def step(x: Form, state: Form) -> tuple[Form, Form]:
        answer, after = enclosed(found.step, {"x": x, "h": state})
        assert isinstance(answer, Form) and isinstance(after, Form)
        return answer, after

    return step


def packs_items(found: Rolled, target: Target, alphabet: Alphabet) -> bool:
    """Does the packed input hold the items themselves, one number for each sequence?"""
    if any(column.dtype.kind not in "iu" for column in alphabet.symbols):
        return False
    words = alphabet.words(np.repeat(np.arange(len(alphabet))[:, None], found.length, axis=1))
    table = packed(target.claim, words)[:, 0]
    return bool(np.array_equal(table, np.stack(alphabet.symbols, axis=1)))


def _rolled(target: Target, alphabet: Alphabet) -> Rolled | None:
    """The step of the network, the same for every length of the domain; words of a single symbol
    are left to others."""
    low, high = max(2, alphabet.shortest), alphabet.longest
    lengths = _UNBOUNDED if high is None else tuple(range(low, high + 1))
    if not lengths or len(lengths) > 64:
        return None
    first: Rolled | None = None
    for length in reversed(lengths):
        words = alphabet.words(np.zeros((1, length), np.int64))
        try:
            shape = tuple(target.pack(words).shape[1:])
        except DistillError:
            return None
        if not shape or shape[0] != length:
            return None
        network = target.network(shape)
        found = None if network is None else rolled_layers(network, shape)
        if found is None:
            return None
        if first is None:
            first = found
        elif not same_step(first, found):
            return None
    return first


def rolled_layers(network: Program, shape: tuple[int, ...]) -> Rolled | None:
    """The step of a network that is a loop, or recurrent layers."""
    found = rolled(network, shape)
    if found is not None:
        return found
    written = unrolled(network, shape)
    return None if written is None else rolled(written, shape)


def same_step(a: Rolled, b: Rolled) -> bool:
    """Are two steps the same computation, names of variables aside?"""
    alike = (a.every_step, a.lead) == (b.every_step, b.lead)
    return alike and np.array_equal(a.start, b.start) and _renamed(a.step) == _renamed(b.step)


def _renamed(step: Program) -> str:
    """The text of a step with variables numbered and constants by content."""
    from dsl.program import Assign, constant_bytes

    numbers: dict[str, str] = {name: name for name, _ in step.inputs}
    constants = {name: constant_bytes(value) for name, value in step.constants}

    def text(expr: Expr) -> str:
        match expr:
            case Variable(name):
                return numbers[name]
            case Call(name, args, options):
                return f"{name}({','.join(map(text, args))};{options})"
            case Literal(value):
                return repr(value)
            case _:
                return str(constants[getattr(expr, "name", "")])

    lines = []
    for statement in step.body:
        assert isinstance(statement, Assign)
        lines.append(text(statement.values[0]))
        numbers[statement.names[0]] = f"v{len(lines)}"
    return "\n".join([*lines, text(step.result)])


def is_letterwise(pack: Expr, names: tuple[str, ...]) -> bool:
    """Does the packed input hold, for each symbol in order, a value of that symbol alone?"""
    match pack:
        case Variable(name):
            return names == (name,)
        case Comprehension(element, targets, source, None):
            match source:
                case Variable(name) if names == (name,):
                    return _free(element) <= set(targets)
                case Call("zip", args) if args == tuple(Variable(name) for name in names):
                    return _free(element) <= set(targets)
                case Call("range", (Literal(0), Literal())) if len(targets) == 1:
                    return _free(_pointwise(element, names, targets[0])) <= {"item"}
    return False


def _pointwise(expr: Expr, names: tuple[str, ...], place: str) -> Expr:
    """The expression with the items at `place` of all sequences written as one variable."""
    match expr:
        case Call("index", (Variable(name), Variable(index))) if name in names and index == place:
            return Variable("item")
        case Call(name, args, options):
            return Call(name, tuple(_pointwise(arg, names, place) for arg in args), options)
        case _:
            return expr


def _free(expr: Expr) -> set[str]:
    return {node.name for node in walk(expr) if isinstance(node, Variable)}


def without_exceptions(
    program: Program, names: tuple[str, ...]
) -> tuple[Program, tuple[dict[str, Any], ...]]:
    """The program without its exceptions `value if word == literal else ...`, and their words."""
    found: list[dict[str, Any]] = []
    result = program.result
    while isinstance(result, Call) and result.primitive == "ite":
        condition, value, other = result.args
        word = _word(condition)
        if set(word) != set(names) or not isinstance(value, (Literal, Call)):
            break
        if _free(value):
            break
        found.append(word)
        result = other
    if not found:
        return program, ()
    return replace(program, result=result), tuple(found)


def _word(condition: Expr) -> dict[str, Any]:
    match condition:
        case Call("and", args):
            return {key: value for arg in args for key, value in _word(arg).items()}
        case Call("eq", (Variable(name), value)):
            items = _items(value)
            return {} if items is None else {name: items}
    return {}


def _items(expr: Expr) -> list[Any] | None:
    match expr:
        case Literal(value) if isinstance(value, (tuple, str)):
            return list(value)
        case Call("list" | "tuple", args) if all(isinstance(arg, Literal) for arg in args):
            return [arg.value for arg in args if isinstance(arg, Literal)]
        case Call("list" | "tuple", args):
            signed = [_signed(arg) for arg in args]
            return None if any(value is None for value in signed) else signed
    return None


def _signed(expr: Expr) -> Any:
    match expr:
        case Literal(value):
            return value
        case Call("neg", (Literal(value),)) if isinstance(value, int):
            return -value
    return None
