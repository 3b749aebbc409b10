"""A compiler from trained networks to short, readable, proven programs.

import distill

result = distill.compile(distill.load("addmod.pt2"), "a: int[0..112], b: int[0..112]")
print(result)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distill.api import Model, Result, compile, load, search
    from distill.checking import check
    from distill.inspection import statistics
    from dsl.domain import Domain
    from dsl.errors import DistillError

__version__ = "0.1.0"
__all__ = [
    "DistillError",
    "Domain",
    "Model",
    "Result",
    "check",
    "compile",
    "load",
    "search",
    "statistics",
]

_HOMES = {
    "Domain": "dsl.domain",
    "DistillError": "dsl.errors",
    "check": "distill.checking",
    "statistics": "distill.inspection",
    **dict.fromkeys(("Model", "Result", "compile", "load", "search"), "distill.api"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'distill' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
