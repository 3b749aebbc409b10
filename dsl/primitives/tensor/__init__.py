"""The tensor primitives, by name: what the program of a network is made of."""

from __future__ import annotations

from collections.abc import Mapping

from dsl.primitives.tensor.base import Box, TensorPrimitive, point
from dsl.primitives.tensor.elementwise import ELEMENTWISE
from dsl.primitives.tensor.linear import LINEAR
from dsl.primitives.tensor.recurrent import RECURRENT
from dsl.primitives.tensor.reduction import REDUCTION
from dsl.primitives.tensor.shape import SHAPE

TENSOR: Mapping[str, TensorPrimitive] = {
    **ELEMENTWISE,
    **LINEAR,
    **SHAPE,
    **REDUCTION,
    **RECURRENT,
}

__all__ = ["TENSOR", "Box", "TensorPrimitive", "point"]
