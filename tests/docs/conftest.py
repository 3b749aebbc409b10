"""`--slow-docs` runs also the blocks that take long."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow-docs", action="store_true", help="run every block of the docs")
