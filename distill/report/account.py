"""What a report tells of: a program, the network that it was distilled from, and the verdict."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from distill import emit
from distill.certificate import plain
from distill.pipeline import Result
from dsl.claim import Target, Verdict
from dsl.parser import parse
from dsl.printer import to_python
from dsl.program import Program


@dataclass(frozen=True, slots=True)
class Candidate:
    """A program of the front: its size in nodes, its share of disagreements, its text."""

    size: int
    disagreement: float
    proposer: str
    text: str
    best: bool


@dataclass(frozen=True)
class Account:
    """All that a report is made from; `commands` establish the claim again."""

    name: str
    target: Target
    program: Program
    source: str
    verdict: Verdict
    front: tuple[Candidate, ...]
    evidence: Mapping[str, Any] = field(default_factory=dict)
    proposer: str = ""
    tried: int = 0
    commands: tuple[str, ...] = ()
    fingerprint: str = ""


def candidates(result: Result) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(
            entry.size,
            entry.disagreement,
            entry.hypothesis.proposer,
            to_python(entry.program),
            entry.program == result.best.program,
        )
        for entry in result.front
    )


def from_result(result: Result, name: str, commands: tuple[str, ...] = ()) -> Account:
    """The account of a compilation that has just ended."""
    return Account(
        name,
        result.target,
        result.program,
        emit.program_text(result),
        result.verdict,
        candidates(result),
        plain(dict(result.best.hypothesis.evidence)),
        result.best.hypothesis.proposer,
        result.tried,
        commands,
        result.target.fingerprint,
    )


def from_certificate(path: Path) -> Account:
    """The account of a certificate; opens the model that it names."""
    from distill.certificate import read, verdict_of_table
    from distill.task import from_table, target

    if path.is_dir():
        path = path / "certificate.json"
    certificate = read(path)
    content = certificate.content
    task = from_table(content["task"], certificate.model_folder)
    source = certificate.program_path.read_text(encoding="utf-8")
    search = content["program"].get("search", {})
    program = parse(source, certificate.program_path.name)
    nodes = int(content["program"].get("nodes", 0))
    front = tuple(
        Candidate(
            int(entry["size"]),
            float(entry["disagreement"]),
            str(entry["proposer"]),
            str(entry["text"]),
            int(entry["size"]) == nodes,
        )
        for entry in search.get("front", ())
    )
    return Account(
        str(content["task"].get("name", path.parent.name)),
        target(task),
        program,
        source,
        verdict_of_table(content["verdict"]),
        front,
        search.get("evidence", {}),
        str(search.get("proposer", "")),
        0,
        (f"distill check {path.parent}",),
        str(content["model"]["fingerprint"]),
    )


def sample(target: Target, count: int) -> list[dict[str, np.ndarray]]:
    """The same few random inputs for every picture, one batch for each shape."""
    return target.domain.sample(count, np.random.default_rng(11))
