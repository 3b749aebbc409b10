"""Finite-state machines for networks that answer after every prefix.

The observed prefixes form a tree whose nodes carry answers; nodes are merged, the shortest prefix
first, wherever nothing observed tells them apart (RPNI: Oncina and García, 1992; red-blue order:
Lang, Pearlmutter and Price, 1998).  Learned from short prefixes alone, the machine is the clean
rule that a network which errs on long inputs has approximated.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from dsl import types as t
from dsl.claim import Hypothesis
from dsl.program import (
    Append,
    Assign,
    Call,
    Comprehension,
    Constant,
    Expr,
    Literal,
    Loop,
    Program,
    Variable,
)
from synth.attention.grid import sequence_name
from synth.expressions import disagreements
from synth.problem import Problem

_STATES = 40
_DEPTHS = (6, 10, 16, 1 << 30)
_NODES = 150_000
_TOLERATED = 0.7
_NEVER: Mapping[tuple[int, int], Any] = {}
_LATE = 8
"""At most so many answers may depend on the length of the prefix besides the state."""


@dataclass
class Tree:
    """Prefixes as nodes, the empty one first: answers, and the node after each item."""

    answers: list[Any] = field(default_factory=list)
    after: list[dict[Any, int]] = field(default_factory=list)

    def grow(self, answer: Any) -> int:
        self.answers.append(answer)
        self.after.append({})
        return len(self.answers) - 1


@dataclass(frozen=True)
class Machine:
    """State 0 is the start; `steps` goes from (state, item) to the next state."""

    answers: tuple[Any, ...]
    steps: dict[tuple[int, Any], int]


def propose(problem: Problem) -> Iterator[Hypothesis]:
    """Loops over one sequence with a state and a table, learned from ever longer prefixes."""
    name = sequence_name(problem.target.domain.types)
    if name is None or len(problem.target.domain.names) != 1:
        return
    known: set[int] = set()
    fewest = int(_TOLERATED * sum(len(o) for o in problem.observations)) + 1
    for depth in _DEPTHS:
        tree = prefix_tree(problem, name, depth)
        if tree is None:
            return
        machine = merged(tree)
        if machine is None or problem.time_left <= 0:
            return
        if len(machine.answers) in known and depth < _DEPTHS[-1]:
            continue
        known.add(len(machine.answers))
        finer = by_last_item(machine)
        for whole, late in (
            (machine, _NEVER),
            (machine, late_answers(problem, name, machine)),
            (finer, late_answers(problem, name, finer)),
        ):
            if whole is finer and not late:
                continue
            program = to_program(whole, problem.target.domain.fields[0], late)
            wrong = len(disagreements(problem, program, fewest))
            if wrong < fewest:
                fewest = wrong
                evidence = {"attention": {"found as": "machine", "states": len(whole.answers)}}
                yield Hypothesis(program, "machines", len(tree.answers), evidence)
            if wrong == 0:
                return


def prefix_tree(problem: Problem, name: str, depth: int) -> Tree | None:
    """The observed prefixes up to a depth; None unless there is one answer for every prefix."""
    tree = Tree()
    for o in problem.observations:
        rows = o.inputs[name]
        if o.values.ndim != 2 or o.values.shape[1] != rows.shape[1] + 1:
            return None
        for row, answers in zip(rows.tolist(), o.values.tolist(), strict=True):
            node = 0 if tree.answers else tree.grow(answers[0])
            for item, answer in zip(row[:depth], answers[1:], strict=False):
                if item not in tree.after[node]:
                    tree.after[node][item] = tree.grow(answer)
                node = tree.after[node][item]
            if len(tree.answers) > _NODES:
                return tree
    return tree if tree.answers else None


def merged(tree: Tree) -> Machine | None:
    """The machine that is left when all nodes that may be one are; None if it has many states."""
    after = [dict(children) for children in tree.after]
    states = [0]
    fringe = deque((0, item) for item in sorted(after[0], key=repr))
    while fringe:
        state, item = fringe.popleft()
        node = after[state][item]
        if node in states:
            continue
        for other in states:
            attached = _folded(tree, after, other, node)
            if attached is not None:
                after[state][item] = other
                for (place, step), child in attached.items():
                    after[place][step] = child
                    if place in states:
                        fringe.append((place, step))
                break
        else:
            if len(states) == _STATES:
                return None
            states.append(node)
            fringe.extend((node, step) for step in sorted(after[node], key=repr))
    number = {node: k for k, node in enumerate(states)}
    steps = {
        (number[node], item): number[after[node][item]]
        for node in states
        for item in sorted(after[node], key=repr)
    }
    return Machine(tuple(tree.answers[node] for node in states), steps)


def by_last_item(machine: Machine) -> Machine:
    """The same machine with a state for each of its states and the item read last."""
    known: dict[tuple[Any, int], int] = {(None, 0): 0}
    waiting: deque[tuple[Any, int]] = deque([(None, 0)])
    steps: dict[tuple[int, Any], int] = {}
    items = sorted({item for _, item in machine.steps}, key=repr)
    while waiting:
        place = waiting.popleft()
        for item in items:
            after = machine.steps.get((place[1], item))
            if after is None:
                continue
            if (item, after) not in known:
                known[item, after] = len(known)
                waiting.append((item, after))
            steps[known[place], item] = known[item, after]
    return Machine(tuple(machine.answers[state] for _, state in known), steps)


def late_answers(problem: Problem, name: str, machine: Machine) -> dict[tuple[int, int], Any]:
    """Answers that belong to a state after prefixes of a certain length alone: {(length, state):
    answer}, where most of what was observed there differs from the machine; none if they are many.
    A network trained up to some length may leave its rule at the last."""
    votes: dict[tuple[int, int], Counter[Any]] = {}
    for o in problem.observations:
        for row, answers in zip(o.inputs[name].tolist(), o.values.tolist(), strict=True):
            state: int | None = 0
            for length, answer in enumerate(answers):
                if length:
                    assert state is not None
                    state = machine.steps.get((state, row[length - 1]))
                if state is None:
                    break
                votes.setdefault((length, state), Counter())[answer] += 1
    found = {}
    for (length, state), counts in sorted(votes.items()):
        answer = max(counts, key=lambda text: (counts[text], text == machine.answers[state]))
        if answer != machine.answers[state]:
            found[length, state] = answer
    return found if len(found) <= _LATE else {}


def _folded(
    tree: Tree, after: list[dict[Any, int]], into: int, node: int
) -> dict[tuple[int, Any], int] | None:
    """What has to be attached to fold a node's subtree into another; None where answers differ."""
    attached: dict[tuple[int, Any], int] = {}
    stack = [(into, node)]
    while stack:
        kept, gone = stack.pop()
        if tree.answers[kept] != tree.answers[gone]:
            return None
        for item, child in after[gone].items():
            there = after[kept].get(item, attached.get((kept, item)))
            if there is None:
                attached[kept, item] = child
            elif there != child:
                stack.append((there, child))
    return attached


def to_program(
    machine: Machine, field_: tuple[str, t.Type], late: Mapping[tuple[int, int], Any] = _NEVER
) -> Program:
    """`for c in s: state = STEPS[state, c]`, with the answer to each state in a table, but for
    those that are `late`.  A machine that never looks at the items counts them: `len` modulo its
    period."""
    name, _ = field_
    s = Variable(name)
    c = Variable("c" if name != "c" else "item")
    items = {item for _, item in machine.steps}
    last = len(machine.answers) - 1
    if last == 0 and not late:
        count = Call("add", (Call("len", (s,)), Literal(1)))
        alone = Call("mul", (Call("list", (Literal(machine.answers[0]),)), count))
        return Program("program", ((name, None),), (), alone)
    constants: tuple[tuple[str, Any], ...] = (("ANSWERS", machine.answers),)
    state, states, k = Variable("state"), Variable("states"), Variable("k")
    chain = [machine.steps.get((k, item)) for item in items for k in range(last + 1)]
    if len(items) == 1 and chain == [*range(1, last + 1), 0]:
        step: Expr = Call("mod", (Call("add", (state, Literal(1))), Literal(last + 1)))
    else:
        step = Call("index", (Constant("STEPS"), Call("tuple", (state, c))))
        constants = (("STEPS", dict(machine.steps)), *constants)
    loop = Loop(
        (c.name,),
        s,
        (("state", Literal(0)),),
        (Assign(("state",), (step,)), Append("states", state)),
        ("states",),
    )
    visited = Call("add", (Call("list", (Literal(0),)), states))
    answer = Call("index", (Constant("ANSWERS"), k))
    result = Comprehension(answer, (k.name,), visited)
    if late:
        n = Variable("n" if name != "n" else "length")
        answer = Call("get", (Constant("LATE"), Call("tuple", (n, k)), answer))
        pairs = Call("enumerate", (visited,))
        result = Comprehension(answer, (n.name, k.name), pairs)
        constants = (*constants, ("LATE", dict(late)))
    return Program("program", ((name, None),), (loop,), result, constants)
