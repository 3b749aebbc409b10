"""JAX functions as programs of the language, through their jaxprs.

What a function calls (jit, custom derivatives, checkpoints) is inlined; `scan` and `while` loops
with constant bounds are unrolled, a `cond` on a computed value becomes a choice between branches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from distill.frontends.building import Builder, Unsupported, Value
from distill.frontends.graph import Missing, program_of, unsupported
from distill.frontends.jax_modules import path_name
from distill.frontends.jax_rules import RULES
from dsl.claim import Runtime, Translation
from dsl.errors import DistillError
from dsl.program import Program

_LONGEST_LOOP = 10_000
_CALLS = frozenset(
    {"pjit", "jit", "closed_call", "core_call", "remat", "checkpoint", "custom_lin"}
    | {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "remat2", "core_closed_call"}
)


def runtime(function: Callable[..., Any], params: Any = None) -> Runtime:
    """The function itself, compiled, on the CPU."""
    import jax

    from distill.oracle import chunked

    compiled = jax.jit(function)

    def run(batch: np.ndarray) -> np.ndarray:
        try:
            found = compiled(batch) if params is None else compiled(params, batch)
        except TypeError as error:  # JAX's word for shapes that do not fit
            raise ValueError(str(error)) from None
        except (KeyError, AttributeError) as error:
            raise _untraceable(function, batch.shape[1:], error) from None
        while isinstance(found, (tuple, list)):
            found = found[0]
        return np.asarray(found)

    return chunked(run)


def translation(function: Callable[..., Any], params: Any, dtype: str) -> Translation:
    """The network for each input shape, traced when it is first asked for; None where it cannot
    be translated."""

    @functools.cache
    def network(shape: tuple[int, ...]) -> Program | None:
        try:
            return program(function, params, tuple(shape), dtype)
        except DistillError:
            return None

    return network


def program(
    function: Callable[..., Any], params: Any, shape: tuple[int, ...], dtype: str = "float32"
) -> Program:
    """The network `function(params, x)`, or `function(x)` where there are no params, for rows of
    a shape.  Raises D020 with all operations that have no translation, D021 where JAX cannot
    trace the function."""
    import jax

    name = getattr(function, "__name__", type(function).__name__)
    example = np.zeros((1, *shape), dtype)
    given = (example,) if params is None else (params, example)
    try:
        closed = jax.make_jaxpr(function)(*given)
    except _IN_A_FUNCTION as error:
        raise _untraceable(function, shape, error) from None
    builder = Builder()
    leaves = [] if params is None else jax.tree_util.tree_flatten_with_path(params)[0]
    values: list[Value] = [
        builder.constant(np.asarray(leaf), path_name(path)) for path, leaf in leaves
    ]
    values.append(builder.input("x", shape, example.dtype))
    walker = _Walker(builder)
    try:
        constants = [builder.constant(np.asarray(const)) for const in closed.consts]
        outputs = walker.walked(closed.jaxpr, constants, values)
    except (ValueError, IndexError, TypeError, KeyError) as error:
        raise DistillError(
            "D013",
            f"{name} cannot be read for rows of shape {shape}",
            notes=(f"{type(error).__name__}: {error}"[:200],),
            exit_code=4,
        ) from None
    if isinstance(outputs[0], Missing):  # what no output needs may be missing
        raise unsupported(name, walker.missing)
    return program_of(builder, outputs[0], name)


_IN_A_FUNCTION = (TypeError, ValueError, IndexError, KeyError, AttributeError)
"""What a user's function raises where it does not fit its parameters or inputs, and what JAX does
where it cannot be traced."""


def _untraceable(
    function: Callable[..., Any], shape: tuple[int, ...], error: BaseException
) -> DistillError:
    name = getattr(function, "__name__", type(function).__name__)
    line = str(error).strip().splitlines()[0] if str(error).strip() else ""
    return DistillError(
        "D021",
        f"{name} cannot be traced for rows of shape {shape}",
        notes=(f"{type(error).__name__}: {line}"[:200],),
        exit_code=4,
    )


class _Walker:
    """The values of a jaxpr, and all operations in it that have no translation."""

    def __init__(self, builder: Builder) -> None:
        self.builder = builder
        self.missing: dict[str, list[str]] = {}
        self.line = ""  # of the outermost call that is being walked

    def walked(self, jaxpr: Any, constants: list[Any], args: list[Any]) -> list[Any]:
        """The outputs of a jaxpr; `missing` fills up where rules are absent."""
        scope: dict[Any, Any] = {}
        scope.update(zip(jaxpr.constvars, constants))
        scope.update(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Any:
            if hasattr(atom, "val"):
                return self.builder.constant(np.asarray(atom.val))
            return scope[atom]

        for equation in jaxpr.eqns:
            inputs = [read(atom) for atom in equation.invars]
            if any(isinstance(value, Missing) for value in inputs):
                outputs = [Missing() for _ in equation.outvars]
            else:
                outputs = self.applied(equation, inputs)
            scope.update(zip(equation.outvars, outputs))
        return [read(atom) for atom in jaxpr.outvars]

    def applied(self, equation: Any, inputs: list[Any]) -> list[Any]:
        name = equation.primitive.name
        self.builder.hint = name
        line, self.line = self.line, self.line or _line(equation)
        try:
            return self.translated(name, equation, inputs)
        finally:
            self.line = line

    def translated(self, name: str, equation: Any, inputs: list[Any]) -> list[Any]:
        try:
            if name in _CALLS:
                return self.called(equation.params, inputs)
            match name:
                case "scan":
                    return self.scanned(equation.params, inputs)
                case "while":
                    return self.repeated(equation.params, inputs)
                case "cond":
                    return self.chosen(equation.params, inputs)
            if name not in RULES:
                raise Unsupported("")
            found = RULES[name](self.builder, equation, *inputs)
            return list(found) if isinstance(found, (tuple, list)) else [found]
        except Unsupported as reason:
            label = f"{name} ({reason})" if str(reason) else name
            self.missing.setdefault(label, []).append(_line(equation) or self.line)
            return [Missing() for _ in equation.outvars]

    def called(self, params: Mapping[str, Any], inputs: list[Any]) -> list[Any]:
        inner = next(
            params[key]
            for key in ("call_jaxpr", "fun_jaxpr", "jaxpr")
            if params.get(key) is not None
        )
        jaxpr, consts = (inner.jaxpr, inner.consts) if hasattr(inner, "consts") else (inner, [])
        constants = [self.builder.constant(np.asarray(const)) for const in consts]
        return self.walked(jaxpr, constants, inputs)

    def body(self, closed: Any, inputs: list[Any]) -> list[Any]:
        constants = [self.builder.constant(np.asarray(const)) for const in closed.consts]
        return self.walked(closed.jaxpr, constants, inputs)

    def scanned(self, params: Mapping[str, Any], inputs: list[Any]) -> list[Any]:
        length, consts = int(params["length"]), int(params["num_consts"])
        carried = int(params["num_carry"])
        if length > _LONGEST_LOOP:
            raise Unsupported(f"of {length} rounds")
        fixed, state = inputs[:consts], inputs[consts : consts + carried]
        sequences = inputs[consts + carried :]
        order = range(length)[::-1] if params["reverse"] else range(length)
        rounds: dict[int, list[Any]] = {}
        for step in order:
            items = [self.builder.select(sequence, 0, step) for sequence in sequences]
            outputs = self.body(params["jaxpr"], [*fixed, *state, *items])
            state, rounds[step] = outputs[:carried], outputs[carried:]
            if any(isinstance(value, Missing) for value in outputs):
                count = len(outputs) - carried
                return [*state, *(Missing() for _ in range(count))]
        from distill.frontends import operators as o

        count = len(next(iter(rounds.values()))) if rounds else 0
        return [
            *state,
            *(
                o.stacked(self.builder, [rounds[step][i] for step in range(length)], 0)
                for i in range(count)
            ),
        ]

    def repeated(self, params: Mapping[str, Any], inputs: list[Any]) -> list[Any]:
        first, second = int(params["cond_nconsts"]), int(params["body_nconsts"])
        test, fixed = inputs[:first], inputs[first : first + second]
        state = inputs[first + second :]
        for _ in range(_LONGEST_LOOP):
            (condition,) = self.body(params["cond_jaxpr"], [*test, *state])
            if isinstance(condition, Missing) or not condition.is_constant:
                raise Unsupported("as long as a computed condition holds")
            if not condition.sample.item():
                return state
            state = self.body(params["body_jaxpr"], [*fixed, *state])
        raise Unsupported(f"of more than {_LONGEST_LOOP} rounds")

    def chosen(self, params: Mapping[str, Any], inputs: list[Any]) -> list[Any]:
        index, *args = inputs
        branches = params["branches"]
        if index.is_constant:
            place = min(max(int(index.sample), 0), len(branches) - 1)
            return self.body(branches[place], args)
        found = self.body(branches[-1], args)
        for place in range(len(branches) - 2, -1, -1):
            other = self.body(branches[place], args)
            limit = self.builder.constant(np.asarray(place, index.dtype))
            taken = self.builder.elementwise("le", index, limit)
            found = [
                a
                if isinstance(a, Missing) or isinstance(b, Missing)
                else self.builder.elementwise("where", taken, b, a)
                for a, b in zip(found, other)
            ]
        return found


def _line(equation: Any) -> str:
    """`model.py:41`: where the user's code made an operation."""
    from jax._src import source_info_util

    where = source_info_util.summarize(equation.source_info).partition(" ")[0]
    return ":".join(where.rpartition("/")[2].split(":")[:2]) if ":" in where else ""
