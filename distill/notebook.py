"""How results show themselves in notebooks: fragments of HTML without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from distill import emit
from distill.certificate import verdict_of_table
from dsl.claim import Proved, Refuted, Verdict
from dsl.printer import body_lines, count_lines

_COLOURS = {"PROVED": "#116329", "REFUTED": "#a40e26"}


def table(header: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "") -> str:
    """A table; cells are text."""
    head = "".join(f'<th scope="col" style="text-align:left">{escape(h)}</th>' for h in header)
    body = "".join(
        "<tr>"
        + "".join(f'<td style="text-align:left">{escape(str(cell))}</td>' for cell in row)
        + "</tr>"
        for row in rows
    )
    words = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{words}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def verdict_html(verdict: Verdict) -> str:
    """The verdict's sentence, its word in colour."""
    word, _, rest = emit.sentence(verdict).partition("  ")
    colour = _COLOURS.get(word, "#7a5200")
    return f'<p><strong style="color:{colour}">{word}</strong> {escape(rest)}</p>'


def result_html(result: Any) -> str:
    """A compiled network: verdict, program, front."""
    rows = []
    for entry in result.front:
        body = body_lines(entry.program)
        text = body[0].strip() if len(body) == 1 else f"{count_lines(entry.program)} lines"
        mark = "▸" if entry.program == result.inner.best.program else ""
        agrees = f"{100 * (1 - entry.disagreement):.2f} %"
        rows.append((mark, entry.size, agrees, text, entry.hypothesis.proposer))
    return (
        verdict_html(result.verdict)
        + f"<pre>{escape(result.source)}</pre>"
        + table(("", "size", "agrees", "program", "found by"), rows)
    )


def certificate_html(content: Mapping[str, Any]) -> str:
    """What a certificate says, field by field."""
    verdict = verdict_of_table(content["verdict"])
    rows = [
        ("domain", content["task"].get("domain", "")),
        ("model", f"{content['model']['folder']}/{content['task'].get('model', '')}"),
        ("fingerprint", content["model"]["fingerprint"]),
        ("program", f"{content['program']['file']}, {content['program'].get('nodes')} nodes"),
        ("written by", content["tool"]),
    ]
    match verdict:
        case Proved(method, domain, arithmetic, _):
            rows[1:1] = [("proved on", domain), ("method", method), ("arithmetic", arithmetic)]
        case Refuted(_, example, _, _, _):
            rows.insert(1, ("counterexample", emit.call_text(example.inputs)))
    return verdict_html(verdict) + table(("field", "value"), rows)
