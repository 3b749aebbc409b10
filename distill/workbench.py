"""`distill search` and `distill diff`: hypotheses and checkpoints compared by hand."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from distill import api, pipeline
from distill.certificate import plain
from distill.difference import Difference, Side, difference
from distill.durations import seconds_of
from distill.entries import Entry
from distill.progress import opened
from distill.sources import text_of
from dsl.claim import Hypothesis, Proved, Refuted, Target, Tested
from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.parser import parse, parse_expression
from dsl.printer import body_lines, count_lines, to_python
from dsl.program import Program
from dsl.typecheck import typed

MINE = "yours"
_SHOWN = 20


def hypothesis_of(text: str, domain: Domain) -> Program:
    """A hypothesis as a user writes it: the path of a program, or an expression over the domain's
    names.  Raises D101 for anything else, D137 for names that the domain does not have."""
    path = Path(text)
    if path.suffix == ".py":
        text = text_of(path)
        program = parse(text, path.name)
        if program.parameters != domain.names:
            raise DistillError(
                "D137",
                f"{path.name} takes {', '.join(program.parameters)}, the domain gives "
                f"{', '.join(domain.names)}",
            )
        return typed(text, domain, path.name)
    expr = parse_expression(text, "hypothesis")
    program = Program("program", tuple((name, None) for name in domain.names), (), expr)
    return typed(to_python(program), domain, "hypothesis")


def verdict_word(entry: Entry) -> str:
    match entry.verdict:
        case Proved():
            return "PROVED"
        case Tested():
            return "TESTED"
        case Refuted():
            return "REFUTED"
        case None if entry.disagreement > 0:
            return "REFUTED"
    return "UNKNOWN"


def ranked(entries: list[Entry]) -> list[Entry]:
    """Hypotheses by verdict, then by the bits of program and exceptions."""
    order = {"PROVED": 0, "TESTED": 1, "UNKNOWN": 2, "REFUTED": 3}
    return sorted(entries, key=lambda e: (order[verdict_word(e)], e.bits, e.size))


def entry_lines(entries: list[Entry]) -> list[str]:
    """The table of a workbench: the best hypotheses, and all that the user gave."""
    lines = [f" {'':5} {'size':>5} {'bits':>8}  {'agrees':>9}  {'verdict':<8} program"]
    for i, entry in enumerate(entries):
        mine = entry.hypothesis.proposer == MINE
        if i >= _SHOWN and not mine:
            continue
        body = body_lines(entry.program)
        text = body[0].strip() if len(body) == 1 else f"{count_lines(entry.program)} lines"
        lines.append(
            f" {MINE if mine else '':5} {entry.size:>5} {entry.bits:>8.0f}  "
            f"{100 * (1 - entry.disagreement):>7.2f} %  {verdict_word(entry):<8} {text[:80]}"
        )
    return lines


def search(options: argparse.Namespace, given: Mapping[str, str]) -> int:
    """Checks the user's hypotheses, looks for others, and prints all of them in one ranking."""
    entries: list[Entry] = []
    seconds = seconds_of(options.time)
    with opened(quiet=options.quiet, json_events=options.json_events) as progress:
        progress("started", {"model": options.model, "budget": seconds})

        def report(name: str, figures: Mapping[str, Any]) -> None:
            if name == "hypothesis":
                entries.append(figures["entry"])
            progress(name, figures)

        target, _ = api.target(options.model, options.domain, **given)
        texts = [*options.hypothesis, *([options.start_from] if options.start_from else [])]
        mine = tuple(hypothesis_of(text, target.domain) for text in texts)
        pipeline.compile_target(
            target,
            seconds=seconds,
            seed=options.seed,
            start_from=tuple(Hypothesis(program, MINE) for program in mine),
            report=report,
        )
        entries = ranked(entries)
        found = [
            difference(Side(text, program), Side("the network", target), target.domain, seconds=20)
            for text, program in zip(texts, mine, strict=True)
        ]
    if options.json:
        print(json.dumps([_row(entry) for entry in entries]))
        return 0
    print("\n".join(entry_lines(entries)))
    for part in found:
        if part.different:
            print(part)
    return 0


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "size": entry.size,
        "bits": entry.bits,
        "disagreement": entry.disagreement,
        "verdict": verdict_word(entry),
        "proposer": entry.hypothesis.proposer,
        "program": to_python(entry.program),
    }


def side_of(
    path: str, other: str, domain: Domain | None, given: Mapping[str, str]
) -> tuple[Side, Domain | None]:
    """One side of a comparison, and the domain that its task declares.  A model file beside a task
    folder is read under that folder's task."""
    place = Path(path)
    if place.suffix == ".py":
        program = parse(text_of(place), place.name)
        return Side(place.name if place.name != Path(other).name else path, program), None
    if domain is None and place.is_file() and (Path(other) / "task.toml").is_file():
        from distill.task import from_table, read, target

        task = read(Path(other))
        table = {**task.table, "model": place.name}
        found: Target = target(from_table(table, place.parent))
    else:
        found, _ = api.target(path, domain, **given)
    return Side(path, found), found.domain


def diff(options: argparse.Namespace, given: Mapping[str, str]) -> int:
    """Prints whether two programs or networks are equal; 0, 1, or 3 where nothing is proved."""
    domain = None if options.domain is None else Domain(options.domain)
    with opened(quiet=options.quiet, json_events=options.json_events) as progress:
        progress("started", {"model": options.first, "budget": seconds_of(options.time)})
        first, declared = side_of(options.first, options.second, domain, given)
        second, other = side_of(options.second, options.first, domain, given)
        domain = domain or declared or other
        if domain is None:
            raise DistillError(
                "D115",
                "two programs are compared on no domain",
                remedy="say what the inputs are, for example -d 'a: int[0..9], b: int[0..9]'",
            )
        progress("verify", {"method": f"{options.first} against {options.second}"})
        found = difference(
            first, second, domain, seconds=seconds_of(options.time), seed=options.seed
        )
    if options.json:
        print(json.dumps(difference_table(found)))
    else:
        print(found)
        for line in _changed(options.first, options.second):
            print(line)
    return 0 if found.equal else 1 if found.different else 3


def _changed(first: str, second: str) -> list[str]:
    """Which parts of two checkpoints differ."""
    from distill.fingerprints import tensors
    from distill.task import read

    paths = []
    for text in (first, second):
        path = Path(text)
        if path.is_dir() and (path / "task.toml").is_file():
            path = read(path).model
        paths.append(path)
    if any(path.suffix == ".py" or not path.is_file() for path in paths):
        return []
    before, after = tensors(paths[0]), tensors(paths[1])
    names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
    if not names:
        return ["  = note   no part of the checkpoint differs"]
    shown = ", ".join(sorted(names)[:6]) + (", ..." if len(names) > 6 else "")
    return [f"  = note   {len(names)} of {len({**before, **after})} parts differ: {shown}"]


def difference_table(found: Difference) -> dict[str, Any]:
    """A difference as JSON."""
    kind = "EQUAL" if found.equal else "DIFFERENT" if found.different else "TESTED"
    table = {
        "kind": kind,
        "names": found.names,
        "domain": str(found.domain),
        "compared": found.compared,
        "different": found.different,
        "complete": found.complete,
        "bound": found.bound,
        "examples": [
            {"inputs": e.inputs, "first": e.first, "second": e.second} for e in found.examples
        ],
        "ranges": found.ranges,
        "raw": found.raw,
    }
    cleaned = plain(table)
    assert isinstance(cleaned, dict)
    return cleaned


def report(certificate: str, out: str | None) -> int:
    """Writes the report of a certificate and prints its path."""
    from distill.report.account import from_certificate
    from distill.report.page import write

    path = Path(certificate)
    folder = path if path.is_dir() else path.parent
    written = write(from_certificate(path), Path(out) if out else folder / "report.html")
    print(f"wrote   {written}")
    return 0
