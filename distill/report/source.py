"""The program as highlighted text, its names linked to the places where they were found."""

from __future__ import annotations

import io
import keyword
import tokenize
from collections.abc import Mapping
from html import escape


def highlighted(source: str, places: Mapping[str, str]) -> str:
    """Python text as HTML.  The first occurrence of a name in `places` gets the id `name-...`,
    and every occurrence links to its place in the page."""
    lines = source.splitlines(keepends=True)
    out: list[str] = []
    row, column = 1, 0
    seen: set[str] = set()
    previous = ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        (start_row, start), (end_row, end) = token.start, token.end
        if token.type in (tokenize.NEWLINE, tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            continue
        if token.type == tokenize.ENDMARKER:
            break
        while row < start_row:
            out.append(escape(lines[row - 1][column:]))
            row, column = row + 1, 0
        out.append(escape(lines[row - 1][column:start]))
        out.append(_marked(token.type, token.string, previous, places, seen))
        row, column = end_row, end
        previous = token.string
    out += [escape(rest) for rest in [lines[row - 1][column:], *lines[row:]] if lines]
    return "<pre><code>" + "".join(out).rstrip("\n") + "</code></pre>"


def _marked(kind: int, word: str, previous: str, places: Mapping[str, str], seen: set[str]) -> str:
    shown = escape(word)
    if kind == tokenize.NAME and keyword.iskeyword(word):
        return f'<span class="k">{shown}</span>'
    if kind == tokenize.NAME and previous == "def":
        return f'<span class="def">{shown}</span>'
    if kind == tokenize.NAME and word in places:
        first = "" if word in seen else f' id="name-{shown}"'
        seen.add(word)
        return f'<a class="place"{first} href="#{escape(places[word])}">{shown}</a>'
    if kind == tokenize.NAME and word.isupper():
        return f'<span class="def">{shown}</span>'
    css = {tokenize.STRING: "s", tokenize.NUMBER: "n", tokenize.COMMENT: "c"}.get(kind)
    return shown if css is None else f'<span class="{css}">{shown}</span>'
