"""`distill search` and `distill report` on the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from distill import cli
from distill.workbench import hypothesis_of
from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.printer import to_python
from tests.distill.networks import affine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return affine(tmp_path_factory.mktemp("task") / "affine", last=9)


def test_hypotheses_of_the_user_are_ranked_with_the_others(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["search", str(folder), "--time", "20s", "--quiet"]
    arguments += ["--hypothesis", "int(a + 2 * b - c > 3)", "--hypothesis", "int(a > c)"]
    assert cli.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "return int(a + 2 * b - c > 3)" in lines[1] or "PROVED" in lines[1]
    mine = [line for line in lines if line.startswith(" yours")]
    assert len(mine) == 2
    assert "PROVED" in mine[0]
    assert "REFUTED" in mine[1]
    assert any(line.startswith("  = input  a=0, b=2, c=0: int(a > c) gives 0") for line in lines)


def test_the_ranking_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["search", str(folder), "--time", "20s", "--quiet", "--json"]
    assert cli.main([*arguments, "--hypothesis", "int(a + 2 * b - c > 3)"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows[0]["verdict"] == "PROVED"
    assert {"size", "bits", "disagreement", "proposer", "program"} < set(rows[0])


def test_a_hypothesis_is_an_expression_or_a_file(tmp_path: Path) -> None:
    domain = Domain("a: int[0..9], b: int[0..9]")
    expression = hypothesis_of("a + b", domain)
    assert to_python(expression) == "def program(a, b):\n    return a + b\n"
    path = tmp_path / "mine.py"
    path.write_text("def program(a, b):\n    c = a * b\n    return c\n")
    assert to_python(hypothesis_of(str(path), domain)) == path.read_text()


@pytest.mark.parametrize(
    ("text", "code"), [("a +", "D101"), ("a + zebra", "D101"), ("missing.py", "D001")]
)
def test_what_is_no_hypothesis_is_refused(text: str, code: str) -> None:
    with pytest.raises(DistillError) as raised:
        hypothesis_of(text, Domain("a: int[0..9], b: int[0..9]"))
    assert raised.value.code == code
