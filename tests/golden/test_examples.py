"""The programs of the shipped examples, as they are expected, each with the verdict PROVED.

`pytest tests/golden --update-golden` writes them again; the difference belongs into a review.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from distill import emit, pipeline, task
from dsl.claim import Proved
from dsl.parser import equal_programs, parse
from dsl.printer import count_lines
from dsl.program import size
from verify import checker

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDERS = sorted(path.parent for path in (ROOT / "examples").rglob("task.toml"))
EXAMPLES = [folder for folder in FOLDERS if task.read(folder).domain.raw_size is not None]
"""Those with finitely many inputs; what is proven of the others depends on the time there is."""


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
    assert size(program) <= 15
    assert count_lines(program) <= 5
    outcome = checker.recheck(text, target, result.verdict.evidence)
    assert outcome.state == "holds"
    assert outcome.digest == result.verdict.evidence["digest"]


def test_every_expected_program_belongs_to_an_example() -> None:
    names = {path.stem for path in Path(__file__).parent.glob("*.txt")}
    assert names == {folder.name for folder in EXAMPLES}
