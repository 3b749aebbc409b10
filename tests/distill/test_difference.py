"""Programs and checkpoints compared with each other."""

from __future__ import annotations

from pathlib import Path

import pytest

from distill import cli, task
from distill.difference import Side, difference
from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.parser import parse
from tests.distill.networks import affine


def side(name: str, body: str, inputs: str = "a, b") -> Side:
    return Side(name, parse(f"def program({inputs}):\n    return {body}\n"))


def test_equal_programs_are_equal_on_every_input() -> None:
    found = difference(side("x", "a + b"), side("y", "b + a"), Domain("a: int[0..9], b: int[0..9]"))
    assert found.equal
    assert str(found) == (
        "EQUAL  x and y give the same on all 100 inputs of a: int[0..9], b: int[0..9]"
    )


def test_where_programs_differ_is_counted_and_shown_the_smallest_first() -> None:
    domain = Domain("a: int[0..9], b: int[0..9] where a < b")
    found = difference(side("x", "a + b"), side("y", "a + b + (b == 7)"), domain)
    assert (found.different, found.compared, found.complete) == (7, 45, True)
    assert str(found).splitlines()[:2] == [
        "DIFFERENT  on 7 of 45 inputs (15.6 %)",
        "  = input  a=0, b=7: x gives 7, y 8",
    ]
    assert found.ranges == {"a": (0, 6), "b": (7, 7)}


def test_a_program_without_a_value_differs_from_one_with_a_value() -> None:
    domain = Domain("a: int[0..3], b: int[0..3]")
    found = difference(side("x", "a // b"), side("y", "0"), domain)
    assert found.examples[0].inputs == {"a": 0, "b": 0}
    assert found.examples[0].first is None
    assert difference(side("x", "a // b"), side("z", "a // b"), domain).equal


def test_random_inputs_prove_nothing() -> None:
    domain = Domain("a: real[0,1], b: real[0,1]")
    found = difference(side("x", "a + b"), side("y", "b + a"), domain)
    assert not found.equal
    assert found.different == 0
    assert str(found).startswith("TESTED  no difference on 200 000 random inputs")


def test_a_program_with_other_inputs_is_refused() -> None:
    with pytest.raises(DistillError, match="x takes c, the domain gives a, b") as raised:
        difference(side("x", "c", "c"), side("y", "a"), Domain("a: int[0..3], b: int[0..3]"))
    assert raised.value.code == "D137"


def test_an_old_and_a_new_checkpoint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = affine(tmp_path / "old", last=9), affine(tmp_path / "new", 4.5, last=9)
    assert cli.main(["diff", str(old), str(new), "--quiet"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "DIFFERENT  on 44 of 1 000 inputs (4.4 %)"
    assert lines[1] == f"  = input  a=0, b=2, c=0: {old} gives 1, {new} 0"
    assert lines[-1].startswith("  = note   1 of ")
    assert cli.main(["diff", str(old), str(old / "model.pt2"), "--quiet"]) == 0
    assert "no part of the checkpoint differs" in capsys.readouterr().out


def test_a_program_against_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = affine(tmp_path / "net", last=9)
    program = tmp_path / "mine.py"
    program.write_text("def program(a, b, c):\n    return int(a + 2 * b - c > 3)\n")
    assert cli.main(["diff", str(program), str(folder), "--quiet"]) == 0
    program.write_text("def program(a, b, c):\n    return int(a + 2 * b > c + 4)\n")
    assert cli.main(["diff", str(program), str(folder), "--quiet", "--json"]) == 1
    assert '"kind": "DIFFERENT"' in capsys.readouterr().out


def test_the_raw_outputs_of_two_networks_are_compared_too(tmp_path: Path) -> None:
    domain = Domain("a: int[0..9], b: int[0..9], c: int[0..9]")
    sides = [
        Side(name, task.load(affine(tmp_path / name, limit, last=9)))
        for name, limit in (("one", 3.5), ("two", 3.25))
    ]
    found = difference(sides[0], sides[1], domain)
    assert found.equal
    assert found.raw == 0.25
