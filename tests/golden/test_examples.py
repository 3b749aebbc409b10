"""The programs of the shipped examples, as they are expected, each with the verdict PROVED.

`pytest tests/golden --update-golden` writes them again; the difference belongs into a review.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from distill import emit, pipeline, task
from dsl.claim import Proved
from dsl.parser import equal_programs, parse
from dsl.printer import count_lines
from dsl.program import size
from dsl.types import Real
from verify import checker

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = sorted(path.parent for path in (ROOT / "examples").rglob("task.toml"))
EXAMPLES = [
    folder
    for folder in FOLDERS
    if not any(isinstance(kind, Real) for kind in task.read(folder).domain.types.values())
]
"""What is proven of those that read real numbers depends on the time there is."""


@pytest.mark.parametrize("folder", EXAMPLES, ids=lambda folder: folder.name)
def test_an_example_gives_its_expected_program_with_proof(
    folder: Path, request: pytest.FixtureRequest
) -> None:
    target = task.load(folder)
    result = pipeline.compile_target(target, seconds=120, seed=0)
    text = emit.program_text(result)
    assert isinstance(result.verdict, Proved)
    expected = Path(__file__).parent / f"{folder.name}.txt"
    if request.config.getoption("--update-golden"):
        expected.write_text(text, encoding="utf-8")
    assert text == expected.read_text(encoding="utf-8")
    program = parse(text)
    assert equal_programs(program, result.program)
    assert size(program) <= 25
    assert count_lines(program) <= 7
    outcome = checker.recheck(text, target, result.verdict.evidence)
    assert outcome.state == "holds"
    if target.domain.is_finite:
        assert outcome.digest == result.verdict.evidence["digest"]


def test_the_adder_is_proved_for_numbers_of_any_length() -> None:
    text = (Path(__file__).parent / "binary_addition.txt").read_text(encoding="utf-8")
    assert "PROVED  the program equals the network on a: seq(int[0..1], 1..), b: seq(" in text
    scope: dict[str, Any] = {}
    exec(text, scope)
    seven, nine = [1, 1, 1, 0], [1, 0, 0, 1]
    assert scope["program"](seven, nine) == [0, 0, 0, 0]
    assert scope["program"]([*seven, 0], [*nine, 0]) == [0, 0, 0, 0, 1]


def test_every_expected_program_belongs_to_an_example() -> None:
    names = {path.stem for path in Path(__file__).parent.glob("*.txt")}
    assert names == {folder.name for folder in EXAMPLES}
