"""The graph of a network, its understood parts coloured, each linked to a name in the program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from html import escape

import numpy as np

from distill.report import drawing as d
from distill.report.features import FOUND, Reading
from dsl.program import Assign, Call, Constant, Program, Variable, walk

_SHAPE_ONLY = frozenset(
    ("reshape", "transpose", "expand", "cast", "slice", "gather_axis", "squeeze", "permute")
)
_FOLDED = frozenset(
    (
        "relu",
        "leaky_relu",
        "tanh",
        "sigmoid",
        "gelu",
        "silu",
        "softplus",
        "erf",
        "clip",
        "neg",
        "add",
        "sub",
        "mul",
        "div",
    )
)
_MOST = 70
_BOX, _TALL, _GAP, _LEVEL = 138.0, 46.0, 14.0, 74.0


@dataclass
class Node:
    """One box: the bindings that it stands for, in order, and its predecessors."""

    name: str
    operations: list[str]
    bindings: list[str]
    before: set[str] = field(default_factory=set)
    parameters: int = 0
    shape: tuple[int, ...] = ()


def nodes_of(network: Program, values: Mapping[str, np.ndarray]) -> dict[str, Node]:
    """The boxes of a network by name, inputs first; folded until they are few."""
    nodes: dict[str, Node] = {name: Node(name, ["input"], [name]) for name in network.parameters}
    home = {name: name for name in nodes}
    sizes = {name: int(np.size(value)) for name, value in network.constants}
    uses = _uses(network)
    for statement in network.body:
        assert isinstance(statement, Assign)
        for name, value in zip(statement.names, statement.values, strict=True):
            if not isinstance(value, Call):
                continue
            parts = list(walk(value))
            sources = [x.name for x in parts if isinstance(x, Variable) and x.name in home]
            homes = list(dict.fromkeys(home[source] for source in sources))
            count = sum(sizes.get(x.name, 0) for x in parts if isinstance(x, Constant))
            if not homes:
                continue
            light = value.primitive in _SHAPE_ONLY
            alone = all(uses[source] == 1 for source in sources)
            if len(homes) == 1 and (light or (alone and value.primitive in _FOLDED)):
                node = nodes[homes[0]]
                if not light:
                    node.operations.append(value.primitive)
            else:
                node = nodes[name] = Node(name, [value.primitive], [])
                node.before = set(homes)
            node.bindings.append(name)
            node.parameters += count
            home[name] = node.name
    nodes = _grouped(nodes, network) if len(nodes) > _MOST else nodes
    for node in nodes.values():
        shown = [b for b in node.bindings if b in values]
        if shown:
            node.shape = tuple(np.shape(values[shown[-1]])[1:])
    return nodes


def _uses(network: Program) -> dict[str, int]:
    uses: dict[str, int] = dict.fromkeys(network.parameters, 0)
    for statement in network.body:
        assert isinstance(statement, Assign)
        uses.update(dict.fromkeys(statement.names, 0))
        for value in statement.values:
            for part in walk(value):
                if isinstance(part, Variable):
                    uses[part.name] = uses.get(part.name, 0) + 1
    return uses


def _grouped(nodes: dict[str, Node], network: Program) -> dict[str, Node]:
    """Runs of neighbouring boxes merged, so that about `_MOST` remain; order is kept, so that no
    box comes before what it depends on."""
    inputs = [node for node in nodes.values() if node.operations == ["input"]]
    others = [node for node in nodes.values() if node.operations != ["input"]]
    size = -(-len(others) // (_MOST // 2))
    groups = [others[i : i + size] for i in range(0, len(others), size)]
    home = {node.name: node.name for node in inputs}
    merged: dict[str, Node] = {node.name: node for node in inputs}
    for group in groups:
        name = group[-1].name
        home.update({node.name: name for node in group})
        counts: dict[str, int] = {}
        for node in group:
            for operation in node.operations:
                counts[operation] = counts.get(operation, 0) + 1
        heavy = sorted(
            counts, key=lambda o: (o not in ("linear", "matmul", "attention"), -counts[o])
        )
        words = [f"{o} x{counts[o]}" if counts[o] > 1 else o for o in heavy[:2]]
        merged[name] = Node(name, words, [b for node in group for b in node.bindings])
        merged[name].parameters = sum(node.parameters for node in group)
        merged[name].before = {home[b] for node in group for b in node.before} - {name}
    return merged


def drawn(
    nodes: Mapping[str, Node], readings: tuple[Reading, ...], parameters: int
) -> tuple[d.Picture, dict[str, str]]:
    """The graph, and for each name of the program the id of the box where it was found."""
    owner = {binding: node.name for node in nodes.values() for binding in node.bindings}
    found: dict[str, list[Reading]] = {}
    links: dict[str, str] = {}
    for reading in readings:
        if reading.place in owner:
            name = owner[str(reading.place)]
            found.setdefault(name, []).append(reading)
            if reading.feature.name is not None:
                links[reading.feature.name] = _id(name)
    half: dict[str, float] = {}
    for reading in readings:
        for place, score in reading.scores.items():
            if place in owner:
                half[owner[place]] = max(half.get(owner[place], 0.0), score)
    places, width, height = layout(nodes)
    parts = [_edges(nodes, places)]
    for node in nodes.values():
        parts.append(_box(node, places[node.name], found.get(node.name, []), half))
    known = sum(1 for node in nodes if half.get(node, 0) >= FOUND)
    alternative = (
        f"The network as a graph of {len(nodes)} boxes with {parameters} weights, from the input "
        f"at the top to the output at the bottom. In {known} boxes a part of the program can be "
        "read off."
    )
    key, extra = d.legend(
        (
            ("var(--known)", f"a part of the program can be read off (R² ≥ {FOUND})"),
            ("var(--half)", "partly"),
        ),
        8,
        height + 6,
        max(width, 360),
    )
    svg = d.drawing(max(width, 420), height + 10 + extra, [*parts, key], alternative)
    caption = (
        "Each box is an operation (with what follows it element by element), the shape of its "
        "result and its number of weights. Where a part of the program is found first, its text "
        "stands below the operation and leads to the program."
    )
    return d.Picture("The network", svg, caption, alternative), links


def layout(
    nodes: Mapping[str, Node],
) -> tuple[dict[str, tuple[float, float]], float, float]:
    """The upper left corner of each box; levels by longest path, ordered by predecessors."""
    level: dict[str, int] = {}
    for node in nodes.values():
        level[node.name] = 1 + max((level[b] for b in node.before if b in level), default=-1)
    rows: dict[int, list[str]] = {}
    for name, depth in level.items():
        rows.setdefault(depth, []).append(name)
    widest = max(len(row) for row in rows.values())
    width = widest * (_BOX + _GAP) + _GAP
    places: dict[str, tuple[float, float]] = {}
    for depth in sorted(rows):
        row = rows[depth]

        def centre(name: str) -> float:
            spots = [places[b][0] for b in nodes[name].before if b in places]
            return sum(spots) / len(spots) if spots else 0.0

        row.sort(key=centre)
        start = (width - len(row) * (_BOX + _GAP) + _GAP) / 2
        for i, name in enumerate(row):
            places[name] = (start + i * (_BOX + _GAP), 10 + depth * _LEVEL)
    return places, width, 10 + len(rows) * _LEVEL


def _edges(nodes: Mapping[str, Node], places: Mapping[str, tuple[float, float]]) -> str:
    parts = []
    for node in nodes.values():
        x2, y2 = places[node.name]
        for before in sorted(node.before):
            if before not in places:
                continue
            x1, y1 = places[before]
            start, end = (x1 + _BOX / 2, y1 + _TALL), (x2 + _BOX / 2, y2)
            skips = y2 - y1 > 1.5 * _LEVEL
            side = (_BOX / 2 + _GAP / 2) * (1 if x2 >= x1 else -1) if skips else 0.0
            bend = (end[1] - start[1]) / 2
            steps = (
                f"M{d.number(start[0])} {d.number(start[1])}"
                f"C{d.number(start[0] + side)} {d.number(start[1] + bend)} "
                f"{d.number(end[0] + side)} {d.number(end[1] - bend)} "
                f"{d.number(end[0])} {d.number(end[1] - 4)}"
            )
            parts.append(d.tag("path", d=steps, class_="flow"))
            corners = ((end[0] - 3, end[1] - 6), (end[0] + 3, end[1] - 6), end)
            tip = " ".join(f"{d.number(x)},{d.number(y)}" for x, y in corners)
            parts.append(d.tag("polygon", points=tip, class_="arrow"))
    return "".join(parts)


def _box(
    node: Node, place: tuple[float, float], found: list[Reading], half: Mapping[str, float]
) -> str:
    x, y = place
    score = half.get(node.name, 0.0)
    css = "box known" if score >= FOUND else "box half" if score >= 0.5 else "box"
    words = " · ".join(dict.fromkeys(node.operations))
    shape = "x".join(str(axis) for axis in node.shape)
    detail = shape + (f"  {node.parameters} weights" if node.parameters else "")
    lines = [d.text(x + _BOX / 2, y + 14, d.clipped(words, 19), "title middle")]
    lines.append(d.text(x + _BOX / 2, y + 27, d.clipped(detail, 21), "note middle"))
    title = f"{node.name}: {words}; {detail}"
    for reading in found:
        title += f"; {reading.feature.text} (R² {reading.best:.2f})"
    inner = f"<title>{escape(title)}</title>" + d.rectangle(x, y, _BOX, _TALL, rx=5, class_=css)
    if found:
        shown = ", ".join(reading.feature.text for reading in found)
        label = d.text(x + _BOX / 2, y + 40, d.clipped(shown, 20), "label middle")
        first = next((r.feature.name for r in found if r.feature.name), None)
        target = f"name-{first}" if first else "program"
        lines.append(d.tag("a", label, href=f"#{target}", class_="place"))
    return d.tag("g", inner + "".join(lines), id=_id(node.name))


def _id(name: str) -> str:
    return "place-" + "".join(c if c.isalnum() else "-" for c in name)


def reading_rows(
    nodes: Mapping[str, Node], readings: tuple[Reading, ...]
) -> list[tuple[str, str, str, float]]:
    """For each feature: text, the id and words of its first place ("" where not found), R²."""
    owner = {binding: node for node in nodes.values() for binding in node.bindings}
    rows = []
    for reading in readings:
        node = owner.get(str(reading.place))
        if node is None:
            rows.append((reading.feature.text, "", "not found linearly", reading.best))
        else:
            words = f"{' · '.join(dict.fromkeys(node.operations))} ({node.name})"
            score = reading.scores[str(reading.place)]
            rows.append((reading.feature.text, _id(node.name), words, score))
    return rows


def weights(network: Program) -> int:
    return sum(int(np.size(value)) for _, value in network.constants)
