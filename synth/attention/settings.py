"""What the answers of a target are places of: positions, prefixes, strides or whole inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dsl import types as t
from dsl.program import Call, Comprehension, Expr, Literal, Variable
from synth.attention import features as f
from synth.attention.grid import Sample, View, answers, unrolled


@dataclass(frozen=True)
class Setting:
    """A view of the domain's sequence: the sample it is judged on, and how a program is made of an
    expression at its places."""

    sample: Sample
    kinds: dict[str, t.Type]
    view: View
    names: f.Names
    item: t.Type
    outer: tuple[str, Expr] | None = None

    def result(self, expr: Expr) -> Expr:
        if self.outer is not None:
            return Comprehension(expr, (self.outer[0],), self.outer[1])
        return expr if self.view.whole else f.over(expr, self.names, self.names.s)


def spelled(setting: Setting) -> str:
    if setting.outer is not None:
        return "prefixes" if isinstance(setting.outer[1], Comprehension) else "strides"
    return "whole" if setting.view.whole else "positions"


def settings(sample: Sample, kinds: dict[str, t.Type], name: str) -> Iterator[Setting]:
    kind = kinds[name]
    assert isinstance(kind, t.Seq)
    names = f.names(name, tuple(kinds))
    i, c = names.loops[0]
    s = Variable(name)
    if answers(sample, kinds, View()) is not None:
        yield Setting(sample, kinds, View(), names, kind.item)
        return
    pairs = {
        (column.shape[1], len(values))
        for group in sample.groups
        for column in (group.inputs[name],)
        for values in group.values
    }
    if all(m == n for n, m in pairs) and len(sample):
        view = View((i.name, c.name), Call("enumerate", (s,)))
        yield Setting(sample, kinds, view, names, kind.item)
        return
    counts = {m for _, m in pairs}
    prefixes = all(m == n + 1 for n, m in pairs)
    if not prefixes and len(counts) > 1:
        return
    width = None if prefixes else counts.pop()
    if width == 0:
        return
    unit = "p" if "p" not in kinds else "prefix"
    parts = unrolled(sample, name, unit, width)
    if parts is None:
        return
    k = names.loops[-1][0]
    stop = Call("add", (Call("len", (s,)), Literal(1))) if width is None else Literal(width)
    piece = f.part(s, None, k) if width is None else f.part(s, k, None, width)
    source = Comprehension(piece, (k.name,), Call("range", (stop,)))
    inner: dict[str, t.Type] = {unit: t.Seq(kind.item, 0, kind.high)}
    inner_names = f.names(unit, (*kinds, unit))
    yield Setting(parts, inner, View(), inner_names, kind.item, (unit, source))
