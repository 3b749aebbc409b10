"""Unrolled networks rolled up again: one step, its first state, and a check that they are equal.

A network over a sequence that was written as a loop comes as one long program, its loop unrolled.
`rolled` finds the step by the period of that program and compares every round with it, operation by
operation and weight by weight; so the network and its step, carried out over the sequence, are the
same computation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from dsl.networks import bindings, shapes
from dsl.primitives.tensor import TENSOR
from dsl.program import Assign, Call, Constant, Expr, Literal, Program, Variable
from dsl.types import Tensor

_VIEWS = ("reshape", "transpose", "slice")
START = -1
"""The round of what is computed before the first symbol."""


@dataclass(frozen=True, slots=True)
class Rolled:
    """`step` takes x (B, *item) and h (B, n) to a record (y, h); `start` is the first h (n,).

    The network's output is the output of every round, `lead` rows for the time before the first
    symbol left aside, or, where not `every_step`, that of the last round.
    """

    step: Program
    start: np.ndarray
    length: int
    every_step: bool
    lead: int


Fixed: TypeAlias = np.ndarray
"""A value that does not depend on the input."""


@dataclass(frozen=True, slots=True)
class View:
    """Entries of the input that belong to one round: their places in the item, in a shape."""

    round: int
    places: tuple[int, ...]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A binding that computes; `round` is the last symbol that it depends on."""

    name: str
    call: Call
    round: int


Part: TypeAlias = Fixed | View | Node


@dataclass
class Graph:
    """The parts of an unrolled network, by name."""

    network: Program
    parts: dict[str, Part] = field(default_factory=dict)
    codes: dict[str, np.ndarray] = field(default_factory=dict)
    kinds: dict[str, Tensor] = field(default_factory=dict)

    def part(self, expr: Expr) -> Part:
        match expr:
            case Variable(name):
                return self.parts[name]
            case Constant(name):
                return np.asarray(self.network.constant(name))
            case Literal(value):
                return np.asarray(value)
        raise ValueError(f"{expr} is no argument of a network's call")

    def width(self, node: Node) -> int:
        """How many numbers a value has for each row."""
        return int(np.prod(self.kinds[node.name].shape[1:]))

    def args(self, node: Node) -> Iterator[Part]:
        return (self.part(arg) for arg in node.call.args)


def rolled(network: Program, shape: tuple[int, ...]) -> Rolled | None:
    """The step of a network whose packed input has `shape` (without the batch axis, the sequence
    first); None where it is no unrolled loop."""
    if len(network.inputs) != 1 or len(shape) < 1 or shape[0] < 2:
        return None
    graph = _graph(network, shape)
    if graph is None or not isinstance(network.result, Variable):
        return None
    outputs, every_step = _outputs(graph, network.result, shape[0])
    lead = len(outputs) - shape[0] if every_step else 0
    rounds = outputs[lead:] if every_step else outputs
    if lead not in (0, 1) or (every_step and not _in_order(rounds)):
        return None
    if not every_step and _round(rounds[0]) != shape[0] - 1:
        return None
    answers = dict(enumerate(rounds)) if every_step else {shape[0] - 1: rounds[0]}
    return _checked(graph, answers, shape, every_step, lead)


def written_out(found: Rolled, length: int, shape: tuple[int, ...]) -> Program:
    """The network over sequences of a length whose items have `shape`: the step, unrolled."""
    body: list[Assign] = []
    constants = dict(found.step.constants)
    constants["first_state"] = found.start[None]
    state: Expr = Constant("first_state")
    stacked: list[Expr] = []
    answer: Expr = state
    for t in range(length):
        part = Call("slice", (Variable("x"),), (("axis", 1), ("start", t), ("stop", t + 1)))
        body.append(Assign((f"part_{t}",), (part,)))
        item = Call("reshape", (Variable(f"part_{t}"),), (("shape", (-1, *shape)),))
        body.append(Assign((f"x_{t}",), (item,)))
        renamed: dict[str, Expr] = {"x": Variable(f"x_{t}"), "h": state}
        for statement in found.step.body:
            assert isinstance(statement, Assign)
            (name,), (call,) = statement.names, statement.values
            assert isinstance(call, Call)
            args = tuple(
                renamed[arg.name] if isinstance(arg, Variable) else arg for arg in call.args
            )
            body.append(Assign((f"{name}_{t}",), (Call(call.primitive, args, call.options),)))
            renamed[name] = Variable(f"{name}_{t}")
        assert isinstance(found.step.result, Call)
        answer, state = (
            renamed[arg.name] if isinstance(arg, Variable) else arg
            for arg in found.step.result.args
        )
        stacked.append(answer)
    if not found.every_step:
        return Program("network", (("x", None),), tuple(body), answer, tuple(constants.items()))
    network = Program("network", (("x", None),), tuple(body), answer, tuple(constants.items()))
    kinds = shapes(network, (length, *shape))
    rows: list[Expr] = []
    for t, answer in enumerate(stacked):
        assert isinstance(answer, Variable)
        entries = kinds[answer.name].shape[1:]
        row = Call("reshape", (answer,), (("shape", (-1, 1, *entries)),))
        body.append(Assign((f"row_{t}",), (row,)))
        rows.append(Variable(f"row_{t}"))
    body.append(Assign(("rows",), (Call("concat", tuple(rows), (("axis", 1),)),)))
    result = Variable("rows")
    return Program("network", (("x", None),), tuple(body), result, tuple(constants.items()))


def _in_order(rounds: list[Part]) -> bool:
    return all(_round(part) == i for i, part in enumerate(rounds))


def _round(part: Part) -> int:
    return part.round if isinstance(part, (View, Node)) else START


def _graph(network: Program, shape: tuple[int, ...]) -> Graph | None:
    graph = Graph(network, kinds=shapes(network, shape))
    ((name, _),) = network.inputs
    codes = np.arange(2 * int(np.prod(shape))).reshape(2, *shape)
    graph.codes[name] = codes
    whole = int(np.prod(shape[1:]))
    for key, call in bindings(network):
        source = call.args[0] if call.args else None
        if call.primitive in _VIEWS and isinstance(source, Variable) and source.name in graph.codes:
            seen = np.asarray(
                TENSOR[call.primitive].numpy(graph.codes[source.name], **dict(call.options))
            )
            graph.codes[key] = seen
            view = _view(seen, int(np.prod(shape)), whole)
            if view is not None:
                graph.parts[key] = view
            continue
        if any(isinstance(a, Variable) and a.name not in graph.parts for a in call.args):
            return None  # an operation on several rounds at once
        parts = [graph.part(arg) for arg in call.args]
        if all(isinstance(part, np.ndarray) for part in parts):
            value = TENSOR[call.primitive].numpy(*parts, **dict(call.options))
            graph.parts[key] = np.asarray(value)
        else:
            graph.parts[key] = Node(key, call, max(_round(part) for part in parts))
    return graph


def _view(seen: np.ndarray, row: int, item: int) -> View | None:
    """The view that coded entries (2, ...) show; None where they belong to several rounds."""
    if seen.ndim < 1 or len(seen) != 2 or not np.array_equal(seen[1], seen[0] + row):
        return None
    rounds = np.unique(seen[0] // item)
    if len(rounds) != 1:
        return None
    places = tuple((seen[0] % item).ravel().tolist())
    return View(int(rounds[0]), places, tuple(seen.shape[1:]))


def _outputs(graph: Graph, result: Variable, length: int) -> tuple[list[Part], bool]:
    """The output of every round, without the axis of time; or that of the last, and False."""
    part = graph.parts[result.name] if result.name in graph.parts else np.zeros(0)
    match part:
        case Node(_, Call("concat", args) as call, _) if len(args) in (length, length + 1):
            if call.option("axis") != 1:
                return [part], False
            inner = [_unstacked(graph, graph.part(arg)) for arg in args]
            if any(piece is None for piece in inner):
                return [part], False
            return [piece for piece in inner if piece is not None], True
    return [part], False


def _unstacked(graph: Graph, part: Part) -> Part | None:
    """What was reshaped from (B, *y) to (B, 1, *y)."""
    match part:
        case Node(_, Call("reshape", (source,)) as call, _):
            shape = call.option("shape")
            return graph.part(source) if len(shape) >= 2 and shape[:2] == (-1, 1) else None
        case np.ndarray():
            return part
    return None


def _checked(
    graph: Graph, answers: dict[int, Part], shape: tuple[int, ...], every_step: bool, lead: int
) -> Rolled | None:
    """The step taken from the middle of the loop, if every round is the same as it."""
    for narrow in (True, False):
        found = _taken(graph, answers, shape, every_step, lead, narrow)
        if found is not None:
            return found
    return None


def _taken(
    graph: Graph,
    answers: dict[int, Part],
    shape: tuple[int, ...],
    every_step: bool,
    lead: int,
    narrow: bool,
) -> Rolled | None:
    length = shape[0]
    states = _states(graph, answers, length, narrow)
    for pivot in range(max(1, length // 2), 0, -1):
        slots, after = states[pivot], states[pivot + 1] if pivot + 1 < length else states[pivot]
        if pivot + 1 < length and len(slots) != len(after):
            continue
        ends = [] if every_step else states[length - 1]
        if not every_step and (len(ends) != len(slots) or pivot == length - 1):
            continue
        pattern = Pattern(graph, pivot, slots, after, answers.get(pivot), answers[length - 1], ends)
        start = pattern.compared(answers, length)
        if start is not None:
            step = _step_program(pattern, shape)
            if step is not None:
                return Rolled(step, start, length, every_step, lead)
    return None


def _states(graph: Graph, answers: dict[int, Part], length: int, narrow: bool) -> list[list[Part]]:
    """For each round the values of earlier rounds that it needs, in the order of first use."""
    states: list[list[Part]] = [[] for _ in range(length + 1)]
    for place in range(length - 1, -1, -1):
        roots = [answers[place]] if place in answers else []
        roots += states[place + 1]
        found: dict[str, Part] = {}
        seen: set[str] = set()
        for root in roots:
            _leaves(graph, root, place, narrow, found, seen)
        states[place] = list(found.values())
    return states


def _leaves(
    graph: Graph, root: Part, place: int, narrow: bool, found: dict[str, Part], seen: set[str]
) -> None:
    stack = [root]
    while stack:
        part = stack.pop()
        match part:
            case Node(name, _, round) if name not in seen:
                if round < place:
                    slot, passed = _narrowest(graph, part) if narrow else (part, set())
                    found.setdefault(slot.name, slot)
                    seen |= passed
                    continue
                seen.add(name)
                stack.extend(reversed(list(graph.args(part))))


_LINEAR = ("linear", "matmul", "slice", "reshape")


def _narrowest(graph: Graph, node: Node) -> tuple[Node, set[str]]:
    """The value of an earlier round to keep instead of one that is computed from it alone: of
    those behind products in a chain of linear operations, the last of the narrowest; and what
    lies before it."""
    chain = [node]
    places = [0]
    while chain[-1].call.primitive in _LINEAR:
        inner = [part for part in graph.args(chain[-1]) if not isinstance(part, np.ndarray)]
        if len(inner) != 1 or not isinstance(inner[0], Node):
            break
        if chain[-1].call.primitive in ("linear", "matmul"):
            places.append(len(chain))
        chain.append(inner[0])
    widths = {place: graph.width(chain[place]) for place in places}
    best = max(place for place, width in widths.items() if width == min(widths.values()))
    return chain[best], {part.name for part in chain[:best]}


@dataclass
class Pattern:
    """One round as the model of all: its output and next state over its state `slots`.  Where
    only the last round has an output, `ends` are the slots over which that is written."""

    graph: Graph
    pivot: int
    slots: list[Part]
    after: list[Part]
    answer: Part | None
    last: Part
    ends: list[Part] = field(default_factory=list)
    folded: list[tuple[Node, np.ndarray]] = field(default_factory=list)

    def slot(self, part: Part) -> int | None:
        for slots in (self.slots, self.ends):
            for i, slot in enumerate(slots):
                if isinstance(part, Node) and isinstance(slot, Node) and part.name == slot.name:
                    return i
        return None

    def compared(self, answers: dict[int, Part], length: int) -> np.ndarray | None:
        """The first state, if every round is the same as this one."""
        needed: dict[int, Part] = dict(enumerate(self.ends))
        model = self.answer
        for place in range(length - (2 if self.ends else 1), -1, -1):
            bound: dict[int, Part] = {}
            pairs = [(self.after[i], part) for i, part in needed.items()]
            if place in answers:
                if model is None:
                    return None
                pairs.append((model, answers[place]))
            if not all(self.same(a, b, place, bound) for a, b in pairs):
                return None
            needed = bound
        values: list[np.ndarray] = []
        for i in range(len(self.slots)):
            part = needed.get(i)
            if not isinstance(part, np.ndarray) or (part.ndim > 1 and len(part) != 1):
                return None
            values.append(part.reshape(-1))
        if not all(self.refolded(node, value, needed) for node, value in self.folded):
            return None
        return np.concatenate(values) if values else np.zeros(0, np.float32)

    def refolded(self, node: Node, value: np.ndarray, start: dict[int, Part]) -> bool:
        """Is the constant what the node gives for the first state?  A front end has computed it
        where the runtime computes it anew, with other rounding."""
        found = self.computed(node, start)
        return found is not None and np.allclose(found, value, rtol=1e-4, atol=1e-6)

    def computed(self, part: Part, start: dict[int, Part]) -> np.ndarray | None:
        slot = self.slot(part)
        if slot is not None:
            first = start.get(slot)
            return first if isinstance(first, np.ndarray) else None
        match part:
            case np.ndarray():
                return part
            case Node(_, call, _):
                args = [self.computed(arg, start) for arg in self.graph.args(part)]
                if any(arg is None for arg in args):
                    return None
                if call.primitive == "reshape":
                    return args[0]
                return np.asarray(TENSOR[call.primitive].numpy(*args, **dict(call.options)))
        return None

    def same(self, model: Part, other: Part, place: int, bound: dict[int, Part]) -> bool:
        """Does `other`, in round `place`, do what `model` does in the pivot's?"""
        stack = [(model, other)]
        seen: set[tuple[str, str]] = set()
        while stack:
            a, b = stack.pop()
            slot = self.slot(a)
            if slot is not None:
                if not self._bind(slot, b, place, bound):
                    return False
                continue
            match a, b:
                case (np.ndarray(), np.ndarray()):
                    if a.dtype != b.dtype or not np.array_equal(a, b):
                        return False
                case (Node(), np.ndarray()) if place == 0:
                    self.folded.append((a, b))
                case (View(), View()):
                    if b.round != place or (a.places, a.shape) != (b.places, b.shape):
                        return False
                case (Node(), Node()):
                    if (a.name, b.name) in seen:
                        continue
                    seen.add((a.name, b.name))
                    alike = a.call.primitive == b.call.primitive
                    if not alike or a.call.options != b.call.options:
                        return False
                    left, right = list(self.graph.args(a)), list(self.graph.args(b))
                    if len(left) != len(right):
                        return False
                    stack.extend(zip(left, right))
                case _:
                    return False
        return True

    def _bind(self, slot: int, part: Part, place: int, bound: dict[int, Part]) -> bool:
        if not isinstance(part, np.ndarray) and _round(part) >= place:
            return False
        if isinstance(part, View):
            return False
        known = bound.setdefault(slot, part)
        if isinstance(known, np.ndarray) and isinstance(part, np.ndarray):
            return np.array_equal(known, part)
        return known is part


def _step_program(pattern: Pattern, shape: tuple[int, ...]) -> Program | None:
    """The pattern as a program of x and h."""
    graph = pattern.graph
    body: list[Assign] = []
    constants: dict[str, Any] = {}
    names: dict[str, Expr] = {}
    widths = _widths(pattern, shape)
    if widths is None:
        return None
    start = 0
    for i, (slot, (width, entries)) in enumerate(zip(pattern.slots, widths)):
        assert isinstance(slot, Node)
        options = (("axis", 1), ("start", start), ("stop", start + width))
        body.append(Assign((f"h_{i}",), (Call("slice", (Variable("h"),), options),)))
        twins = {slot.name, *(end.name for end in pattern.ends[i : i + 1] if isinstance(end, Node))}
        names |= dict.fromkeys(twins, Variable(f"h_{i}"))
        if entries != (width,):
            call = Call("reshape", (Variable(f"h_{i}"),), (("shape", (-1, *entries)),))
            body.append(Assign((f"h_{i}_shaped",), (call,)))
            names |= dict.fromkeys(twins, Variable(f"h_{i}_shaped"))
        start += width

    def written(part: Part) -> Expr | None:
        match part:
            case np.ndarray():
                if part.ndim == 0 and part.dtype.kind in "fiu":
                    return Literal(part.item())
                name = f"c_{len(constants)}"
                name = next((k for k, v in constants.items() if _alike(v, part)), name)
                constants[name] = part
                return Constant(name)
            case View(_, places, entries):
                if places != tuple(range(int(np.prod(shape[1:])))):
                    return None
                if entries == shape[1:]:
                    return Variable("x")
                name = "x_" + "_".join(map(str, entries)) if entries else "x_item"
                if all(name not in s.names for s in body):
                    call = Call("reshape", (Variable("x"),), (("shape", (-1, *entries)),))
                    body.append(Assign((name,), (call,)))
                return Variable(name)
            case Node(name, _, _):
                return names.get(name)
        return None

    roots = [pattern.answer if pattern.answer is not None else pattern.last, *pattern.after]
    for node in _ordered(graph, roots, pattern):
        args = [written(arg) for arg in graph.args(node)]
        if any(arg is None for arg in args):
            return None
        call = Call(node.call.primitive, tuple(a for a in args if a), node.call.options)
        body.append(Assign((node.name,), (call,)))
        names[node.name] = Variable(node.name)
    after: list[Expr] = []
    for i, (part, (width, entries)) in enumerate(zip(pattern.after, widths)):
        expr = written(part)
        if expr is None:
            return None
        if entries != (width,):
            call = Call("reshape", (expr,), (("shape", (-1, width)),))
            body.append(Assign((f"flat_{i}",), (call,)))
            expr = Variable(f"flat_{i}")
        after.append(expr)
    answer = written(roots[0])
    if answer is None or not after:
        return None
    body.append(Assign(("after",), (Call("concat", tuple(after), (("axis", 1),)),)))
    result = Call("tuple", (answer, Variable("after")))
    return Program(
        "step", (("x", None), ("h", None)), tuple(body), result, tuple(constants.items())
    )


def _alike(a: np.ndarray, b: np.ndarray) -> bool:
    return a is b or (a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b))


def _ordered(graph: Graph, roots: list[Part], pattern: Pattern) -> list[Node]:
    """The nodes of the pivot's round that the roots need, in the order of the network."""
    found: set[str] = set()
    stack = list(roots)
    while stack:
        part = stack.pop()
        if isinstance(part, Node) and pattern.slot(part) is None and part.name not in found:
            found.add(part.name)
            stack.extend(graph.args(part))
    kept = [graph.parts[name] for name, _ in bindings(graph.network) if name in found]
    return [part for part in kept if isinstance(part, Node)]


def _widths(pattern: Pattern, shape: tuple[int, ...]) -> list[tuple[int, tuple[int, ...]]] | None:
    """How many entries each slot has, and their shape."""
    kinds = pattern.graph.kinds
    result = []
    for slot in pattern.slots:
        if not isinstance(slot, Node):
            return None
        entries = kinds[slot.name].shape[1:]
        result.append((int(np.prod(entries)), tuple(entries)))
    return result
