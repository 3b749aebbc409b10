"""Progress: lines, heartbeats, events, and a live display."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from distill import progress
from distill.entries import Entry
from dsl.claim import Hypothesis
from dsl.parser import parse

ENTRY = Entry(Hypothesis(parse("def program(a):\n    return a\n"), "test"), 1, 0.25, 6.0)
EVENTS = (
    ("started", {"model": "net.pt2", "budget": 60.0}),
    ("observed", {"inputs": 100, "complete": True}),
    ("proposer", {"name": "constant"}),
    ("hypothesis", {"entry": ENTRY, "best": ENTRY, "tried": 7}),
    ("hypothesis", {"entry": ENTRY, "best": ENTRY, "tried": 9}),
    ("verify", {"method": "enumeration"}),
    ("work", {"done": 3, "total": 4}),
)


def test_a_line_for_each_phase_and_each_better_program() -> None:
    stream = io.StringIO()
    with progress.opened(quiet=False, json_events=False, stream=stream) as shown:
        for name, figures in EVENTS:
            shown(name, figures)
    words = [line.split("  ")[1].strip() for line in stream.getvalue().splitlines()]
    assert words == ["read", "evaluate", "search", "best", "verify"]
    assert "size 1: return a  agrees 75.00 %" in stream.getvalue()


def test_events_are_json_one_a_line() -> None:
    stream = io.StringIO()
    with progress.opened(quiet=True, json_events=True, stream=stream) as shown:
        for name, figures in EVENTS:
            shown(name, figures)
    rows = [json.loads(line) for line in stream.getvalue().splitlines()]
    assert [row["event"] for row in rows] == [
        "started",
        "observed",
        "proposer",
        "hypothesis",
        "verify",
    ]
    assert rows[3]["program"] == "def program(a):\n    return a\n"
    assert rows[0]["budget"] == 60.0


def test_a_sign_of_life_says_what_is_tried_and_what_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(progress.Lines, "interval", 0.1)
    stream = io.StringIO()
    with progress.opened(quiet=False, json_events=False, stream=stream) as shown:
        for name, figures in EVENTS:
            shown(name, figures)
        time.sleep(0.5)
    beats = [line for line in stream.getvalue().splitlines() if line.startswith("  ...")]
    assert len(beats) >= 2
    assert "verify enumeration, 75 % done, 9 candidates" in beats[0]
    assert "s left" in beats[0]


def test_quiet_writes_nothing() -> None:
    stream = io.StringIO()
    with progress.opened(quiet=True, json_events=False, stream=stream) as shown:
        for name, figures in EVENTS:
            shown(name, figures)
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_live_display(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    stream = Terminal()
    with progress.opened(quiet=False, json_events=False, stream=stream) as shown:
        for name, figures in EVENTS:
            shown(name, figures)
        time.sleep(0.7)
    assert "candidates" in stream.getvalue()
    assert "enumeration" in stream.getvalue()


def test_the_first_line_comes_before_the_model_is_opened(tmp_path: Path) -> None:
    """A model that cannot be read: the line and the error, and no framework in between."""
    (tmp_path / "model.pt2").write_bytes(b"no model")
    started = time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "distill", "compile", str(tmp_path / "model.pt2"), "-d", "a: bool"],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        cwd=Path(__file__).resolve().parent.parent.parent,
        text=True,
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        spent = time.monotonic() - started
        process.communicate()
    assert line.startswith("  read      ")
    assert spent < 3.0  # a second on a machine that is not busy
    assert process.returncode == 4
