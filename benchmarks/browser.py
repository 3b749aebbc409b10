"""Pages in a headless Chromium: pictures of them, what they log, and how wide they come out.

    python -m benchmarks.browser REPORT.html FOLDER

writes a picture for light, dark and narrow screens and a PDF into FOLDER.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from html import escape
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
)
_PATIENCE = 60.0


def browser() -> str | None:
    """The path of a Chromium on this machine; None where there is none."""
    return next((found for name in NAMES if (found := shutil.which(name))), None)


def run(arguments: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Chromium with an empty profile of its own."""
    program = browser()
    assert program is not None, "there is no Chromium on this machine"
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        return subprocess.run(
            [program, *FLAGS, f"--user-data-dir={profile}", *arguments],
            capture_output=True,
            text=True,
            timeout=_PATIENCE,
            check=False,
        )


def picture(
    page: Path, out: Path, *, width: int = 1100, height: int = 1600, dark: bool = False
) -> list[str]:
    """Writes a picture of a page, and returns what the page logged to its console."""
    out.parent.mkdir(parents=True, exist_ok=True)
    scheme = ["--blink-settings=preferredColorScheme=0"] if dark else []
    done = run(
        [
            f"--screenshot={out.resolve()}",
            f"--window-size={width},{height}",
            "--enable-logging=stderr",
            *scheme,
            page.resolve().as_uri(),
        ]
    )
    return [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def pdf(page: Path, out: Path) -> None:
    run([f"--print-to-pdf={out.resolve()}", "--no-pdf-header-footer", page.resolve().as_uri()])


def measured(page: Path, *, width: int) -> dict[str, int]:
    """How wide and how high a page comes out in a frame of a width: the page, without its own
    security policy, is asked by a script from outside."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text("utf-8"))
    outer = f"""<!doctype html><body><iframe id="f" style="width:{width}px;height:10px;border:0"
srcdoc="{escape(text)}"></iframe><script>
const f = document.getElementById("f")
f.onload = () => {{
  const root = f.contentDocument.documentElement
  const images = [...f.contentDocument.querySelectorAll("svg")]
  const links = [...f.contentDocument.querySelectorAll("a[href]")].map(
    a => a.getAttribute("href"))
  const broken = links.filter(h => h.startsWith("#") && !f.contentDocument.getElementById(
    h.slice(1)))
  document.title = "width=" + root.scrollWidth + " height=" + root.scrollHeight + " pictures="
    + images.length + " unnamed=" + images.filter(i => !i.getAttribute("aria-label")).length
    + " links=" + links.length + " broken=" + broken.length
}}</script></body>"""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "frame.html"
        path.write_text(outer, encoding="utf-8")
        dumped = run(["--dump-dom", "--virtual-time-budget=4000", path.as_uri()]).stdout
    title = re.search(r"<title>([^<]*)</title>", dumped)
    assert title is not None, "the page was not loaded"
    return {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", title[1])}


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.browser", description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args(arguments)
    if browser() is None:
        print(f"skipped: none of {', '.join(NAMES)} is installed", file=sys.stderr)
        return 0
    height = min(measured(options.page, width=1100)["height"] + 20, 12_000)
    logged = picture(options.page, options.folder / "light.png", height=height)
    logged += picture(options.page, options.folder / "dark.png", height=height, dark=True)
    # Chromium's window is at least 500 wide.
    narrow = measured(options.page, width=500)["height"] + 20
    picture(options.page, options.folder / "narrow.png", width=500, height=min(narrow, 12_000))
    pdf(options.page, options.folder / "page.pdf")
    print(f"width at 360: {measured(options.page, width=360)}")
    print("\n".join(logged) or "nothing was logged to the console")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
