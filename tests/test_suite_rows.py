"""What the suite runner says is proven of programs that are not proved."""

from __future__ import annotations

from benchmarks.suite import proven_domain


def test_a_proof_holds_on_its_domain() -> None:
    assert proven_domain({"kind": "PROVED", "proven_domain": "x: int[0..9]"}) == "x: int[0..9]"


def test_shares_of_the_volume_are_told_for_programs_that_differ_somewhere() -> None:
    evidence = {"proven": 0.9731, "refuted": 0.001, "open": 0.0259}
    row = proven_domain({"kind": "REFUTED", "evidence": evidence})
    assert row == "97.31 % of the volume, 0.10 % differ"


def test_a_bound_of_the_distance_holds_everywhere_or_on_a_share() -> None:
    bound = {"within": 0.4, "within_proven": 1.0, "within_open": 0.0, "largest_difference": 0.5}
    assert proven_domain({"kind": "REFUTED", "evidence": bound}) == "within 0.4 everywhere"
    part = {"within": 0.4, "within_proven": 0.75, "within_open": 0.25}
    row = proven_domain({"kind": "REFUTED", "evidence": part})
    assert row == "within 0.4 on 75.00 % of the volume"


def test_of_a_refuted_program_it_is_told_up_to_which_length_it_nearly_always_holds() -> None:
    near = {"length": 134, "samples": 9010, "disagreements": 2}
    beyond = {"samples": 10_000, "disagreements": 25, "nearly_all": near}
    evidence = {"agrees_up_to_length": 2, "beyond": beyond}
    assert proven_domain({"kind": "REFUTED", "evidence": evidence}) == (
        "agrees on all inputs of up to 2 items, 99.75 % of 10000 longer ones, "
        "at least 99.9 % of 9010 of up to 134 items"
    )


def test_nothing_is_said_where_nothing_is_proven() -> None:
    assert proven_domain({"kind": "UNKNOWN", "evidence": {"proven": 0.0}}) == ""
