"""Writes the pages that are derived from code and from result files.

    python docs/generate.py            writes docs/reference/language.md and errors.md
    python docs/generate.py RESULTS    also docs/benchmarks.md, from JSON of `benchmarks suite`

`pages()` gives their texts; a test compares them with the files.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
_NOTE = "<!-- Written by docs/generate.py; do not edit. -->\n\n"
_VERDICTS = ("PROVED", "TESTED", "UNKNOWN", "REFUTED", "ERROR")


def pages() -> dict[Path, str]:
    """The pages that depend on code alone."""
    return {
        HERE / "reference" / "language.md": language(),
        HERE / "reference" / "errors.md": errors(),
    }


def language() -> str:
    """Every primitive of programs: how it is written, what it means, when it has no value."""
    from dsl.primitives.scalar import SCALAR
    from dsl.primitives.sequence import SEQUENCE

    lines = [
        _NOTE + "# The language",
        "",
        "A program is a small part of Python: assignments, `for` loops over sequences,",
        "conditional expressions, comprehensions, and the primitives below. There are no `while`",
        "loops, no functions besides the one, no attributes besides the methods listed, and no",
        "imports besides `math` and `numpy`. What the printer writes, the parser reads; whatever",
        "it does not know is an error (D101), so that a program can be read without being run.",
        "",
        "Whole numbers are unbounded, as in Python; `//` and `%` round down. A primitive that has",
        "no value on some input makes the program *undefined* there: a disagreement.",
        "The columns say which meanings a primitive has besides the one on NumPy batches: Z3 terms",
        "(`smt`) and intervals (`bounds`).",
        "",
    ]
    for title, table in (("Scalars", SCALAR), ("Sequences", SEQUENCE)):
        lines += [f"## {title}", ""]
        lines += _table(("name", "written", "value", "undefined", "smt", "bounds"), _rows(table))
    return "\n".join(lines) + "\n"


def _rows(table: Any) -> Iterable[Sequence[str]]:
    for name, primitive in sorted(table.items()):
        written = next(iter(primitive.examples), "") or primitive.infix or primitive.python
        value = " ".join((type(primitive).__doc__ or "").split())
        yield (
            f"`{name}`",
            f"`{written}`" if written else "",
            value,
            primitive.undefined or "never",
            "no" if primitive.no_smt else "yes",
            "no" if primitive.no_bounds else "yes",
        )


def errors() -> str:
    """Every error code with its page, the one that `distill explain` prints."""
    from distill.explain import PAGES

    lines = [
        _NOTE + "# Error codes",
        "",
        "`distill explain CODE` prints the same page.",
        "",
        "<!-- run in a task -->",
        "```console",
        "$ distill explain D112",
        f"D112  {PAGES['D112']}",
        "```",
        "",
    ]
    for code, text in sorted(PAGES.items()):
        lines += [f"## {code}", "", text, ""]
    lines += [
        "## Exit codes",
        "",
        *_table(
            ("code", "meaning"),
            (
                ("0", "the claim holds"),
                ("1", "a counterexample"),
                ("2", "the command or a declaration is wrong"),
                ("3", "no verdict within the budget"),
                ("4", "the model cannot be read, or is not supported"),
                ("5", "a certificate is stale or damaged"),
                ("70", "a defect of distill"),
                ("130", "interrupted; the best so far is kept"),
            ),
        ),
    ]
    return "\n".join(lines).rstrip() + "\n"


def benchmarks(paths: Sequence[Path]) -> str:
    """Result files of `python -m benchmarks suite ... --json FILE` as one page."""
    rows = [row for path in paths for row in json.loads(path.read_text(encoding="utf-8"))]
    lines = [
        _NOTE + "# Benchmarks",
        "",
        "Written from the result files of `python -m benchmarks suite FOLDER --json FILE`.",
        "Agreement is that of the emitted text, parsed again, on inputs that the runner draws",
        "itself: all of them where they are few. Failures stay in the table.",
        "",
    ]
    suites = sorted({row["suite"] for row in rows})
    overview = []
    for suite in suites:
        own = [row for row in rows if row["suite"] == suite]
        exact = sum(row["agreement"] == 1.0 for row in own)
        counts = [str(sum(row["verdict"] == verdict for row in own)) for verdict in _VERDICTS]
        spent = sorted(float(row["seconds"] or 0) for row in own)[len(own) // 2]
        overview.append((suite, str(len(own)), str(exact), *counts, f"{spent:.1f}"))
    header = ("suite", "networks", "agree everywhere", *_VERDICTS, "median seconds")
    lines += _table(header, overview)
    for suite in suites:
        own = sorted((row for row in rows if row["suite"] == suite), key=lambda row: row["name"])
        lines += [f"## {suite}", ""]
        lines += _table(
            ("network", "verdict", "method", "agreement", "inputs", "nodes", "lines", "seconds"),
            [
                (
                    row["name"],
                    row["verdict"],
                    row["method"] or row["error"] or "-",
                    f"{100 * (row['agreement'] or 0):.3f} %",
                    str(row["samples"] or 0),
                    str(row["nodes"] or "-"),
                    str(row["lines"] or "-"),
                    f"{row['seconds'] or 0:.1f}",
                )
                for row in own
            ],
        )
    return "\n".join(lines).rstrip() + "\n"


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    def cells(row: Sequence[str]) -> str:
        return "| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |"

    return [cells(header), "|" + "---|" * len(header), *map(cells, rows), ""]


def main(arguments: Sequence[str]) -> int:
    written = dict(pages())
    if arguments:
        written[HERE / "benchmarks.md"] = benchmarks([Path(text) for text in arguments])
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote   {path.relative_to(HERE.parent)}")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))
    sys.exit(main(sys.argv[1:]))
