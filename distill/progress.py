"""What a run shows while it lasts: a live display on a terminal, lines elsewhere, or JSON events.

Everything goes to stderr.  The first line comes before anything heavy is imported, and a sign of
life at least every five seconds, saying what is being tried.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol, TextIO

HEARTBEAT = 5.0
_REFRESH = 0.5


@dataclass
class State:
    """What is known of a run so far; `best` is an entry of the pipeline."""

    model: str = ""
    phase: str = "read"
    doing: str = ""
    budget: float | None = None
    best: Any = None
    tried: int = 0
    done: int = 0
    total: int | None = None
    started: float = 0.0

    @property
    def spent(self) -> float:
        return time.monotonic() - self.started

    @property
    def left(self) -> float | None:
        return None if self.budget is None else max(0.0, self.budget - self.spent)

    @property
    def share(self) -> float | None:
        """The part of the present work that is done; None where its size is unknown."""
        return self.done / self.total if self.total else None


class Display(Protocol):
    """Where a run is shown; called under a lock, also from the thread of the heartbeat."""

    interval: float

    def event(self, name: str, figures: Mapping[str, Any], state: State) -> None: ...

    def beat(self, state: State) -> None: ...

    def close(self) -> None: ...


class Progress:
    """A pipeline's `Report` that keeps the state and beats; used as a context manager."""

    def __init__(self, display: Display | None) -> None:
        self.display = display
        self.state = State(started=time.monotonic())
        self._lock = threading.RLock()
        self._stop = threading.Event()
        self._last = time.monotonic()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Progress:
        if self.display is not None:
            self._thread = threading.Thread(target=self._beat, daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        if self.display is not None:
            self.display.close()

    def __call__(self, name: str, figures: Mapping[str, Any]) -> None:
        with self._lock:
            state = self.state
            changed = noted(state, name, figures)
            if self.display is not None and changed:
                self.display.event(name, figures, state)
                self._last = time.monotonic()

    def _beat(self) -> None:
        assert self.display is not None
        while not self._stop.wait(min(self.display.interval, _REFRESH)):
            with self._lock:
                if time.monotonic() - self._last >= self.display.interval:
                    self.display.beat(self.state)
                    self._last = time.monotonic()


def noted(state: State, name: str, figures: Mapping[str, Any]) -> bool:
    """Takes an event into the state; is it worth a line?"""
    match name:
        case "started":
            state.model, state.budget = str(figures["model"]), figures.get("budget")
            state.phase, state.doing = "read", state.model
        case "observed":
            state.phase, state.done, state.total = "evaluate", 0, None
            state.doing = f"{figures['inputs']} inputs"
        case "proposer":
            state.phase, state.doing = "search", str(figures["name"])
            state.done, state.total = 0, None
        case "verify":
            state.phase, state.doing = "verify", str(figures["method"])
            state.done, state.total = 0, None
        case "work":
            state.done, state.total = int(figures["done"]), figures.get("total")
            return False
        case "hypothesis":
            state.tried = int(figures.get("tried", state.tried))
            better = figures["best"] is not state.best
            state.best = figures["best"]
            return better
    return True


def opened(*, quiet: bool, json_events: bool, stream: TextIO | None = None) -> Progress:
    """The progress that suits the stream: none, JSON events, a live display, or lines."""
    stream = sys.stderr if stream is None else stream
    if json_events:
        return Progress(Events(stream))
    if quiet:
        return Progress(None)
    if stream.isatty() and os.environ.get("TERM", "") != "dumb":
        return Progress(Live(stream))
    return Progress(Lines(stream))


def described(name: str, figures: Mapping[str, Any], state: State) -> tuple[str, str] | None:
    """An event as a phase and words; None for events without words."""
    match name:
        case "started":
            return "read", state.model
        case "observed":
            what = "all" if figures["complete"] else "a sample"
            return "evaluate", f"{figures['inputs']} inputs ({what})"
        case "proposer":
            return "search", str(figures["name"])
        case "verify":
            return "verify", str(figures["method"])
        case "hypothesis":
            return "best", best_words(state)
        case "interrupted":
            return "stopped", "interrupted; the best so far is kept"
    return None


def best_words(state: State) -> str:
    """The best program so far in one line."""
    if state.best is None:
        return "nothing yet"
    from dsl.printer import body_lines

    body = body_lines(state.best.program)
    text = body[0].strip() if len(body) == 1 else f"{len(body)} lines"
    agrees = 100 * (1 - state.best.disagreement)
    return f"size {state.best.size}: {text[:60]}  agrees {agrees:.2f} %"


def alive(state: State) -> str:
    """What is being done, how far it is, and what is left, in one line."""
    parts = [f"{state.phase} {state.doing}".strip()]
    if state.share is not None:
        parts.append(f"{100 * state.share:.0f} % done")
    if state.tried:
        parts.append(f"{state.tried} candidates, {state.tried / max(state.spent, 1e-9):.0f}/s")
    if state.left is not None:
        parts.append(f"{state.left:.0f} s left")
    return ", ".join(parts)


class Lines:
    """A line for each phase, each better program, and each heartbeat."""

    interval = HEARTBEAT

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def event(self, name: str, figures: Mapping[str, Any], state: State) -> None:
        words = described(name, figures, state)
        if words is not None:
            self.line(*words, state.spent)

    def beat(self, state: State) -> None:
        self.line("...", alive(state), state.spent)

    def line(self, phase: str, text: str, spent: float) -> None:
        print(f"  {phase:<9} {text:<66} {f'{spent:.1f}s':>7}", file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing is left open."""


class Events:
    """One JSON object a line: `event`, `seconds`, and the event's figures."""

    interval = HEARTBEAT

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def event(self, name: str, figures: Mapping[str, Any], state: State) -> None:
        if name == "hypothesis":
            figures = _entry_table(state)
        self.write(name, figures, state)

    def beat(self, state: State) -> None:
        figures = {"phase": state.phase, "doing": state.doing, "tried": state.tried}
        self.write("alive", {**figures, "share": state.share, "left": state.left}, state)

    def write(self, name: str, figures: Mapping[str, Any], state: State) -> None:
        from distill.certificate import plain

        row = {"event": name, "seconds": round(state.spent, 3), **plain(dict(figures))}
        print(json.dumps(row), file=self.stream, flush=True)

    def close(self) -> None:
        """Nothing is left open."""


def _entry_table(state: State) -> dict[str, Any]:
    from dsl.printer import to_python

    best = state.best
    return {
        "size": best.size,
        "disagreement": best.disagreement,
        "proposer": best.hypothesis.proposer,
        "verdict": None if best.verdict is None else type(best.verdict).__name__.upper(),
        "program": to_python(best.program),
        "tried": state.tried,
    }


class Live:
    """A few lines that are drawn again in place, by rich."""

    interval = _REFRESH

    def __init__(self, stream: TextIO) -> None:
        # rich takes a tenth of a second to import: the first line is written before.
        self.stream = stream
        self.live: Any = None
        print("  starting", file=stream, end="\r", flush=True)

    def event(self, name: str, figures: Mapping[str, Any], state: State) -> None:
        live = self._opened()
        if name in ("started", "observed", "interrupted"):
            words = described(name, figures, state)
            if words is not None:
                live.console.print(f"  {words[0]:<9} {words[1]}", highlight=False, markup=False)
        live.update(self._drawn(state), refresh=True)

    def beat(self, state: State) -> None:
        self._opened().update(self._drawn(state), refresh=True)

    def close(self) -> None:
        if self.live is not None:
            self.live.stop()

    def _opened(self) -> Any:
        if self.live is None:
            from rich.console import Console
            from rich.live import Live as RichLive

            console = Console(file=self.stream)
            self.live = RichLive(console=console, auto_refresh=False, transient=True)
            self.live.start()
        return self.live

    def _drawn(self, state: State) -> Any:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table = Table.grid(padding=(0, 2))
        table.add_row("", Text(state.phase, style="bold"), Text(state.doing))
        if state.total:
            bar = ProgressBar(total=float(state.total), completed=float(state.done), width=30)
            table.add_row("", "done", bar)
        table.add_row("", "best", Text(best_words(state), overflow="ellipsis", no_wrap=True))
        rate = state.tried / max(state.spent, 1e-9)
        table.add_row("", "tried", Text(f"{state.tried} candidates, {rate:.0f} a second"))
        left = "" if state.left is None else f", {state.left:.0f} s left"
        table.add_row("", "time", Text(f"{state.spent:.0f} s{left}", style="dim"))
        return Group(table)
