"""Graphs of frameworks as plain data, and their translation by a table of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from distill.frontends.building import Builder, Unsupported, Value
from dsl.errors import DistillError
from dsl.passes import without_dead_code
from dsl.program import Call, Program


@dataclass(frozen=True, slots=True)
class Ref:
    """The value of another node (`index` is which of its several)."""

    name: str


@dataclass(frozen=True, slots=True)
class Node:
    """One operation of a framework's graph; arguments hold Refs, numbers, text, tuples."""

    name: str
    target: str
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


Rule: TypeAlias = Callable[..., Any]
"""A builder and the arguments of a node in; a Value, a number, or a tuple of them out."""


class Missing:
    """What a node gives whose operation has no translation."""


def translated(
    builder: Builder,
    nodes: Sequence[Node],
    rules: Mapping[str, Rule],
    values: dict[str, Any],
    model: str,
) -> dict[str, Any]:
    """The values of all nodes.  Raises D020 with every operation that has no translation."""
    missing: dict[str, list[str]] = {}
    for node in nodes:
        arguments = resolved(node.args, values), resolved(dict(node.kwargs), values)
        if _contains(arguments, Missing):
            values[node.name] = Missing()
            continue
        rule = rules.get(node.target)
        if rule is None and "." in node.target:
            rule = rules.get(node.target.rpartition(".")[0])
        builder.hint = node.name.partition(":")[0]
        try:
            if rule is None:
                raise Unsupported("")
            values[node.name] = rule(builder, *arguments[0], **arguments[1])
        except Unsupported as reason:
            label = f"{node.target} ({reason})" if str(reason) else node.target
            missing.setdefault(label, []).append(node.source)
            values[node.name] = Missing()
    if missing:
        raise unsupported(model, missing)
    return values


def unsupported(model: str, missing: Mapping[str, Sequence[str]]) -> DistillError:
    """D020: every operation that has no translation, with counts and source lines."""
    lines = []
    for name, places in missing.items():
        known = sorted({place for place in places if place})
        where = f" ({', '.join(known[:4])}{', ...' * (len(known) > 4)})" if known else ""
        lines.append(f"{name} x{len(places)}{where}")
    count = len(missing)
    return DistillError(
        "D020",
        f"{count} operation{'s' * (count != 1)} of {model} {'are' if count != 1 else 'is'}"
        " not supported",
        notes=(", ".join(lines),),
        remedy="the search goes on from inputs and outputs alone",
        exit_code=4,
    )


def resolved(argument: Any, values: Mapping[str, Any]) -> Any:
    """An argument with its references replaced by values."""
    match argument:
        case Ref(name):
            return values[name]
        case tuple() | list():
            return tuple(resolved(item, values) for item in argument)
        case dict():
            return {key: resolved(item, values) for key, item in argument.items()}
        case _:
            return argument


def _contains(argument: Any, kind: type) -> bool:
    match argument:
        case tuple():
            return any(_contains(item, kind) for item in argument)
        case dict():
            return any(_contains(item, kind) for item in argument.values())
        case _:
            return isinstance(argument, kind)


def first_tensor(value: Any) -> Value:
    """A result that is one value: the first of several."""
    while isinstance(value, (tuple, list)):
        value = value[0]
    if not isinstance(value, Value):
        raise Unsupported("the output is no array")
    return value


def program_of(builder: Builder, result: Any, model: str) -> Program:
    """The finished program, of what the result needs.  Raises D020 where the output does not
    keep the batch."""
    return without_dead_code(_finished(builder, result, model), {})


def _finished(builder: Builder, result: Any, model: str) -> Program:
    try:
        return builder.finished(first_tensor(result))
    except Unsupported as reason:
        raise unsupported(model, {str(reason): [""]}) from None


def record_of(builder: Builder, results: Any, model: str) -> Program:
    """The finished program with all its results as one record."""
    parts = [_finished(builder, result, model) for result in results]
    items = tuple(part.result for part in parts)
    return without_dead_code(replace(parts[-1], result=Call("tuple", items)), {})
