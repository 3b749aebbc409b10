"""The report: one HTML file without scripts, fonts, or anything to fetch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from distill import emit
from distill.report import attention, features, grids, hidden, look, network, source, spectra
from distill.report import drawing as d
from distill.report.account import Account, Candidate, sample
from distill.report.style import CSS
from dsl.agreement import equal_rows
from dsl.claim import Proved, Refuted, Tested, Unknown, Verdict
from dsl.domain import single
from dsl.errors import DistillError
from dsl.evaluate import run_defined
from dsl.limits import Limit
from dsl.printer import count_lines
from dsl.program import size

LARGEST = 500_000
_MOST_TEXT = 20_000
_EXAMPLES = 6
_LATE = (
    '<p class="soft">The time was up before all was drawn: <code>distill report</code> with the '
    "folder draws the rest.</p>"
)
_FAILURES = (RuntimeError, ValueError, TypeError, KeyError, IndexError, DistillError)
"""What the runtime of a network may raise on an input of a picture; that picture is left out."""


@dataclass(frozen=True)
class Drawn:
    """What a report shows besides the program: `examples` as rows of a table, the network's
    `graph` with `links` from names to boxes and where each part was found (`rows`), `pictures`;
    `late` where the time did not suffice for all of it."""

    examples: str = ""
    graph: d.Picture | None = None
    links: Mapping[str, str] = field(default_factory=dict)
    rows: Sequence[tuple[str, str, str, float]] = ()
    pictures: tuple[d.Picture, ...] = ()
    late: bool = False


def write(account: Account, path: Path, *, until: float = math.inf) -> Path:
    """Writes the report, whole or not at all."""
    from distill.certificate import write_text

    write_text(path, page(account, until=until))
    return path


def page(account: Account, *, until: float = math.inf) -> str:
    """The text of the report; pictures that would make it too large are left out, and so is what
    is not drawn by `until`, a value of time.monotonic()."""
    drawn = _drawn(account, until)
    body = _page(account, drawn)
    while len(body.encode()) > LARGEST and drawn.pictures:
        largest = max(drawn.pictures, key=lambda picture: len(picture.svg))
        rest = tuple(picture for picture in drawn.pictures if picture is not largest)
        drawn = replace(drawn, pictures=rest)
        body = _page(account, drawn)
    return body


def _drawn(account: Account, until: float) -> Drawn:
    """What there is time for, what says most first."""
    drawn, pictures = Drawn(), list[d.Picture]()
    with Limit(until) as first:
        drawn = replace(drawn, examples=_examples(account))
    with Limit(until) as second:
        pictures.extend(_pictures(account))
    with Limit(until) as third:
        graph, links, rows = _network(account)
        drawn = replace(drawn, graph=graph, links=links, rows=rows)
    late = first.passed or second.passed or third.passed
    return replace(drawn, pictures=tuple(pictures), late=late)


def _pictures(account: Account) -> Iterator[d.Picture]:
    makers: tuple[Callable[[Account], Iterator[d.Picture]], ...] = (
        grids.pictures,
        hidden.pictures,
        attention.pictures,
        spectra.pictures,
    )
    for maker in makers:
        try:
            yield from maker(account)
        except _FAILURES:
            continue


def _network(
    account: Account,
) -> tuple[d.Picture | None, dict[str, str], list[tuple[str, str, str, float]]]:
    """The graph, links from names to boxes, and where each part was found."""
    try:
        seen = look.look_of(account)
    except _FAILURES:
        return None, {}, []
    if seen is None:
        return None, {}, []
    order = {name: i for i, name in enumerate(seen.values)}
    kept = {
        name: value
        for name, value in seen.values.items()
        if value.ndim >= 2 and value.dtype.kind == "f" and len(value) == seen.rows
    }
    found = features.readings(seen.features, features.bases(kept), order=order)
    nodes = network.nodes_of(seen.network, seen.values)
    picture, links = network.drawn(nodes, found, network.weights(seen.network))
    if seen.step:
        picture = replace(picture, caption="One step of the network. " + picture.caption)
    return picture, links, network.reading_rows(nodes, found)


def _page(account: Account, drawn: Drawn) -> str:
    pictures = _row(drawn.pictures) + _evidence(account) + (_LATE if drawn.late else "")
    sections = [
        ("program", "Program", _program(account, drawn.links)),
        ("front", "Size against disagreement", _front(account)),
        ("network", "Network", _graph(drawn.graph, drawn.rows)),
        ("pictures", "What led to it", pictures),
        ("examples", "Examples", drawn.examples),
        ("check", "Check it yourself", _check(account)),
    ]
    kept = [(key, title, body) for key, title, body in sections if body]
    contents = "".join(f'<li><a href="#{key}">{title}</a></li>' for key, title, _ in kept)
    parts = "".join(
        f'<section aria-labelledby="{key}"><h2 id="{key}">{title}</h2>{body}</section>\n'
        for key, title, body in kept
    )
    name = escape(account.name)
    word, _, sentence = emit.sentence(account.verdict).partition("  ")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" \
content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{name}: {word}</title>
<style>
{CSS}
</style>
</head>
<body>
<a class="skip" href="#program">To the program</a>
<header>
<p class="soft">Distilled network</p>
<h1>{name}</h1>
<p class="verdict {word}"><strong>{word}</strong> {escape(_upper(sentence))}.</p>
{_facts(account)}
<nav aria-label="Contents"><ul>{contents}</ul></nav>
</header>
<main>
{parts}</main>
<footer><p>Written by distill. This file loads nothing and runs no scripts.</p></footer>
</body>
</html>
"""


def _upper(sentence: str) -> str:
    return sentence if sentence.startswith("program(") else sentence[:1].upper() + sentence[1:]


def _facts(account: Account) -> str:
    claim = account.target.claim.decode
    facts = [("Domain", f"<code>{escape(str(account.target.domain))}</code>")]
    tolerance = f" within {claim.tolerance:g}" if claim.tolerance else ""
    facts.append(("Output", escape(f"{claim.rule}{tolerance} of the network's outputs")))
    facts += [(key, escape(text)) for key, text in verdict_facts(account.verdict)]
    if account.proposer:
        tried = f", {emit.grouped(account.tried)} candidates looked at" if account.tried else ""
        facts.append(("Found by", escape(account.proposer + tried)))
    cells = "".join(f'<tr><th scope="row">{key}</th><td>{text}</td></tr>' for key, text in facts)
    return f'<div class="scroll"><table>{cells}</table></div>'


def verdict_facts(verdict: Verdict) -> list[tuple[str, str]]:
    """What the verdict rests on, as pairs of words."""
    match verdict:
        case Proved(method, domain, arithmetic, evidence):
            facts = [("Method", method), ("Proved on", domain), ("Arithmetic", arithmetic)]
            margin = evidence.get("smallest_margin")
            closest = evidence.get("closest_input")
            if isinstance(margin, (int, float)) and math.isfinite(margin):
                at = f" at {_inputs(closest)}" if isinstance(closest, Mapping) and closest else ""
                noise = evidence.get("float_noise")
                words = f" (float noise about {d.short(float(noise))})" if noise else ""
                facts.append(("Smallest margin", f"{d.short(float(margin))}{at}{words}"))
            if evidence.get("near_ties"):
                facts.append(("Near-ties", f"{evidence['near_ties']} decided within float noise"))
            return facts
        case Refuted(method, example, _, _, _):
            return [("Method", method), ("Counterexample", emit.call_text(example.inputs))]
        case Tested(_, _, evidence):
            reason = evidence.get("undecided")
            return [("Not proved", str(reason))] if reason else []
        case Unknown():
            return []


def _inputs(inputs: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in inputs.items())


def _program(account: Account, links: Mapping[str, str]) -> str:
    text = account.source
    note = (
        f'<p class="soft">{_counted(size(account.program), "node")}, '
        f"{_counted(count_lines(account.program), 'line')}. "
        + ("Underlined names lead to their place in the network. " if links else "")
        + "It is parsed and compared, never trusted: the text below is what was checked.</p>"
    )
    if len(text) > _MOST_TEXT:
        cut = text[:_MOST_TEXT].rsplit("\n", 1)[0]
        note += (
            f'<p class="soft">The first {cut.count(chr(10)) + 1} of {text.count(chr(10))} lines; '
            "the rest is in program.py.</p>"
        )
        return note + f"<pre><code>{escape(cut)}</code></pre>"
    return note + source.highlighted(text, links)


def _counted(number: int, noun: str) -> str:
    return f"{emit.grouped(number)} {noun}{'s' * (number != 1)}"


def _front(account: Account) -> str:
    if not account.front:
        return ""
    rows = []
    for candidate in account.front:
        body = _last_line(candidate.text)
        css = ' class="best"' if candidate.best else ""
        agrees = f"{100 * (1 - candidate.disagreement):.2f} %"
        rows.append(
            f'<tr{css}><td class="right">{candidate.size}</td><td class="right">{agrees}</td>'
            f"<td><code>{escape(body)}</code></td><td>{escape(candidate.proposer)}</td></tr>"
        )
    table = (
        '<div class="scroll"><table><thead><tr><th scope="col" class="right">size</th>'
        '<th scope="col" class="right">agrees</th><th scope="col">program</th>'
        f'<th scope="col">found by</th></tr></thead><tbody>{"".join(rows)}</tbody></table></div>'
    )
    picture = _bare(front_picture(account.front)) if len(account.front) > 1 else ""
    return picture + table


def _last_line(text: str) -> str:
    """The body of a program of one line; else how many lines it has."""
    lines = text.splitlines()
    start = next((i for i, line in enumerate(lines) if line.startswith("def ")), 0)
    body = [line.strip() for line in lines[start + 1 :] if line.strip()]
    return (
        d.clipped(body[0], 110)
        if len(body) == 1
        else f"{len(body)} lines: {d.clipped(body[-1], 80)}"
    )


def front_picture(front: Sequence[Candidate]) -> d.Picture:
    """Programs by size (across, logarithmic) and share of disagreements (up)."""
    width, height, left, base, top = 560.0, 226.0, 58.0, 182.0, 28.0
    sizes = [math.log10(candidate.size) for candidate in front]
    low, high = min(sizes) - 0.08, max(sizes) + 0.12
    most = max(max(candidate.disagreement for candidate in front), 1e-12)

    def spot(candidate: Candidate) -> tuple[float, float]:
        x = left + (width - left - 20) * (math.log10(candidate.size) - low) / (high - low)
        return x, base - (base - top) * candidate.disagreement / most

    parts = [d.line(left, base, width - 10, base), d.line(left, base, left, top)]
    for tick in d.ticks(0, most, 4):
        y = base - (base - top) * tick / most
        parts.append(d.line(left, y, width - 10, y, "grid"))
        parts.append(d.text(left - 6, y + 3, f"{100 * tick:.3g} %", "tick end"))
    steps = [spot(front[0])]
    for candidate in front[1:]:
        x, y = spot(candidate)
        steps += [(x, steps[-1][1]), (x, y)]
    parts.append(d.path(steps))
    labelled = -math.inf
    for candidate in front:
        x, y = spot(candidate)
        css = "dot strong" if candidate.best else "dot"
        words = f"{candidate.size} nodes, {100 * candidate.disagreement:.3g} % wrong"
        parts.append(d.circle(x, y, 6 if candidate.best else 4.5, class_=css, title=words))
        if x - labelled > 24:
            parts.append(d.text(x, base + 14, candidate.size, "tick middle"))
            labelled = x
    parts.append(d.text(left, base + 32, "size in nodes (logarithmic)", "axis-name"))
    parts.append(d.text(4, 10, "disagreement with the network", "axis-name"))
    best = next((candidate for candidate in front if candidate.best), front[-1])
    alternative = (
        f"{len(front)} programs, from {front[0].size} nodes with "
        f"{100 * front[0].disagreement:.3g} % disagreement to {front[-1].size} nodes with "
        f"{100 * front[-1].disagreement:.3g} %; the chosen one has {best.size} nodes."
    )
    return d.Picture(
        "Front",
        d.drawing(width, height, parts, alternative),
        "No program that was found is both smaller and closer to the network than one of these. "
        "The chosen one is orange.",
        alternative,
    )


def _graph(graph: d.Picture | None, rows: Sequence[tuple[str, str, str, float]]) -> str:
    if graph is None:
        return (
            '<p class="soft">The network was not translated into the language of the compiler; it '
            "was asked as it is.</p>"
        )
    cells = "".join(
        f"<tr><td><code>{escape(text)}</code></td><td>"
        + (f'<a href="#{place}">{escape(words)}</a>' if place else escape(words))
        + f'</td><td class="right">{score:.2f}</td></tr>'
        for text, place, words, score in rows
    )
    table = (
        '<div class="scroll"><table><thead><tr><th scope="col">part of the program</th>'
        '<th scope="col">first found at</th><th scope="col" class="right">R²</th></tr></thead>'
        f"<tbody>{cells}</tbody></table></div>"
        if cells
        else ""
    )
    return table + _figure(graph)


def _figure(picture: d.Picture) -> str:
    return f"<h3>{escape(picture.title)}</h3>{_bare(picture)}"


def _bare(picture: d.Picture) -> str:
    return (
        f'<figure><div class="scroll">{picture.svg}</div>'
        f"<figcaption>{escape(picture.caption)}</figcaption></figure>"
    )


def _row(drawn: Sequence[d.Picture]) -> str:
    """Pictures side by side where there is room."""
    return (
        f'<div class="row">{"".join(f"<div>{_figure(p)}</div>" for p in drawn)}</div>'
        if drawn
        else ""
    )


def _evidence(account: Account) -> str:
    """What the proposer handed over, whatever it is: numbers as a table, arrays as pictures."""
    rows, figures = [], []
    for key, value in account.evidence.items():
        array = _array(value)
        if array is not None and array.ndim == 2 and min(array.shape) > 1:
            figures.append(_figure(_heat(key, array)))
        elif array is not None and array.ndim == 1 and 3 < len(array) <= 200 and (array >= 0).all():
            labels = [str(i) for i in range(len(array))]
            alternative = f"Bars for {key}: {d.clipped(array.tolist(), 200)}"
            svg = d.bars(array.tolist(), labels, key, alternative, set())
            figures.append(_figure(d.Picture(key, svg, "", alternative)))
        else:
            rows.append(
                f'<tr><th scope="row">{escape(str(key).replace("_", " "))}</th>'
                f"<td><code>{escape(d.clipped(value, 400))}</code></td></tr>"
            )
    if not rows and not figures:
        return ""
    table = f'<div class="scroll"><table>{"".join(rows)}</table></div>' if rows else ""
    return f"<h3>Evidence of the proposer</h3>{table}{''.join(figures)}"


def _array(value: Any) -> np.ndarray | None:
    if not isinstance(value, list) or not value:
        return None
    try:
        array = np.array(value, np.float64)
    except (ValueError, TypeError):
        return None
    return array if np.isfinite(array).all() else None


def _heat(key: str, array: np.ndarray) -> d.Picture:
    rows, columns = array.shape
    cell = max(2.0, min(18.0, 420.0 / columns, 420.0 / rows))
    words = f"{rows} x {columns} numbers from {d.short(array.min())} to {d.short(array.max())}."
    svg = d.drawing(
        columns * cell + 4,
        rows * cell + 4,
        [d.image(d.scaled(array), 2, 2, columns * cell, rows * cell)],
        f"{key}: {words}",
    )
    return d.Picture(key.replace("_", " "), svg, words, f"{key}: {words}")


def _examples(account: Account) -> str:
    """A few inputs with both answers: the counterexample, the closest decision, random ones."""
    rows = []
    special: list[tuple[str, Mapping[str, Any]]] = []
    evidence = getattr(account.verdict, "evidence", {})
    if isinstance(account.verdict, Refuted):
        special.append(("counterexample", account.verdict.counterexample.inputs))
    elif isinstance(evidence.get("closest_input"), Mapping) and evidence["closest_input"]:
        special.append(("closest decision", evidence["closest_input"]))
    batches = [(words, single(account.target.domain, dict(inputs))) for words, inputs in special]
    # Of sequences the shorter ones: they are examples to read.
    drawn = sample(account.target, 40)[: 2 * _EXAMPLES]
    each = max(1, _EXAMPLES // len(drawn))
    step = max(1, len(drawn) // _EXAMPLES)
    batches += [("", {n: c[:each] for n, c in batch.items()}) for batch in drawn[::step]]
    seen: set[str] = set()
    for words, batch in batches[: _EXAMPLES + 1]:
        try:
            answers = account.target.evaluate(batch).values
            ours, defined = run_defined(account.program, batch)
        except _FAILURES:
            continue
        same = equal_rows(ours, answers, account.target.claim.decode.tolerance) & defined
        for row in range(len(answers)):
            inputs = account.target.domain.row(dict(batch), row)
            call = emit.call_text(inputs if words else {n: _brief(v) for n, v in inputs.items()})
            if call in seen:
                continue
            seen.add(call)
            cells = (call, _shown(answers[row]), _shown(ours[row]))
            mark = words or ("" if same[row] else "differs")
            rows.append(
                "<tr>"
                + "".join(f"<td><code>{escape(d.clipped(c, 140))}</code></td>" for c in cells)
                + f"<td>{mark}</td></tr>"
            )
    if not rows:
        return ""
    return (
        '<div class="scroll"><table><thead><tr><th scope="col">input</th><th scope="col">network'
        '</th><th scope="col">program</th><th scope="col"><span class="soft">note</span></th></tr>'
        f"</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _brief(value: Any) -> Any:
    """A value for reading: real numbers with four digits after the point."""
    if isinstance(value, list):
        return [_brief(item) for item in value]
    return round(value, 4) if isinstance(value, float) else value


def _shown(value: Any) -> str:
    return repr(_brief(value.tolist() if hasattr(value, "tolist") else value))


def _check(account: Account) -> str:
    commands = "\n".join(account.commands) or "distill check FOLDER"
    print_ = (
        f'<p class="soft">The network\'s fingerprint is <code>{escape(account.fingerprint)}</code>.'
        "</p>"
        if account.fingerprint
        else ""
    )
    return (
        "<p>The claim is established again from the model file and the program's text, with "
        "neither search nor trust in this page:</p>"
        f"<pre><code>{escape(commands)}</code></pre>{print_}"
    )
