"""Imports point down, light commands stay light, and the wheel holds what it should."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("distill", "dsl", "synth", "verify")
ALLOWED = {
    "dsl": {"dsl"},
    "synth": {"synth", "dsl"},
    "verify": {"verify", "dsl"},
    "distill": set(PACKAGES),
}
HEAVY = ("torch", "jax", "z3", "networkx", "onnx", "onnxruntime", "transformers", "scipy", "lark")
FRAMEWORKS = {"torch", "jax", "onnx", "onnxruntime", "transformers", "safetensors"}


def imported(path: Path) -> set[str]:
    """The top-level names of every import in a file, also those inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Import(names):
                found |= {alias.name.split(".")[0] for alias in names}
            case ast.ImportFrom(module=str(module), level=0):
                found.add(module.split(".")[0])
            case ast.ImportFrom(level=level) if level > 0:
                pytest.fail(f"{path.name} has a relative import")
    return found


def files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_down(package: str) -> None:
    upward = {
        f"{path.relative_to(ROOT)} imports {name}"
        for path in files(package)
        for name in imported(path) & set(PACKAGES) - ALLOWED[package]
    }
    assert upward == set()


def test_the_language_knows_no_frameworks() -> None:
    known = {str(path): imported(path) & FRAMEWORKS for path in files("dsl")}
    assert {path: names for path, names in known.items() if names} == {}


def test_programs_and_benchmarks_are_not_imported_by_the_packages() -> None:
    for package in PACKAGES:
        for path in files(package):
            assert not imported(path) & {"benchmarks", "tests", "examples"}, path


def python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return done.stdout


@pytest.mark.parametrize(
    "code",
    [
        "import distill",
        "import distill.cli\ntry: distill.cli.main(['--help'])\nexcept SystemExit: pass",
        "import distill.cli\ntry: distill.cli.main(['compile', '--help'])\nexcept SystemExit: pass",
        "import distill.cli; distill.cli.main(['explain', 'D201'])",
    ],
)
def test_light_commands_import_nothing_heavy(code: str) -> None:
    tail = f"\nimport sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert python(code + tail).strip().splitlines()[-1] == "[]"


def test_help_takes_little_longer_than_python_itself() -> None:
    def seconds(arguments: list[str]) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, *arguments], capture_output=True, cwd=ROOT, check=True)
        return time.perf_counter() - started

    # In turns, and the least of each: neighbours on the machine slow both.
    pairs = [(seconds(["-m", "distill", "--help"]), seconds(["-c", "pass"])) for _ in range(7)]
    assert min(help_ for help_, _ in pairs) < 5 * min(bare for _, bare in pairs)


def test_a_defect_of_our_own_ends_with_70_and_asks_to_be_reported() -> None:
    code = "import distill.cli as c; c._parser = lambda: 1 / 0; c.command()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 70
    assert "ZeroDivisionError" in done.stderr
    assert done.stderr.splitlines()[-1] == (
        "internal error: this is a defect of distill; please report the lines above"
    )


def test_every_public_name_can_be_reached() -> None:
    import distill

    assert all(getattr(distill, name) is not None for name in distill.__all__)
    assert set(distill.__all__) <= set(dir(distill))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        distill.nothing  # noqa: B018


def test_the_wheel_holds_the_four_packages_only() -> None:
    """The names that setuptools would pack, by its own configuration."""
    from setuptools import find_packages

    table = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    include = table["tool"]["setuptools"]["packages"]["find"]["include"]
    found = find_packages(str(ROOT), include=include)
    assert {name.split(".")[0] for name in found} == set(PACKAGES)
    missing = {
        str(path.parent.relative_to(ROOT)).replace("/", ".")
        for package in PACKAGES
        for path in files(package)
    } - set(found)
    assert missing == set()
    assert table["project"]["scripts"] == {"distill": "distill.cli:command"}


def test_no_name_of_this_distribution_is_a_module_that_python_has() -> None:
    assert not set(PACKAGES) & set(sys.stdlib_module_names)


def test_every_code_that_is_raised_has_a_page() -> None:
    import re

    from distill.explain import PAGES

    raised = {
        code
        for package in PACKAGES
        for path in files(package)
        for code in re.findall(r'"(D\d{3})"', path.read_text(encoding="utf-8"))
    }
    assert raised - set(PAGES) == set()
