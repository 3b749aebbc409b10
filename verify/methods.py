"""The methods of proof, in the order in which they are tried.  One line each."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any, Protocol

from dsl.claim import Target, Verdict
from dsl.program import Program

METHODS: tuple[tuple[str, str], ...] = (
    ("sequences", "verify.sequences"),
    ("invariants", "verify.invariants"),
    ("enumeration", "verify.enumeration"),
    ("dependence", "verify.dependence"),
    ("paths", "verify.paths"),
    ("lengths", "verify.lengths"),
    ("affine", "verify.affine"),
    ("smt", "verify.smt"),
    ("cells", "verify.cells"),
    ("branch_and_bound", "verify.branch_and_bound"),
)
"""(name, module); each module has `verify`, which answers None where it does not apply."""


class Method(Protocol):
    """`verify` of a module in verify/."""

    def __call__(
        self,
        program: Program,
        target: Target,
        *,
        deadline: float,
        seed: int,
        evidence: Mapping[str, Any],
    ) -> Verdict | None: ...


def methods(names: tuple[str, ...] = ()) -> Iterator[tuple[str, Method]]:
    """The methods, or those named, imported when they are reached."""
    for name, module in METHODS:
        if not names or name in names:
            yield name, importlib.import_module(module).verify
