"""The primitives of the language, by name."""

from __future__ import annotations

from collections.abc import Mapping

from dsl.primitives.base import Primitive
from dsl.primitives.scalar import SCALAR
from dsl.primitives.sequence import SEQUENCE

PRIMITIVES: Mapping[str, Primitive] = {**SCALAR, **SEQUENCE}
"""What a distilled program may use; tensor primitives live in `dsl.primitives.tensor`."""
