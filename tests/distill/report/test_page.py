"""The page as a whole, read by a parser and by a browser."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from benchmarks import browser
from distill import cli
from distill.report.account import Account
from distill.report.page import LARGEST, page
from tests.distill.networks import affine
from tests.distill.report import accounts

KINDS = {
    "finite": accounts.finite,
    "recurrent": accounts.recurrent,
    "transformer": accounts.transformer,
    "control": accounts.control,
}
needs_browser = pytest.mark.skipif(
    browser.browser() is None, reason="no Chromium is installed on this machine"
)


class Elements(HTMLParser):
    """Start tags with their attributes, ids and references."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


@pytest.fixture(scope="module", params=sorted(KINDS))
def text(request: pytest.FixtureRequest) -> str:
    make: Callable[[], Account] = KINDS[request.param]
    return page(make())


def test_a_page_loads_nothing_and_runs_nothing(text: str) -> None:
    tags = Elements(text).tags
    assert not [tag for tag, _ in tags if tag in ("script", "iframe", "object", "embed")]
    references = [
        value
        for _, attributes in tags
        for key, value in attributes.items()
        if key in ("src", "href", "srcset", "action", "data")
    ]
    assert references
    assert all(str(value).startswith(("#", "data:")) for value in references)
    assert not [key for _, attributes in tags for key in attributes if key.startswith("on")]
    assert "url(" not in text
    assert len(text.encode()) < LARGEST


def test_every_link_leads_somewhere_and_every_picture_has_words(text: str) -> None:
    tags = Elements(text).tags
    ids = [attributes["id"] for _, attributes in tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [str(a["href"])[1:] for tag, a in tags if tag == "a" and "href" in a]
    assert set(links) <= set(ids)
    pictures = [attributes for tag, attributes in tags if tag == "svg"]
    assert pictures
    assert all(len(str(attributes["aria-label"])) > 20 for attributes in pictures)


def test_what_users_name_is_shown_as_text(text: str) -> None:
    assert "<script>alert" not in text
    assert "<b>" not in text


def test_a_transformer_shows_its_heads_and_where_the_program_is_found() -> None:
    given = accounts.transformer()
    assert given.target.evaluate({"s": np.array([[3, 1, 0, 1, 2, 3]])}).values.tolist() == [
        [3, 1, 0, 1, 2, 3]
    ]
    shown = page(given)
    assert "copied: equal tokens: 100 %" in shown
    assert 'href="#place-embedded">gather (embedded)</a>' in shown
    assert '<a class="place" id="name-copy" href="#place-embedded">copy</a>' in shown
    assert "<h3>Spectrum" not in shown  # four tokens have no spectrum worth the name


def test_a_refutation_is_drawn_and_told() -> None:
    shown = page(accounts.finite())
    assert '<p class="verdict REFUTED"><strong>REFUTED</strong> program(a=2, b=5): the' in shown
    assert "<title>the counterexample</title>" in shown
    assert "<title>a = 2, b = 5: network 9, program 7</title>" in shown


@needs_browser
def test_a_browser_shows_the_page_without_complaint(text: str, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(text, encoding="utf-8")
    assert browser.picture(path, tmp_path / "light.png") == []
    assert (tmp_path / "light.png").read_bytes().startswith(b"\x89PNG")
    found = browser.measured(path, width=360)
    assert found["width"] <= 360
    assert found["broken"] == 0
    assert found["unnamed"] == 0


@needs_browser
def test_a_page_is_dark_in_the_dark_and_prints(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(page(accounts.finite()), encoding="utf-8")
    browser.picture(path, tmp_path / "light.png", height=600)
    browser.picture(path, tmp_path / "dark.png", height=600, dark=True)
    assert (tmp_path / "light.png").read_bytes() != (tmp_path / "dark.png").read_bytes()
    browser.pdf(path, tmp_path / "page.pdf")
    content = (tmp_path / "page.pdf").read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", content)) >= 1


def test_a_report_can_be_made_again_from_the_certificate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = affine(tmp_path / "net", last=9), tmp_path / "out"
    mine = tmp_path / "mine.py"
    mine.write_text("def program(a, b, c):\n    return int(a + 2 * b - c > 3)\n")
    arguments = ["compile", str(folder), "--out", str(out), "--time", "20s", "--quiet"]
    assert cli.main([*arguments, "--start-from", str(mine)]) == 0
    first = (out / "report.html").read_text(encoding="utf-8")
    (out / "report.html").unlink()
    assert cli.main(["report", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"wrote   {out / 'report.html'}\n")
    again = (out / "report.html").read_text(encoding="utf-8")
    # How many candidates were looked at is not kept in a certificate.
    assert re.sub(r", [\d ]+ candidates looked at", "", first) == again
