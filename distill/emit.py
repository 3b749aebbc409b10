"""What a compilation leaves behind: program.py, certificate.json, summary.txt."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from distill import questions
from distill.certificate import SCHEMA, plain, sealed, verdict_table, write_text
from distill.entries import Entry
from distill.fingerprints import fingerprint, tensors
from distill.pipeline import Result
from distill.task import Task
from dsl.claim import Proved, Refuted, Tested, Unknown, Verdict
from dsl.errors import DistillError
from dsl.parser import equal_programs, parse
from dsl.printer import body_lines, count_lines, to_python

_LARGEST_EVIDENCE = 200_000
_LONGEST_VALUE = 40


def sentence(verdict: Verdict) -> str:
    """The verdict in one sentence."""
    match verdict:
        case Proved(method, proven_domain, _, evidence):
            count = evidence.get("inputs")
            if method == "enumeration" and count is not None:
                return f"PROVED  the program equals the network on all {grouped(count)} inputs"
            return f"PROVED  the program equals the network on {proven_domain} ({method})"
        case Refuted(_, example, found, disagreement, evidence):
            share = "" if disagreement is None else f" ({percent(disagreement)} of the inputs)"
            return f"REFUTED  {call_text(example.inputs)}: the program gives " + (
                f"{example.program_value!r}, the network {example.network_value!r}; "
                f"{grouped(found)} found{share}{established(evidence)}"
            )
        case Tested(samples, bound, _):
            return (
                f"TESTED  no difference on {grouped(samples)} random inputs "
                f"(disagreement at most {percent(bound)} with 99 % confidence)"
            )
        case Unknown(reason, proven, refuted, _):
            return (
                f"UNKNOWN  {reason} (proven {percent(proven)}, refuted {percent(refuted)} "
                "of the domain)"
            )


def established(evidence: Mapping[str, Any]) -> str:
    """What is proven, by volume, of a program that differs from the network somewhere."""
    lines = []
    if evidence.get("proven") is not None:
        line = f"proven equal on {covered(float(evidence['proven']))} of the volume"
        for kind, text in (("refuted", "differs on"), ("open", "open")):
            if evidence.get(kind) is not None:
                line += f", {text} {percent(float(evidence[kind]))}"
        lines.append(line)
    within, largest = evidence.get("within"), evidence.get("largest_difference")
    if within is not None and evidence.get("within_open") == 0.0:
        lines.append(f"at most {within:g} from the network everywhere, proven")
    elif within is not None:
        share = covered(float(evidence.get("within_proven", 0.0)))
        lines.append(f"at most {within:g} from the network, proven on {share} of the volume")
    elif largest is not None:
        lines.append(f"nowhere further apart than {largest:.3g}, proven")
    return "".join(f"\n        {line}" for line in lines)


def proven_share(verdict: Verdict | None) -> float | None:
    """The fraction of the volume on which a program is proven equal, where that was measured."""
    match verdict:
        case Refuted(evidence=table) | Unknown(evidence=table) if (
            table.get("kind") == "branch_and_bound"
        ):
            return float(table["proven"])
    return None


def call_text(inputs: Mapping[str, Any]) -> str:
    """An input as a call that can be pasted."""
    return f"program({', '.join(f'{name}={_short(value)}' for name, value in inputs.items())})"


def _short(value: Any) -> str:
    """A value as text; of a long list only the length, the certificate has it whole."""
    long = isinstance(value, (list, tuple)) and len(value) > _LONGEST_VALUE
    return f"<{len(value)} numbers>" if long else repr(value)


def grouped(number: int) -> str:
    return f"{number:,}".replace(",", " ")


def covered(share: float) -> str:
    """A proven share, rounded down."""
    return f"{math.floor(1e4 * share) / 100:g} %"


def percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def program_text(result: Result) -> str:
    """The text of program.py: claim, domain and verdict as its docstring."""
    claim = result.target.claim.decode
    lines = [
        "Distilled from a network; equal to it as stated.",
        "",
        f"domain   {result.target.domain}",
        f"output   {claim.rule}"
        + (f" +- {claim.tolerance:g}" if claim.tolerance else "")
        + (" of the network's outputs"),
        f"verdict  {sentence(result.verdict)}",
    ]
    return to_python(result.program, "\n".join(lines))


def front_lines(front: tuple[Entry, ...], best: Entry) -> list[str]:
    """The table of sizes, agreements and programs."""
    lines = [f"     {'size':>5}  {'agrees':>9}  program"]
    for entry in front:
        mark = ">>>" if entry.program == best.program else "   "
        body = body_lines(entry.program)
        last = body[-1].strip() if len(body) == 1 else f"{count_lines(entry.program)} lines"
        if len(last) > 80:
            last = last[:77] + "..."
        agrees = f"{100 * (1 - entry.disagreement):>7.2f} %"
        if entry.deviation is not None:
            agrees = f"+- {entry.deviation:<6.3g}"
        share = proven_share(entry.verdict)
        known = "" if share is None else f"  [proven {percent(share)} of the volume]"
        lines.append(f" {mark} {entry.size:>5}  {agrees:>9}  {last}{known}")
    return lines


def summary(result: Result) -> str:
    """A page of plain text."""
    lines = [
        sentence(result.verdict),
        "",
        f"domain    {result.target.domain}",
        f"observed  {grouped(result.observed)} inputs" + (", all" if result.complete else ""),
        f"time      {result.seconds:.1f} s",
        f"tried     {grouped(result.tried)} candidates",
        "",
        *front_lines(result.front, result.best),
    ]
    lines += questions.lines(result.statistics, percent)
    evidence = getattr(result.verdict, "evidence", {})
    if "agrees_up_to_length" in evidence:
        lines += ["", f"agrees    on all inputs of up to {evidence['agrees_up_to_length']} items"]
        if longer := of_longer(evidence):
            lines[-1] += f", and {longer}"
    if evidence.get("near_ties"):
        lines += ["", f"near-ties {evidence['near_ties']}: decided within float noise; listed in"]
        lines += ["          certificate.json under evidence.near_tie_inputs"]
    return "\n".join(lines) + "\n"


def of_longer(evidence: Mapping[str, Any]) -> str:
    """On how many inputs longer than those that were enumerated a program is right; nothing where
    none were asked for."""
    beyond = evidence.get("beyond", {})
    if beyond.get("disagreements") is None or not beyond["samples"]:
        return ""
    share = 100 * (1 - beyond["disagreements"] / beyond["samples"])
    text = f"{share:.2f} % of {beyond['samples']} longer ones"
    near = beyond.get("nearly_all")
    if near:
        text += f", at least 99.9 % of {near['samples']} of up to {near['length']} items"
    return text


def search_table(result: Result) -> dict[str, Any]:
    """How the program was found, as JSON for the certificate: a report can be made from it."""
    evidence = plain(dict(result.best.hypothesis.evidence))
    if len(json.dumps(evidence)) > _LARGEST_EVIDENCE:
        evidence = {"omitted": "larger than a certificate should be"}
    return {
        "proposer": result.best.hypothesis.proposer,
        "evidence": evidence,
        "front": [
            {
                "size": entry.size,
                "disagreement": entry.disagreement,
                "proposer": entry.hypothesis.proposer,
                "text": to_python(entry.program),
            }
            for entry in result.front
        ],
    }


def _claimed(result: Result, task: Task) -> dict[str, Any]:
    """The task's table with the tolerance that was in force, which may have been chosen by the
    size of the outputs."""
    table = {**dict(task.table), "model": task.model.name}
    decode = result.target.claim.decode
    return {**table, "tolerance": decode.tolerance} if decode.rule == "value" else table


def save(result: Result, task: Task, folder: Path) -> tuple[Path, ...]:
    """Writes the files into a folder, each whole or not at all; the certificate comes last."""
    if fingerprint(task.folder, task.model) != result.target.fingerprint:
        raise DistillError(
            "D138",
            f"{task.model.name} changed while it was compiled: the verdict is of what was read",
            place=str(task.model),
            remedy="run distill compile again",
            exit_code=5,
        )
    text = program_text(result)
    assert equal_programs(parse(text), result.program), "the text is that of another program"
    program, certificate = folder / "program.py", folder / "certificate.json"
    write_text(program, text)
    write_text(folder / "summary.txt", summary(result))
    content = {
        "schema": SCHEMA,
        "tool": "distill 0.1.0",
        "task": _claimed(result, task),
        "model": {
            "folder": os.path.relpath(task.folder.resolve(), folder.resolve()),
            "fingerprint": result.target.fingerprint,
            "tensors": tensors(task.model),
        },
        "program": {
            "file": program.name,
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "nodes": result.best.size,
            "lines": count_lines(result.program),
            "search": search_table(result),
            **plain(dict(result.statistics)),
        },
        "verdict": {
            **verdict_table(result.verdict),
            "runtime": {"python": platform.python_version(), "numpy": np.__version__},
        },
    }
    write_text(certificate, json.dumps(sealed(content), indent=1, ensure_ascii=False) + "\n")
    return program, certificate, folder / "summary.txt"
