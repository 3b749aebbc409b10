"""A plugin for pytest: every `certificate.json` that pytest comes across is a test.

It passes when the claim is established again, fails with the counterexample when it is broken or
stale, and is skipped as undecided never: what is not established fails.  `-p no:distill` turns it
off; `--distill-independent` checks by the small checker; `--distill-time 30s` sets the budget.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("distill")
    group.addoption("--distill-time", default="5m", help="the budget for each certificate")
    group.addoption(
        "--distill-independent", action="store_true", help="check by the small checker alone"
    )


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.File | None:
    if file_path.name != "certificate.json" or not _is_certificate(file_path):
        return None
    collected: Certificates = Certificates.from_parent(parent, path=file_path)
    return collected


def _is_certificate(path: Path) -> bool:
    """Is it one of ours, be it damaged?  Other tools write files of that name, too."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return (path.parent / "program.py").is_file()
    return isinstance(content, dict) and {"schema", "verdict", "program"} <= set(content)


class Certificates(pytest.File):
    """A certificate file: one test."""

    def collect(self) -> Iterator[pytest.Item]:
        item: Certificate = Certificate.from_parent(self, name="claim")
        yield item


class Broken(Exception):
    """A claim that does not hold, as the user should read it."""


class Certificate(pytest.Item):
    """The claim of a certificate, established again."""

    def runtest(self) -> None:
        from distill.checking import check
        from distill.durations import seconds_of

        option = self.config.getoption
        finding = check(
            self.path,
            seconds=seconds_of(option("--distill-time")),
            independent=bool(option("--distill-independent")),
        )
        if finding.error is not None:
            raise Broken(str(finding.error))

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        if isinstance(excinfo.value, Broken):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        return self.path, 0, f"the claim of {self.path.parent.name}"
