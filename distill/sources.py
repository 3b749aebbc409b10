"""Programs as files that a user or a certificate names."""

from __future__ import annotations

from pathlib import Path

from dsl.errors import DistillError


def text_of(path: Path, code: str = "D001") -> str:
    """The text of a program's file; the code is that of the error where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        reason = f"is no text in UTF-8: {error.reason} at byte {error.start}"
    except FileNotFoundError:
        reason = "is not there"
    except OSError as error:
        reason = f"cannot be read: {error.strerror}"
    raise DistillError(code, f"{path.name} {reason}", place=str(path))
