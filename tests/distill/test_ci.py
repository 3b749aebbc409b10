"""The example repository of examples/ci: a change of a weight fails, with the counterexample."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from distill import cli

ROOT = Path(__file__).resolve().parent.parent.parent
CI = ROOT / "examples" / "ci"


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the example, in which the tests stand."""
    shutil.copytree(CI, tmp_path / "ci")
    monkeypatch.chdir(tmp_path / "ci")
    return tmp_path / "ci"


def trained_again(slope: str) -> None:
    subprocess.run([sys.executable, "train.py", slope], check=True, capture_output=True)


def test_the_example_holds_as_it_is_shipped(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check"]) == 0
    assert capsys.readouterr().out.startswith("checked 1 certificate: 1 hold")


def test_a_changed_weight_is_annotated_with_the_counterexample(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained_again("2.04")
    assert cli.main(["check", "--output-format", "github"]) == 1
    out = capsys.readouterr().out
    assert out.startswith("::error file=rule/certificate.json,line=1,title=D201::D201: the program")
    assert "input    a=26, b=13" in out
    assert "%0Achanged since the certificate: weight" in out


def test_the_formats_say_the_same(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trained_again("2.04")

    def printed(form: str) -> str:
        assert cli.main(["check", "--output-format", form]) == 1
        return capsys.readouterr().out

    sarif = json.loads(printed("sarif"))
    (result,) = sarif["runs"][0]["results"]
    assert (sarif["version"], result["ruleId"], result["level"]) == ("2.1.0", "D201", "error")
    assert "a=26, b=13" in result["message"]["text"]
    suite = ElementTree.fromstring(printed("junit"))
    assert (suite.get("tests"), suite.get("failures")) == ("1", "1")
    assert "a=26, b=13" in (suite[0][0].text or "")
    (row,) = json.loads(printed("json"))
    assert (row["state"], row["error"]) == ("broken", "D201")
    assert row["verdict"]["counterexample"]["inputs"] == {"a": 26, "b": 13}
    assert printed("text").startswith("checked 1 certificate: 0 hold, 1 broken")


def test_the_independent_checker_says_the_same(
    repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check", "--independent"]) == 0
    trained_again("2.04")
    assert cli.main(["check", "--independent"]) == 1
    assert "input    a=26, b=13" in capsys.readouterr().err


def pytest_run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # By name and alone: an installed copy would register itself a second time.
    command = [sys.executable, "-m", "pytest", "-p", "distill.pytest_plugin", *arguments]
    environment = {**__import__("os").environ, "PYTHONPATH": str(ROOT)}
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def test_pytest_comes_across_certificates_by_itself(repository: Path) -> None:
    done = pytest_run("-q", "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
    trained_again("2.04")
    done = pytest_run("-q", "-p", "no:cacheprovider", "--junitxml=report.xml")
    assert done.returncode == 1
    assert "error[D201]: the program disagrees with the model" in done.stdout
    assert "a=26, b=13" in (repository / "report.xml").read_text()


def test_the_action_and_the_hook_run_the_command() -> None:
    action = (ROOT / "action.yml").read_text(encoding="utf-8")
    assert "distill check --output-format github" in action
    assert "entry: distill check" in (ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8")
    table = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert 'distill = "distill.pytest_plugin"' in table
