"""From raw outputs to values: the short ways give what the long ones give."""

from __future__ import annotations

import numpy as np
import pytest

from dsl.claim import Claim, Decode
from dsl.decoding import decoded, packed
from dsl.domain import Domain
from dsl.evaluate import run
from dsl.parser import parse_expression
from dsl.program import Program


@pytest.mark.parametrize("rule", ["argmax", "argmin"])
@pytest.mark.parametrize("tie", ["low", "high"])
@pytest.mark.parametrize("width", [2, 3, 16, 17])
def test_the_extreme_is_the_first_or_last_of_ties_and_the_margin_that_to_the_next(
    rule: str, tie: str, width: int
) -> None:
    rng = np.random.default_rng(width)
    raw = rng.integers(-2, 3, (500, width)).astype(np.float32)
    raw[0] = -0.0
    raw[1, ::2] = 0.0
    found = decoded(Decode(rule, tie=tie), raw)  # type: ignore[arg-type]
    for row, value, margin in zip(raw, found.values, found.margins, strict=True):
        scores = np.sort(row if rule == "argmax" else -row)
        places = np.flatnonzero(row == (row.max() if rule == "argmax" else row.min()))
        assert value == places[0 if tie == "low" else -1]
        assert margin == scores[-1] - scores[-2]


def test_a_row_with_a_nan_has_no_margin_and_leaves_the_others_alone() -> None:
    raw = np.array([[1.0, np.nan, 2.0], [np.nan, 0.0, 0.0], [1.0, 5.0, 2.0]], np.float32)
    found = decoded(Decode("argmax"), raw)
    assert np.isnan(found.margins).tolist() == [True, True, False]
    assert found.values.tolist() == [1, 0, 1]
    assert found.margins[2] == 3.0


@pytest.mark.parametrize("text", ["[a, b, 113]", "[b]", "[a, a, b]", "[a + b, 2 * a]", "[7]"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
def test_packing_column_by_column_is_packing_the_list(text: str, dtype: str) -> None:
    (batch,) = Domain("a: int[-3..3], b: int[16777215..16777219]").batches()
    claim = Claim(parse_expression(text), dtype=dtype)
    inputs = tuple((name, None) for name in batch)
    whole = run(Program("pack", inputs, (), claim.pack), batch).astype(dtype)
    found = packed(claim, batch)
    assert found.dtype == whole.dtype
    assert (found == whole).all()
    assert found.shape == whole.shape


def test_digits_of_a_block_are_those_of_its_numbers() -> None:
    domain = Domain("a: int[-2..4], s: seq(int[0..2], 0..3), b: bool")
    whole = [domain.row(batch, k) for batch in domain.batches() for k in range(len(batch["a"]))]
    assert len(whole) == len({repr(row) for row in whole}) == 7 * (1 + 3 + 9 + 27) * 2
    for size in (1, 5, 11, 64):
        parts = [
            domain.row(batch, k) for batch in domain.batches(size) for k in range(len(batch["a"]))
        ]
        assert parts == whole
