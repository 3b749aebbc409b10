"""The one exception that a user sees."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where the finding is: a file or a text, and a line and column counted from one."""

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join(str(part) for part in (self.source, self.line, self.column) if part)


class DistillError(Exception):
    """A user's mistake: a code, the finding, its place and the remedy.

    `exit_code` is what the command returns: 2 usage, 4 model unreadable, 5 certificate stale.
    """

    def __init__(
        self,
        code: str,
        finding: str,
        *,
        place: Place | str | None = None,
        remedy: str = "",
        notes: tuple[str, ...] = (),
        exit_code: int = 2,
    ) -> None:
        super().__init__(finding)
        self.code = code
        self.finding = finding
        self.place = place
        self.remedy = remedy
        self.notes = notes
        self.exit_code = exit_code

    def __str__(self) -> str:
        lines = [f"error[{self.code}]: {self.finding}"]
        if self.place is not None:
            lines.append(f"  --> {self.place}")
        lines += [f"  = {note}" for note in self.notes]
        if self.remedy:
            lines.append(f"  = help: {self.remedy}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuilt, (
            self.code,
            self.finding,
            self.place,
            self.remedy,
            self.notes,
            self.exit_code,
        )


def _rebuilt(
    code: str,
    finding: str,
    place: Place | str | None,
    remedy: str,
    notes: tuple[str, ...],
    exit_code: int,
) -> DistillError:
    return DistillError(code, finding, place=place, remedy=remedy, notes=notes, exit_code=exit_code)
