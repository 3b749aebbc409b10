"""The findings of `distill check` in the formats that other tools read."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from distill.checking import Finding

FORMATS = ("text", "json", "sarif", "junit", "github")
_LEVELS = {"holds": "note", "broken": "error", "stale": "warning", "unknown": "warning"}


def written(findings: Sequence[Finding], form: str, seconds: float) -> str:
    """All findings in a format; what goes to stdout."""
    formats: Mapping[str, Callable[[Sequence[Finding], float], str]] = {
        "text": totals,
        "json": _json,
        "sarif": _sarif,
        "junit": _junit,
        "github": _github,
    }
    return formats[form](findings, seconds)


def exit_code(findings: Sequence[Finding]) -> int:
    """1 for a counterexample anywhere, else the greatest code of what does not hold, else 0."""
    if any(finding.state == "broken" for finding in findings):
        return 1
    return max((f.error.exit_code for f in findings if f.error is not None), default=0)


def totals(findings: Sequence[Finding], seconds: float) -> str:
    """One line: how many of each state."""
    counts = {s: sum(f.state == s for f in findings) for s in ("holds", "broken", "stale")}
    unknown = len(findings) - sum(counts.values())
    return (
        f"checked {len(findings)} certificate{'s' * (len(findings) != 1)}: "
        f"{counts['holds']} hold, {counts['broken']} broken, {counts['stale']} stale, "
        f"{unknown} unknown   ({seconds:.1f}s)"
    )


def _json(findings: Sequence[Finding], seconds: float) -> str:
    from distill.certificate import verdict_table

    return json.dumps(
        [
            {
                "path": str(f.path),
                "state": f.state,
                "verdict": None if f.verdict is None else verdict_table(f.verdict),
                "error": None if f.error is None else f.error.code,
                "finding": None if f.error is None else f.error.finding,
                "notes": [] if f.error is None else list(f.error.notes),
                "seconds": round(f.seconds, 3),
            }
            for f in findings
        ]
    )


def _message(finding: Finding) -> str:
    """What is wrong, with the counterexample, on a few lines; empty where the claim holds."""
    if finding.error is None:
        return ""
    notes = (note for note in finding.error.notes if note)
    return "\n".join([f"{finding.error.code}: {finding.error.finding}", *notes])


def _sarif(findings: Sequence[Finding], seconds: float) -> str:
    """SARIF 2.1.0, as code-scanning services read it."""
    from distill.explain import PAGES

    wrong = [finding for finding in findings if finding.error is not None]
    codes = sorted({f.error.code for f in wrong if f.error is not None})
    rules = [{"id": code, "shortDescription": {"text": PAGES.get(code, code)}} for code in codes]
    results: list[dict[str, Any]] = [
        {
            "ruleId": finding.error.code if finding.error is not None else "",
            "level": _LEVELS[finding.state],
            "message": {"text": _message(finding)},
            "locations": [
                {
                    "physicalLocation": {
                        "artifactLocation": {"uri": finding.path.as_posix()},
                        "region": {"startLine": 1},
                    }
                }
            ],
        }
        for finding in wrong
    ]
    driver = {"name": "distill", "rules": rules}
    return json.dumps(
        {
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{"tool": {"driver": driver}, "results": results}],
        },
        indent=1,
    )


def _junit(findings: Sequence[Finding], seconds: float) -> str:
    """JUnit's XML: a test case for each certificate."""
    failed = sum(finding.error is not None for finding in findings)
    lines = [
        '<?xml version="1.0" encoding="utf-8"?>',
        f'<testsuite name="distill check" tests="{len(findings)}" failures="{failed}" '
        f'errors="0" time="{seconds:.3f}">',
    ]
    for finding in findings:
        name = quoteattr(finding.path.as_posix())
        case = f'  <testcase classname="distill" name={name} time="{finding.seconds:.3f}"'
        if finding.error is None:
            lines.append(f"{case}/>")
            continue
        message = quoteattr(finding.error.finding)
        lines += [
            f"{case}>",
            f"    <failure type={quoteattr(finding.state)} message={message}>"
            f"{escape(_message(finding))}</failure>",
            "  </testcase>",
        ]
    return "\n".join([*lines, "</testsuite>"])


def _github(findings: Sequence[Finding], seconds: float) -> str:
    """Annotations of GitHub's workflow commands, then the totals."""
    lines = []
    for finding in findings:
        if finding.error is None:
            continue
        level = "error" if finding.state == "broken" else "warning"
        place = finding.path.as_posix()
        for old, new in (("%", "%25"), ("\r", "%0D"), ("\n", "%0A"), (":", "%3A"), (",", "%2C")):
            place = place.replace(old, new)
        text = _message(finding).replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
        lines.append(f"::{level} file={place},line=1,title={finding.error.code}::{text}")
    return "\n".join([*lines, totals(findings, seconds)])
