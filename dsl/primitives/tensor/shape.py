"""Tensor primitives that move entries without computing."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsl.primitives.tensor.base import Box, TensorPrimitive, registered


class _Moving(TensorPrimitive):
    """Entries move, and none is changed: the bounds move with them."""

    def bounds(self, *args: Box, **options: Any) -> Box:
        return Box(
            np.asarray(self.numpy(*(arg.low for arg in args), **options)),
            np.asarray(self.numpy(*(arg.high for arg in args), **options)),
        )

    def cost(self, result: tuple[int, ...], *args: tuple[int, ...], **options: Any) -> float:
        return 0.0


class Reshape(_Moving):
    """The entries in the same order under another `shape`; -1 stands for the batch."""

    name = "reshape"

    def numpy(self, *args: Any, shape: tuple[int, ...] = (), **options: Any) -> Any:
        if shape and shape[0] == -1:  # also for an empty batch
            return np.reshape(args[0], (args[0].shape[0], *shape[1:]))
        return np.reshape(args[0], shape)


class Transpose(_Moving):
    """The axes in another order: axis i of the result is axis `axes[i]` of x."""

    name = "transpose"

    def numpy(self, *args: Any, axes: tuple[int, ...] = (), **options: Any) -> Any:
        return np.transpose(args[0], axes)


class Expand(_Moving):
    """x repeated along its axes of one entry up to `shape`; -1 keeps an axis."""

    name = "expand"

    def numpy(self, *args: Any, shape: tuple[int, ...] = (), **options: Any) -> Any:
        x = args[0]
        have = (1,) * (len(shape) - x.ndim) + x.shape
        return np.broadcast_to(x, [h if s == -1 else s for h, s in zip(have, shape, strict=True)])


class Concat(_Moving):
    """The arrays one after the other along `axis`; their other axes broadcast."""

    name = "concat"

    def numpy(self, *args: Any, axis: int = 0, **options: Any) -> Any:
        rest = np.broadcast_shapes(*((*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in args))
        parts = [np.broadcast_to(a, (*rest[:axis], a.shape[axis], *rest[axis + 1 :])) for a in args]
        return np.concatenate(parts, axis)


class Slice(_Moving):
    """The entries from `start` up to before `stop` along `axis`, each `step`-th."""

    name = "slice"

    def numpy(
        self,
        *args: Any,
        axis: int = 0,
        start: int = 0,
        stop: int | None = None,
        step: int = 1,
        **options: Any,
    ) -> Any:
        return args[0][(slice(None),) * axis + (slice(start, stop, step),)]


class Gather(TensorPrimitive):
    """The entries of a table at an index, along `axis`.

    `along=False`: the whole slices, as numpy.take does (an embedding).  `along=True`: an index
    for each entry, as numpy.take_along_axis does; the other axes broadcast.
    """

    name = "gather"

    def numpy(self, *args: Any, axis: int = 0, along: bool = False, **options: Any) -> Any:
        table, index = args
        if not along:
            return np.take(table, index, axis)
        rest = [(*a.shape[:axis], 1, *a.shape[axis + 1 :]) for a in (np.asarray(table), index)]
        shape = np.broadcast_shapes(*rest)
        table, index = (
            np.broadcast_to(a, (*shape[:axis], a.shape[axis], *shape[axis + 1 :]))
            for a in (table, index)
        )
        return np.take_along_axis(table, index, axis)

    def bounds(self, *args: Box, axis: int = 0, along: bool = False, **options: Any) -> Box:
        table, index = args
        if index.is_point:
            at = index.low.astype(np.int64)
            return Box(
                np.asarray(self.numpy(table.low, at, axis=axis, along=along)),
                np.asarray(self.numpy(table.high, at, axis=axis, along=along)),
            )
        count = table.shape[axis]
        # Negative indices count from the end: nothing but the hull of all is said of them.
        loose = index.low < 0
        low, high = np.asarray(np.inf), np.asarray(-np.inf)
        for row in range(count):
            here = ((index.low <= row) & (index.high >= row)) | loose
            at = np.full(index.shape, row)
            below = np.asarray(self.numpy(table.low, at, axis=axis, along=along))
            above = np.asarray(self.numpy(table.high, at, axis=axis, along=along))
            if not along:
                tail = below.ndim - axis - here.ndim
                here = here.reshape((1,) * axis + here.shape + (1,) * tail)
            low = np.minimum(low, np.where(here, below, np.inf))
            high = np.maximum(high, np.where(here, above, -np.inf))
        return Box(low, high)


class Pad(_Moving):
    """x with `before` and `after` entries of `value` added, one number for each axis."""

    name = "pad"

    def numpy(
        self,
        *args: Any,
        before: tuple[int, ...] = (),
        after: tuple[int, ...] = (),
        value: float = 0.0,
        **options: Any,
    ) -> Any:
        return np.pad(args[0], list(zip(before, after, strict=True)), constant_values=value)


SHAPE = registered(Reshape, Transpose, Expand, Concat, Slice, Gather, Pad)
