"""`--slow-docs` runs also the pages and blocks that take long."""

from __future__ import annotations

import pytest

SLOW = {"tutorial.md", "load.md", "scale.md", "reports.md", "hypotheses.md"}
"""Pages that train or compile networks, which takes minutes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow-docs", action="store_true", help="run every block of the docs")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow_docs: a page that `make docs-test` runs")


def runs_slow(config: pytest.Config) -> bool:
    """Is this `make docs-test`?  The option is unknown where a run starts from other folders."""
    return bool(config.getoption("--slow-docs", default=False))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`make test` has a limit of minutes: the pages that take them are another command's."""
    if runs_slow(config):
        return
    left = [item for item in items if item.get_closest_marker("slow_docs")]
    if left:
        items[:] = [item for item in items if item not in left]
        config.hook.pytest_deselected(items=left)
