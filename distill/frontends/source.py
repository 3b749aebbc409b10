"""Where a model lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Source:
    """A model on disk: its file and folder, and what was said of it besides."""

    folder: Path
    model: Path
    arch: str = ""
    dtype: str = "float32"
