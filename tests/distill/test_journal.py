"""Runs that are killed, interrupted, starved or crowded lose nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from distill import cli, journal
from distill.journal import BEST, JOURNAL, LOCK
from dsl.claim import Hypothesis
from dsl.parser import parse
from tests.errors.networks import comparing

DOMAIN = "a: int[0..9], b: int[0..9]"


class Entry:
    """What the pipeline reports of a hypothesis."""

    def __init__(self, body: str, disagreement: float) -> None:
        program = parse(f"def program(a, b):\n    return {body}\n")
        self.hypothesis = Hypothesis(program, "test", evidence={"n": 1})
        self.program = program
        self.size = len(body)
        self.disagreement = disagreement
        self.verdict = None


ENTRIES = [Entry("0", 0.4), Entry("a", 0.3), Entry("a + b", 0.2), Entry("a - b", 0.1)]


def kept(folder: Path) -> None:
    """A journal as a killed run leaves it: never finished."""
    with journal.opened(folder) as log:
        log.begin("claim")
        for entry in ENTRIES:
            log("hypothesis", {"entry": entry, "best": entry})


def resumed(folder: Path, key: str = "claim") -> list[str]:
    from dsl.printer import body_lines

    with journal.opened(folder) as log:
        log.begin(key)
        return [body_lines(h.program)[0].strip() for h in log.hypotheses()]


def test_a_run_begins_with_what_was_found_before_the_best_first(tmp_path: Path) -> None:
    kept(tmp_path)
    assert resumed(tmp_path) == ["return a - b", "return a + b", "return a", "return 0"]
    assert "agrees on 90.0000 %" in (tmp_path / BEST).read_text()
    assert parse((tmp_path / BEST).read_text()).parameters == ("a", "b")


def test_a_journal_that_is_torn_anywhere_keeps_its_whole_lines(tmp_path: Path) -> None:
    kept(tmp_path)
    path = tmp_path / JOURNAL
    content = path.read_bytes()
    for length in range(0, len(content), 7):
        path.write_bytes(content[:length])
        whole = max(0, content[:length].count(b"\n") - 1)
        rows = journal.read(path, "claim")
        assert len(rows) in (whole, whole + 1)
        assert all(parse(str(row["program"])) for row in rows)


def test_what_follows_a_torn_line_is_read_again(tmp_path: Path) -> None:
    kept(tmp_path)
    path = tmp_path / JOURNAL
    path.write_bytes(path.read_bytes()[:-5])
    with journal.opened(tmp_path) as log:
        log.begin("claim")
        log("hypothesis", {"entry": ENTRIES[-1], "best": ENTRIES[-1]})
    assert len(journal.read(path, "claim")) == len(ENTRIES)


def test_the_journal_of_another_claim_is_not_used(tmp_path: Path) -> None:
    kept(tmp_path)
    assert resumed(tmp_path, "another claim") == []
    assert resumed(tmp_path, "claim") == []


def test_a_line_that_was_changed_is_left_out(tmp_path: Path) -> None:
    kept(tmp_path)
    path = tmp_path / JOURNAL
    path.write_text(path.read_text().replace("a + b", "a * b"))
    assert "return a * b" not in resumed(tmp_path)


def compile_here(*arguments: str) -> int:
    return cli.main(["compile", "model.onnx", "-d", DOMAIN, "--out", "out", "--quiet", *arguments])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    comparing(tmp_path / "model.onnx")
    return tmp_path


def test_a_finished_run_leaves_neither_journal_nor_lock(folder: Path) -> None:
    assert compile_here() == 0
    names = {path.name for path in (folder / "out").iterdir()}
    assert {"program.py", "certificate.json", "summary.txt"} <= names
    assert not {JOURNAL, BEST, LOCK} & names


def test_a_run_that_is_refused_leaves_nothing_behind(folder: Path) -> None:
    (folder / "model.onnx").write_bytes(b"no model")
    assert compile_here() == 4
    assert [path.name for path in folder.iterdir()] == ["model.onnx"]


def interrupting(phase: str, error: type[BaseException]) -> Any:
    """A journal that raises after a phase, as a signal would."""
    original = journal.Journal.__call__

    def call(self: journal.Journal, name: str, figures: Mapping[str, Any]) -> None:
        original(self, name, figures)
        if name == phase and not getattr(call, "done", False):
            call.done = True  # type: ignore[attr-defined]
            raise error

    return call


def test_an_interrupt_keeps_the_best_so_far(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal.Journal, "__call__", interrupting("hypothesis", KeyboardInterrupt))
    assert compile_here() == 130
    assert parse((folder / "out/program.py").read_text())
    certificate = json.loads((folder / "out/certificate.json").read_text())
    assert certificate["verdict"]["kind"] in ("UNKNOWN", "REFUTED", "PROVED")


def test_memory_that_is_spent_ends_with_unknown(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(journal.Journal, "__call__", interrupting("hypothesis", MemoryError))
    assert compile_here("--json") == 3
    verdict = json.loads(capsys.readouterr().out)["verdict"]
    assert verdict["kind"] == "UNKNOWN"
    assert verdict["reason"] == "the memory that was given is spent"


def test_a_disk_that_is_full_ends_the_journal_and_not_the_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(self: journal.Journal, text: str) -> None:
        self.full = True
        raise OSError(errno.ENOSPC, "No space left on device")

    class Full:
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self) -> None:
            return None

    original = journal.Journal.begin

    def begin(self: journal.Journal, key: str) -> None:
        original(self, key)
        self.file = Full()  # type: ignore[assignment]

    monkeypatch.setattr(journal.Journal, "begin", begin)
    assert compile_here() == 0


def test_a_disk_that_is_full_at_the_end_leaves_no_torn_file(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import errno
    import os

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    assert compile_here() == 0
    before = {p.name: p.read_bytes() for p in (folder / "out").iterdir()}
    capsys.readouterr()
    monkeypatch.setattr(os, "fsync", full)
    assert compile_here() == 2
    assert "error[D130]: program.py cannot be written: No space left" in capsys.readouterr().err
    after = {p.name: p.read_bytes() for p in (folder / "out").iterdir()}
    assert {name: after[name] for name in before} == before
    assert not [name for name in after if name.startswith(".program")]


def test_a_model_that_vanishes_during_the_run_is_no_proof(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = journal.Journal.__call__

    def call(self: journal.Journal, name: str, figures: Mapping[str, Any]) -> None:
        original(self, name, figures)
        if name == "hypothesis":
            comparing(folder / "model.onnx", 1.5)

    monkeypatch.setattr(journal.Journal, "__call__", call)
    assert compile_here() == 5
    assert "error[D138]: model.onnx changed while it was compiled" in capsys.readouterr().err
    assert not (folder / "out/certificate.json").exists()
