"""Functions that `jax.export` serialised: StableHLO modules, read with JAX's own parser.

The translation walks the module's operations and never runs it.  The oracle is the function
compiled by JAX, after a look that the module calls nothing outside itself.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from distill.frontends.building import Builder, Unsupported, Value
from distill.frontends.graph import Missing, program_of, unsupported
from distill.frontends.stablehlo_rules import RULES, reduced, windowed
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program

_LONGEST_LOOP = 10_000
_HARMLESS = {"shape_assertion", "Sharding", "annotate_device_placement"}


def _broken() -> tuple[type[Exception], ...]:
    import struct

    from jax.extend.mlir import ir

    return (
        *(ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError),
        *(struct.error, UnicodeDecodeError, OverflowError, RuntimeError, MemoryError),
        *(StopIteration, ir.MLIRError),
    )


def read(path: Path) -> Any:
    """The exported function in a file, not run.  Raises D010 where there is none, D013 where it
    takes anything but one array, D015 where it calls code outside itself."""
    from jax import export

    try:
        content = bytearray(path.read_bytes())
        found = export.deserialize(content)
        shapes = [tuple(value.shape) for value in found.in_avals]
        with _Module(found) as module:
            foreign = sorted(_foreign(module.operation))
    except _broken() as error:
        raise _unreadable(path.name, error) from None
    except OSError as error:
        raise DistillError(
            "D001", f"{path.name} cannot be read: {error.strerror}", place=str(path), exit_code=4
        ) from None
    if len(shapes) != 1 or not shapes[0]:
        raise DistillError(
            "D013",
            f"{path.name} takes {len(shapes)} arrays, not one batch of rows",
            place=str(path),
            remedy="export it with its parameters bound: jax.export.export(jax.jit(lambda x: "
            "f(params, x)))",
            exit_code=4,
        )
    if foreign:
        raise DistillError(
            "D015",
            f"{path.name} calls code outside itself",
            place=str(path),
            notes=(f"it asks for {', '.join(foreign[:6])}",),
            remedy="export it without callbacks and custom kernels",
            exit_code=4,
        )
    return found


def _unreadable(name: str, error: BaseException) -> DistillError:
    line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return DistillError(
        "D010",
        f"{name} is not a readable jax.export function",
        notes=(line[:200],),
        remedy="save it again: open(path, 'wb').write(jax.export.export(...)(...).serialize())",
        exit_code=4,
    )


class _Module:
    """The StableHLO module of an exported function, inside an MLIR context of its own."""

    def __init__(self, found: Any) -> None:
        self.content = bytes(found.mlir_module_serialized)

    def __enter__(self) -> Any:
        from jax.extend.mlir.dialects import stablehlo as hlo
        from jax.interpreters import mlir

        self.context = mlir.make_ir_context()
        self.context.__enter__()
        try:
            return hlo.deserialize_portable_artifact(self.context, self.content)
        except BaseException:
            self.context.__exit__(None, None, None)
            raise

    def __exit__(self, *args: Any) -> None:
        self.context.__exit__(*args)


def _inside(operation: Any) -> Iterator[Any]:
    """All operations in an operation's regions."""
    waiting = [operation]
    while waiting:
        for region in waiting.pop().regions:
            for block in region.blocks:
                for inner in block.operations:
                    yield inner.operation
                    waiting.append(inner.operation)


def _foreign(operation: Any) -> set[str]:
    """What a module calls that is not in it, but for a few names without effect."""
    targets = (
        inner.attributes["call_target_name"].value
        for inner in _inside(operation)
        if inner.name == "stablehlo.custom_call"
    )
    return set(targets) - _HARMLESS


def declared(path: Path) -> tuple[tuple[int | None, ...], str]:
    """The axes of rows that a function takes (None where one is free) and its dtype."""
    (value,) = read(path).in_avals
    axes = tuple(axis if isinstance(axis, int) else None for axis in value.shape)
    return axes[1:], np.dtype(value.dtype).name


def runtime(path: Path) -> Runtime:
    """The function itself, compiled, on the CPU.  One that was exported for a batch of one runs
    row by row.  Raises D013 for another fixed batch, or one that is not for the CPU."""
    import jax

    from distill.oracle import chunked

    found = read(path)
    if "cpu" not in found.platforms:
        raise DistillError(
            "D013",
            f"{path.name} was exported for {', '.join(found.platforms)}, not for the CPU",
            place=str(path),
            remedy="export it with platforms=('cpu', ...)",
            exit_code=4,
        )
    rows = found.in_avals[0].shape[0]
    if isinstance(rows, int) and rows != 1:
        raise DistillError(
            "D013",
            f"{path.name} was exported for batches of {rows} rows",
            place=str(path),
            remedy="export it with jax.export.symbolic_shape('batch, ...')",
            exit_code=4,
        )
    compiled = jax.jit(found.call)

    def first(batch: np.ndarray) -> np.ndarray:
        return np.asarray(jax.tree_util.tree_leaves(compiled(batch))[0])

    def one_by_one(batch: np.ndarray) -> np.ndarray:
        return np.concatenate([first(batch[i : i + 1]) for i in range(len(batch))])

    return chunked(first if rows != 1 else one_by_one)


def translation(path: Path) -> Translation:
    """The network for each shape of rows; None where it cannot be translated."""
    loaded = functools.cache(lambda: read(path))

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        try:
            return program(loaded(), path.name, tuple(shape))
        except DistillError:
            return None

    return network


def program(found: Any, name: str, shape: tuple[int, ...]) -> Program:
    """The network for rows of a shape.  Raises D020 with all operations that have no
    translation, D013 for a shape that the function does not take."""
    (value,) = found.in_avals
    axes = value.shape[1:]
    fits = len(axes) == len(shape) and all(
        not isinstance(axis, int) or axis == n for axis, n in zip(axes, shape)
    )
    if not fits:
        raise DistillError("D013", f"{name} takes rows of shape {axes}, not {shape}")
    builder = Builder()
    x = builder.input("x", shape, np.dtype(value.dtype))
    with _Module(found) as module:
        walker = _Walker(builder, module)
        try:
            outputs = walker.called("main", [x])
        except _broken() as error:
            raise DistillError(
                "D013",
                f"{name} cannot be read for rows of shape {shape}",
                notes=(f"{type(error).__name__}: {error}"[:200],),
                exit_code=4,
            ) from None
    if isinstance(outputs[0], Missing):  # what no output needs may be missing
        raise unsupported(name, walker.missing)
    return program_of(builder, outputs[0], name)


class _Walker:
    """The values of a module, and all operations in it that have no translation."""

    def __init__(self, builder: Builder, module: Any) -> None:
        self.builder = builder
        self.functions = {op.attributes["sym_name"].value: op for op in module.body.operations}
        self.missing: dict[str, list[str]] = {}
        self.line = ""  # of the outermost call that is being walked

    def called(self, name: str, args: Sequence[Any]) -> list[Any]:
        return self.walked(self.functions[name].regions[0], args, {})

    def walked(self, region: Any, args: Sequence[Any], outside: Mapping[Any, Any]) -> list[Any]:
        """What a region of one block returns; it sees the values outside of it."""
        (block,) = region.blocks
        scope = dict(outside)
        scope.update(zip(block.arguments, args, strict=True))
        for found in block.operations:
            operation = found.operation
            inputs = [scope[value] for value in operation.operands]
            if operation.name in ("func.return", "stablehlo.return"):
                return inputs
            if any(isinstance(value, Missing) for value in inputs):
                outputs = [Missing() for _ in operation.results]
            else:
                outputs = self.applied(operation, inputs, scope)
            scope.update(zip(operation.results, outputs))
        raise ValueError("a region without an end")

    def applied(self, operation: Any, inputs: list[Any], scope: Mapping[Any, Any]) -> list[Any]:
        name = operation.name.removeprefix("stablehlo.")
        self.builder.hint = name
        line, self.line = self.line, self.line or _line(operation)
        try:
            return self.translated(name, operation, inputs, scope)
        except Unsupported as reason:
            label = f"{name} ({reason})" if str(reason) else name
            self.missing.setdefault(label, []).append(_line(operation) or self.line)
            return [Missing() for _ in operation.results]
        finally:
            self.line = line

    def translated(
        self, name: str, operation: Any, inputs: list[Any], scope: Mapping[Any, Any]
    ) -> list[Any]:
        options = {key: _plain(value) for key, value in _attributes(operation)}
        match name:
            case "func.call":
                return self.called(options["callee"], inputs)
            case "composite":
                return self.called(options["decomposition"], inputs)
            case "custom_call":
                return inputs[: len(operation.results)]  # those that were let in have no effect
            case "while":
                return self.repeated(operation, inputs, scope)
            case "case":
                branches = [self.branch(region, scope) for region in operation.regions]
                return self.chosen(inputs[0], branches)
            case "if":
                taken, other = (self.branch(region, scope) for region in operation.regions)
                return self.chosen(self.builder.cast(inputs[0], np.int32), [other, taken])
            case "reduce":
                body = functools.partial(self.walked, operation.regions[0], outside=scope)
                kinds = _kinds(operation.regions[0])
                return reduced(self.builder, inputs, options["dimensions"], kinds, body)
            case "reduce_window":
                return windowed(self.builder, inputs, _kinds(operation.regions[0]), options)
        if name not in RULES:
            raise Unsupported("")
        (kind,) = (result.type for result in operation.results)
        options["result"] = _shape(kind), _dtype(kind)
        return [RULES[name](self.builder, *inputs, **options)]

    def branch(self, region: Any, scope: Mapping[Any, Any]) -> Any:
        return functools.partial(self.walked, region, (), scope)

    def repeated(self, operation: Any, state: list[Any], scope: Mapping[Any, Any]) -> list[Any]:
        test, body = operation.regions
        for _ in range(_LONGEST_LOOP):
            (condition,) = self.walked(test, state, scope)
            if isinstance(condition, Missing) or not condition.is_constant:
                raise Unsupported("as long as a computed condition holds")
            if not condition.sample.item():
                return state
            state = self.walked(body, state, scope)
        raise Unsupported(f"of more than {_LONGEST_LOOP} rounds")

    def chosen(self, index: Value, branches: Sequence[Any]) -> list[Any]:
        """The branch at an index; the last where there is none."""
        if index.is_constant:
            place = int(index.sample)
            return list(branches[place if 0 <= place < len(branches) else -1]())
        if index.sample.size != 1:
            raise Unsupported("for each row")
        found = branches[-1]()
        for place in range(len(branches) - 2, -1, -1):
            at = self.builder.constant(np.asarray(place, index.dtype))
            taken = self.builder.elementwise("eq", index, at)
            found = [
                a
                if Missing in (type(a), type(b))
                else self.builder.elementwise("where", taken, b, a)
                for a, b in zip(found, branches[place]())
            ]
        return list(found)


def _kinds(region: Any) -> tuple[str, ...]:
    """The names of a region's operations, without its end."""
    names = [op.operation.name.removeprefix("stablehlo.") for op in region.blocks[0].operations]
    return tuple(names[:-1])


def _attributes(operation: Any) -> Iterator[tuple[str, Any]]:
    for entry in operation.attributes:
        name = entry if isinstance(entry, str) else entry.name
        yield name, operation.attributes[name]


def _plain(attribute: Any) -> Any:
    """An attribute as numbers, text, tuples and arrays; dimension numbers as JAX spells them."""
    from jax.extend.mlir import ir
    from jax.extend.mlir.dialects import stablehlo as hlo

    match attribute:
        case ir.IntegerAttr() | ir.BoolAttr() | ir.FloatAttr() | ir.StringAttr():
            return attribute.value
        case ir.FlatSymbolRefAttr():
            return attribute.value
        case ir.DenseI64ArrayAttr() | ir.DenseBoolArrayAttr():
            return tuple(attribute)
        case ir.DenseIntElementsAttr() | ir.DenseFPElementsAttr():
            _dtype(attribute.type)
            return np.array(attribute)
    text = str(attribute)
    if text.startswith("#stablehlo.dot<"):
        return hlo.DotDimensionNumbers(attribute)
    if text.startswith("#stablehlo.gather<"):
        return hlo.GatherDimensionNumbers(attribute)
    if text.startswith("#stablehlo.conv<"):
        return hlo.ConvDimensionNumbers(attribute)
    if text.startswith("#stablehlo<comparison_direction"):
        return text.removeprefix("#stablehlo<comparison_direction ").removesuffix(">")
    return None


def _shape(kind: Any) -> tuple[int | None, ...]:
    """The axes of a type, None where one is free."""
    return tuple(
        None if kind.is_dynamic_dim(axis) else kind.get_dim_size(axis) for axis in range(kind.rank)
    )


def _dtype(kind: Any) -> np.dtype:
    """The dtype of a type; half precision is computed in single.  Raises Unsupported."""
    name = str(kind.element_type)
    known = {"i1": "bool", "bf16": "float32", "f16": "float32", "f32": "float32", "f64": "float64"}
    if name in known:
        return np.dtype(known[name])
    found = re.fullmatch(r"(u?)i(8|16|32|64)", name)
    if found is None:
        raise Unsupported(f"on {name}")
    return np.dtype(f"{'u' * bool(found[1])}int{found[2]}")


def _line(operation: Any) -> str:
    """`model.py:41`: where the user's code made an operation."""
    found = re.search(r'"([^"]*\.(?:py|ipynb))":(\d+)', str(operation.location))
    return f"{Path(found[1]).name}:{found[2]}" if found else ""
