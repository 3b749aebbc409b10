"""What a run has found so far, on disk at all times.

`journal.jsonl` in the output folder holds one line for each hypothesis that was kept, and
`best_so_far.py` the best of them.  Both survive a kill at any point: a line that was torn is left
out, and the program is written whole or not at all.  A run of the same claim in the same folder
begins with what the journal holds; a finished run removes both.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dsl.errors import DistillError

JOURNAL, BEST, LOCK = "journal.jsonl", "best_so_far.py", ".distill.lock"
_MOST = 40
_LARGEST_EVIDENCE = 100_000


@dataclass
class Journal:
    """The open journal of a run; call it with the events of the pipeline."""

    folder: Path
    key: str = ""
    file: IO[str] | None = None
    earlier: tuple[Mapping[str, Any], ...] = ()
    best: Any = None
    known: set[str] = field(default_factory=set)
    full: bool = False
    interrupted: bool = False

    def begin(self, key: str) -> None:
        """Starts writing for a claim; keeps what an earlier run of the same claim left."""
        self.key = key
        self.earlier = read(self.folder / JOURNAL, key)
        mode = "a" if self.earlier else "w"
        try:
            self.file = (self.folder / JOURNAL).open(mode, encoding="utf-8")
        except OSError as error:
            raise _unwritable(self.folder, error) from None
        self.known = {str(row["program"]) for row in self.earlier}
        if mode == "w":
            self.line({"claim": key})
        else:
            # The line that a kill tore ends here.
            self.write("\n")

    def hypotheses(self) -> tuple[Any, ...]:
        """What an earlier run left, the best first, as hypotheses."""
        from dsl.claim import Hypothesis
        from dsl.parser import parse

        rows = sorted(self.earlier, key=lambda row: (row["disagreement"], row["size"]))[:_MOST]
        return tuple(
            Hypothesis(
                parse(str(row["program"]), JOURNAL),
                str(row["proposer"]),
                evidence=row.get("evidence") or {},
            )
            for row in rows
        )

    def __call__(self, phase: str, figures: Mapping[str, Any]) -> None:
        if phase == "interrupted":
            self.interrupted = True
        if phase != "hypothesis" or self.file is None:
            return
        from dsl.printer import to_python

        entry, best = figures["entry"], figures["best"]
        text = to_python(entry.program)
        if text not in self.known:
            self.known.add(text)
            self.line(_row(entry, text))
        if best is not self.best:
            self.best = best
            self.keep(best)

    def keep(self, best: Any) -> None:
        from distill.certificate import write_text
        from dsl.printer import to_python

        verdict = "not verified" if best.verdict is None else type(best.verdict).__name__.upper()
        agrees = f"agrees on {100 * (1 - best.disagreement):.4f} % of what was observed"
        text = to_python(best.program, f"The best program so far: {agrees}; {verdict}.")
        try:
            write_text(self.folder / BEST, text)
        except DistillError:
            self.full = True

    def line(self, row: Mapping[str, Any]) -> None:
        body = json.dumps(row, ensure_ascii=True, sort_keys=True)
        self.write(f"{_check(body)} {body}\n")

    def write(self, text: str) -> None:
        """A disk that is full ends the journal, not the run."""
        if self.file is None or self.full:
            return
        try:
            self.file.write(text)
            self.file.flush()
            os.fsync(self.file.fileno())
        except OSError:
            self.full = True

    def finish(self) -> None:
        """Removes what only an unfinished run needs."""
        if self.file is not None:
            self.file.close()
            self.file = None
        for name in (JOURNAL, BEST, LOCK):
            (self.folder / name).unlink(missing_ok=True)


@contextmanager
def opened(folder: Path) -> Iterator[Journal]:
    """The journal of an output folder, which no other run may write to meanwhile.

    Raises D130 where the folder cannot be written, D139 where another run is at work in it.
    """
    before = folder.is_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a+", encoding="utf-8")
    except OSError as error:
        raise _unwritable(folder, error) from None
    with lock:
        # A run that has just finished removes its lock: then this one is of no file.
        if not _taken(lock) or not _is_of(lock, folder / LOCK):
            lock.seek(0)
            raise DistillError(
                "D139",
                f"another run writes to {folder} (process {lock.read().strip() or 'unknown'})",
                place=str(folder),
                remedy="wait for it, or choose another folder with --out",
            )
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        journal = Journal(folder)
        try:
            yield journal
        finally:
            if journal.file is not None:
                journal.file.close()
            if _is_of(lock, folder / LOCK):
                (folder / LOCK).unlink()
            if not before:
                # A run that was refused leaves nothing behind; what is not empty stays.
                with suppress(OSError):
                    folder.rmdir()


def _taken(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_of(lock: IO[str], path: Path) -> bool:
    try:
        return os.fstat(lock.fileno()).st_ino == path.stat().st_ino
    except OSError:
        return False


def read(path: Path, key: str) -> tuple[Mapping[str, Any], ...]:
    """The hypotheses in a journal of the same claim; torn or foreign lines are left out."""
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ()
    rows: list[Mapping[str, Any]] = []
    claim = None
    for line in lines:
        check, _, body = line.partition(" ")
        if check != _check(body):
            continue
        row = json.loads(body)
        if "claim" in row:
            claim = row["claim"]
        elif {"program", "proposer", "size", "disagreement"} <= set(row):
            rows.append(row)
    return tuple(rows) if claim == key else ()


def key_of(target: Any, seed: int) -> str:
    """What a run is about: the weights, the claim, the seed."""
    text = repr((target.fingerprint, str(target.domain), target.claim, seed))
    return hashlib.sha256(text.encode()).hexdigest()


def _row(entry: Any, text: str) -> dict[str, Any]:
    from distill.certificate import plain

    evidence = plain(dict(entry.hypothesis.evidence))
    if len(json.dumps(evidence)) > _LARGEST_EVIDENCE:
        evidence = {}
    return {
        "program": text,
        "proposer": entry.hypothesis.proposer,
        "size": entry.size,
        "disagreement": entry.disagreement,
        "verdict": None if entry.verdict is None else type(entry.verdict).__name__,
        "evidence": evidence,
    }


def _check(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _unwritable(folder: Path, error: OSError) -> DistillError:
    return DistillError(
        "D130",
        f"{folder} cannot be written: {error.strerror}",
        place=str(folder),
        remedy="choose another folder with --out",
    )
