"""One deliberately broken variant of each method of verification, and the test that catches it.

Each entry breaks a method in one place, as a careless change might; with that the named test of the
suite must fail.  docs/trust.md lists them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tests.distill import test_independent
from tests.verify import (
    test_affine,
    test_branch_and_bound,
    test_cells,
    test_dependence,
    test_lengths,
    test_neighbourhoods,
    test_paths,
    test_rounding,
    test_smt,
    test_vnnlib,
)
from tests.verify.recurrent import test_sequences
from verify import (
    affine,
    branch_and_bound,
    branching,
    cells,
    checker,
    dependence,
    lengths,
    neighbourhoods,
    paths,
    properties,
    rounding,
    sequences,
    smt,
)
from verify.recurrent import boxes, enclosures, exploration, induction


@dataclass(frozen=True)
class Broken:
    """`attribute` of a module is replaced by what `variant` makes of it; then `test` must fail."""

    method: str
    what: str
    module: ModuleType | type
    attribute: str
    variant: Callable[[Any], Any]
    test: Callable[..., None]
    arguments: tuple[Any, ...] = ()


def always(value: Any) -> Callable[[Any], Any]:
    return lambda original: lambda *args, **options: value


def nothing_wrong(original: Any) -> Any:
    def tally(*args: Any, **options: Any) -> Any:
        return replace(original(*args, **options), wrong=0, wrong_rows=())

    return tally


def all_certain(original: Any) -> Any:
    return lambda decode, answers, raw: np.ones(len(answers))


def zero_reach(original: Any) -> Any:
    return lambda regions, target, hidden: np.zeros(hidden.centre.shape)


def no_rounding(original: Any) -> Any:
    return lambda form, factor=1.0: form


def undecided_counts(original: Any) -> Any:
    def margins(*args: Any) -> Any:
        found, values = original(*args)
        return np.abs(found), values

    return margins


def middle_of_the_box(original: Any) -> Any:
    def mixed(*args: Any) -> Any:
        found = original(*args)
        middle = 0.5 * (found.low + found.high)
        return replace(found, low=middle, high=middle)

    return mixed


def constant_term_ignored(original: Any) -> Any:
    return lambda one, other: original(replace(one, constant=other.constant), other)


def ties_left_out(original: Any) -> Any:
    def agrees(value: Any, outputs: list[Any], decode: Any) -> Any:
        import z3

        gaps = [a != b for i, a in enumerate(outputs) for b in outputs[:i]]
        return z3.Implies(z3.And(*gaps), original(value, outputs, decode))

    return agrees


def second_part_lost(original: Any) -> Any:
    return lambda cell, line: original(cell, line)[:1]


def too_tight(original: Any) -> Any:
    return lambda *args, **options: original(*args, **options) + 10.0


def first_case_only(original: Any) -> Any:
    return lambda cases, *args: original(cases[:1], *args)


def nobody_asked(original: Any) -> Any:
    return lambda *args: (0, [])


def boxes_undoubted(original: Any) -> Any:
    return lambda self, rows, form: None


BROKEN = [
    Broken(
        "sequences",
        "answers are not compared with the enclosures",
        exploration,
        "slacks",
        all_certain,
        test_sequences.test_networks_with_a_changed_weight_are_not_proved_where_they_differ,
        ((0, 0),),
    ),
    Broken(
        "sequences",
        "doubtful words are not run",
        sequences,
        "_asked_of_runtime",
        nobody_asked,
        test_sequences.test_an_exception_that_the_network_makes_is_proved,
    ),
    Broken(
        "sequences (boxes)",
        "branches of the program that are not decided count as decided",
        boxes.Run,
        "doubt",
        boxes_undoubted,
        test_sequences.test_branches_on_whole_words_are_decided_box_by_box,
    ),
    Broken(
        "sequences (enclosures)",
        "the rounding of a step is left out",
        enclosures,
        "rounded",
        no_rounding,
        test_sequences.test_enclosures_have_room_for_what_float32_rounds,
    ),
    Broken(
        "invariants",
        "every region counts as reached from within",
        induction,
        "_reach",
        zero_reach,
        test_sequences.test_the_evidence_of_a_proof_for_all_lengths_is_checked_again,
    ),
    Broken(
        "dependence",
        "boxes that are not decided count as decided",
        dependence,
        "_margins",
        undecided_counts,
        test_dependence.test_a_soft_head_is_refused,
    ),
    Broken(
        "paths",
        "all words that lead to a state count as one of them",
        paths,
        "_mixed",
        middle_of_the_box,
        test_paths.test_words_that_lead_to_one_state_are_told_apart,
    ),
    Broken(
        "lengths",
        "disagreements are not counted",
        lengths,
        "tally",
        nothing_wrong,
        test_lengths.test_a_network_that_errs_late_is_refuted_on_its_shortest_error,
    ),
    Broken(
        "affine",
        "the constant term is not compared",
        affine,
        "_is_positive_multiple",
        constant_term_ignored,
        test_affine.test_mutants_are_not_proved,
        ("int(0.75 * a + 2 * b > 1e-300)",),
    ),
    Broken(
        "smt",
        "inputs on which outputs tie are left out",
        smt,
        "agrees",
        ties_left_out,
        test_smt.test_equality_at_a_tie_matters,
    ),
    Broken(
        "cells",
        "one part of every cell that is cut is lost",
        cells,
        "_cut",
        second_part_lost,
        test_cells.test_a_difference_at_a_small_corner_is_found,
    ),
    Broken(
        "branch_and_bound",
        "regions count as filling the box",
        branch_and_bound,
        "fills",
        always(True),
        test_branch_and_bound.test_evidence_is_checked_again_region_by_region_and_damage_is_noticed,
    ),
    Broken(
        "branch_and_bound",
        "bounds are better than they are",
        branching,
        "lower_values",
        too_tight,
        test_branch_and_bound.test_verdicts_never_contradict_a_grid,
        (0,),
    ),
    Broken(
        "neighbourhoods",
        "bounds are better than they are",
        neighbourhoods,
        "lower_values",
        too_tight,
        test_neighbourhoods.test_a_ball_with_the_other_label_inside_is_refused,
    ),
    Broken(
        "VNN-LIB",
        "only the first case of a disjunction is looked at",
        properties,
        "problem_of",
        first_case_only,
        test_vnnlib.test_answers_agree_with_a_grid,
        (0,),
    ),
    Broken(
        "rounding",
        "sums do not round",
        rounding.Setting,
        "gamma",
        lambda original: lambda self, terms: 0.0,
        test_rounding.test_exact_inputs_are_rounded_on_the_way,
        (0,),
    ),
    Broken(
        "rounding",
        "nothing overflows",
        rounding,
        "refuse_overflow",
        always(None),
        test_rounding.test_half_precision_overflow_and_unknown_operations_have_no_bound,
    ),
    Broken(
        "independent checker",
        "values are not compared",
        checker,
        "_same",
        always(True),
        test_independent.test_of_a_small_domain_every_input_is_run_whatever_the_evidence,
        ("smt",),
    ),
    Broken(
        "independent checker",
        "nothing is run alone",
        checker,
        "_steady",
        always(True),
        test_independent.test_a_value_that_depends_on_the_company_is_not_established,
    ),
]


@pytest.mark.parametrize("broken", BROKEN, ids=[f"{b.method}: {b.what}" for b in BROKEN])
def test_a_broken_method_is_caught(
    broken: Broken, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    arguments = list(broken.arguments)
    if "tmp_path" in broken.test.__code__.co_varnames[: broken.test.__code__.co_argcount]:
        arguments.insert(0, tmp_path)
    original = getattr(broken.module, broken.attribute)
    changed = broken.variant(original)
    monkeypatch.setattr(broken.module, broken.attribute, changed)
    for module in (test_rounding, test_cells):
        # Names that a test has imported for itself.
        if getattr(module, broken.attribute, None) is original:
            monkeypatch.setattr(module, broken.attribute, changed)
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        broken.test(*arguments)


def test_every_method_has_a_broken_variant() -> None:
    from verify.methods import METHODS

    covered = {broken.method.partition(" ")[0] for broken in BROKEN} | {"enumeration"}
    assert {name for name, _ in METHODS} <= covered
