"""The types of the language: what a value is, not how it is stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Bool:
    def __str__(self) -> str:
        return "bool"


@dataclass(frozen=True, slots=True)
class Int:
    """An integer from `low` to `high`, both included; None where there is no bound."""

    low: int | None = None
    high: int | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"empty integer range {self.low}..{self.high}")

    def __str__(self) -> str:
        if self.low is None and self.high is None:
            return "int"
        low = "" if self.low is None else str(self.low)
        high = "" if self.high is None else str(self.high)
        return f"int[{low}..{high}]"


@dataclass(frozen=True, slots=True)
class Real:
    """A real number from `low` to `high`, both included; None where there is no bound."""

    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and not self.low <= self.high:
            raise ValueError(f"empty real range {self.low}..{self.high}")

    def __str__(self) -> str:
        if self.low is None and self.high is None:
            return "real"
        low = "" if self.low is None else repr(self.low)
        high = "" if self.high is None else repr(self.high)
        return f"real[{low},{high}]"


@dataclass(frozen=True, slots=True)
class Token:
    """One of a few items, all texts or all numbers; the empty alphabet stands for any text."""

    alphabet: tuple[str, ...] | tuple[int | float, ...] = ()

    def __str__(self) -> str:
        if not self.alphabet:
            return "str"
        texts = [item for item in self.alphabet if isinstance(item, str)]
        if texts and all(len(item) == 1 for item in texts) and '"' not in texts:
            return 'tokens("' + "".join(texts).replace("\\", "\\\\") + '")'
        quoted = ", ".join(
            _quoted(item) if isinstance(item, str) else repr(item) for item in self.alphabet
        )
        return f"tokens([{quoted}])"


@dataclass(frozen=True, slots=True)
class Seq:
    """A sequence of `item`s with `low` to `high` of them; None where there is no upper bound."""

    item: Type
    low: int = 0
    high: int | None = None

    def __post_init__(self) -> None:
        if self.low < 0 or (self.high is not None and self.high < self.low):
            raise ValueError(f"empty length range {self.low}..{self.high}")

    def __str__(self) -> str:
        if self.low == self.high:
            return f"seq({self.item}, {self.low})"
        high = "" if self.high is None else str(self.high)
        return f"seq({self.item}, {self.low}..{high})"


@dataclass(frozen=True, slots=True)
class Tensor:
    """An array of `item`s; an axis of -1 may have any length."""

    item: Type
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"array({self.item}, {'x'.join(str(axis) for axis in self.shape) or '1'})"


@dataclass(frozen=True, slots=True)
class Record:
    """A tuple of values of fixed types."""

    items: tuple[Type, ...]

    def __str__(self) -> str:
        return "(" + ", ".join(str(item) for item in self.items) + ")"


@dataclass(frozen=True, slots=True)
class Mapping:
    """A finite map from `key` to `value`."""

    key: Type
    value: Type

    def __str__(self) -> str:
        return f"map({self.key}, {self.value})"


Type: TypeAlias = Bool | Int | Real | Token | Seq | Tensor | Record | Mapping


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
