"""The proposers, in the order in which they are tried.  One line each: a name and a module."""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from synth.problem import Proposer

PROPOSERS: tuple[tuple[str, str], ...] = (
    ("constant", "synth.tables"),
    ("recurrent", "synth.recurrent.proposer"),
    ("attention", "synth.attention.proposer"),
    ("residues", "synth.residues"),
    ("groups", "synth.groups"),
    ("templates", "synth.templates.proposer"),
    ("inequalities", "synth.inequalities.proposer"),
    ("lists", "synth.lists"),
    ("enumeration", "synth.expressions"),
    ("trees", "synth.trees"),
    ("affine", "synth.reals.affine"),
    ("decisions", "synth.reals.decisions"),
    ("lattices", "synth.reals.lattices"),
    ("hinges", "synth.reals.hinges"),
    ("formulas", "synth.reals.formulas"),
    ("table", "synth.finite_tables"),
)
"""(name, module); each module has `propose(problem) -> Iterator[Hypothesis]`, and gives up at once
by yielding nothing where it does not apply."""


def proposers(names: tuple[str, ...] = ()) -> Iterator[tuple[str, Proposer]]:
    """The proposers, or those named, imported when they are reached."""
    for name, module in PROPOSERS:
        if not names or name in names:
            yield name, importlib.import_module(module).propose
