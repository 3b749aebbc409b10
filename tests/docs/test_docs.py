"""What the documentation says is true: its blocks run, its links lead somewhere, its generated
pages are current."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.docs.blocks import ROOT, blocks, run_page
from tests.docs.conftest import SLOW, runs_slow

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md"])


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def page_cases() -> list[Any]:
    """The pages with blocks; those of `SLOW` are left to `make docs-test`."""
    return [
        pytest.param(page, id=name_of(page), marks=[pytest.mark.slow_docs] * (page.name in SLOW))
        for page in PAGES
        if page.parent != ROOT
    ]


@pytest.mark.parametrize("page", page_cases())
def test_every_block_of_a_page_runs(
    page: Path, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run_page(page, tmp_path, slow=runs_slow(request.config))


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_within_the_repository_leads_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
    links = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text)
    local = [link for link in links if not re.match(r"[a-z]+:", link)]
    assert [link for link in local if not (page.parent / link).exists()] == []


def test_a_block_that_is_not_run_says_why() -> None:
    silent = [
        block.place
        for page in PAGES
        for block in blocks(page)
        if "not run" in block.notes and not block.notes["not run"]
    ]
    assert silent == []


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_generated_pages_are_current(generate: ModuleType) -> None:
    stale = [
        name_of(path)
        for path, text in generate.pages().items()
        if not path.is_file() or path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "run `python docs/generate.py`"


def test_results_become_a_page(generate: ModuleType, tmp_path: Path) -> None:
    good = {
        "name": "one",
        "suite": "small",
        "verdict": "PROVED",
        "method": "enumeration",
        "agreement": 1.0,
        "samples": 169,
        "nodes": 5,
        "lines": 2,
        "seconds": 1.5,
        "error": "",
    }
    bad = {**good, "name": "two", "verdict": "ERROR", "method": "", "agreement": 0.0}
    bad |= {"error": "it ran past its time", "nodes": None, "lines": None}
    (tmp_path / "results.json").write_text(json.dumps([bad, good]))
    text = generate.benchmarks([tmp_path / "results.json"])
    assert "| small | 2 | 1 | 1 | 0 | 0 | 0 | 1 | 1.5 |" in text
    assert "| one | PROVED | enumeration | 100.000 % | 169 | 5 | 2 | 1.5 |" in text
    assert "| two | ERROR | it ran past its time | 0.000 % | 169 | - | - | 1.5 |" in text
