"""Enclosures of one step, from its program of tensor primitives."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from dsl.program import Assign, Call, Constant, Expr, Literal, Program, Variable
from verify.recurrent import enclosures as e
from verify.recurrent.enclosures import Form, Unbounded, Value

Environment = dict[str, Value]


def enclosed(program: Program, inputs: Environment) -> tuple[Value, ...]:
    """The items of the program's result (a record) for enclosures of its inputs.  Raises Unbounded
    where an operation has none."""
    values: Environment = dict(inputs)
    for statement in program.body:
        if not isinstance(statement, Assign) or len(statement.names) != len(statement.values):
            raise Unbounded("a step must be a list of assignments")
        for name, expr in zip(statement.names, statement.values):
            values[name] = _value(program, expr, values)
    match program.result:
        case Call("tuple" | "list", args):
            return tuple(_value(program, arg, values) for arg in args)
        case expr:
            return (_value(program, expr, values),)


def _value(program: Program, expr: Expr, values: Environment) -> Value:
    match expr:
        case Variable(name):
            return values[name]
        case Constant(name):
            return np.asarray(program.constant(name))
        case Literal(value):
            return np.asarray(value, np.float64)
        case Call(primitive, args, options):
            arguments = [_value(program, arg, values) for arg in args]
            return applied(primitive, arguments, dict(options))
    raise Unbounded(type(expr).__name__)


def applied(primitive: str, args: list[Value], options: dict[str, Any]) -> Value:
    """One tensor primitive on enclosures."""
    if primitive not in _RULES:
        raise Unbounded(primitive)
    if all(isinstance(arg, np.ndarray) for arg in args):
        return _constant(primitive, args, options)
    return _RULES[primitive](args, options)


def _constant(primitive: str, args: list[Value], options: dict[str, Any]) -> np.ndarray:
    """A primitive of constants only, as the network computes it."""
    from dsl.primitives.tensor import TENSOR

    return np.asarray(TENSOR[primitive].numpy(*args, **options))


Rule = Callable[[list[Value], dict[str, Any]], Value]


def _form(value: Value) -> Form:
    if not isinstance(value, Form):
        raise Unbounded("a constant where a value of the batch was expected")
    return value


def _cast(args: list[Value], options: dict[str, Any]) -> Value:
    """Whole numbers that are known exactly stay what they are; real numbers are rounded once."""
    kind = np.dtype(str(options.get("dtype", "float32")))
    x = _form(args[0])
    if kind.name in ("float32", "float64"):
        return e.rounded(x)
    exact = not x.spread.any() and np.array_equal(x.centre, np.rint(x.centre))
    if kind.kind in "iu" and exact and (np.abs(x.centre) <= np.iinfo(kind).max).all():
        return x
    raise Unbounded(f"a cast to {kind}")


def _linear(args: list[Value], options: dict[str, Any]) -> Value:
    weight = args[1]
    bias = args[2] if len(args) > 2 else None
    if isinstance(weight, Form) or isinstance(bias, Form) or weight.ndim != 2:
        raise Unbounded("linear with a computed weight")
    return e.linear(_form(args[0]), weight, bias)


def _matmul(args: list[Value], options: dict[str, Any]) -> Value:
    weight = args[1]
    if isinstance(weight, Form) or weight.ndim != 2:
        raise Unbounded("a product of two computed matrices")
    return e.linear(_form(args[0]), weight.T, None)


def _divided(args: list[Value], options: dict[str, Any]) -> Value:
    divisor = args[1]
    if isinstance(divisor, Form) or not np.all(divisor):
        raise Unbounded("division by a computed value")
    return e.rounded(_form(e.multiply(args[0], 1.0 / divisor.astype(np.float64))), 2.0)


def _negated(args: list[Value], options: dict[str, Any]) -> Value:
    x = _form(args[0])
    return Form(-x.centre, -x.generators, x.radius)


def _absolute(args: list[Value], options: dict[str, Any]) -> Value:
    x = _form(args[0])
    negative = Form(-x.centre, -x.generators, x.radius)
    return e.maximum(x, negative)


def _larger(args: list[Value], options: dict[str, Any], sign: float) -> Value:
    a, b = args
    form = a if isinstance(a, Form) else _form(b)
    count = form.generators.shape[1]
    shape = np.broadcast_shapes(form.centre.shape, a.centre.shape if isinstance(a, Form) else ())
    a, b = (
        x if isinstance(x, Form) else e.points(np.broadcast_to(x, shape), count) for x in (a, b)
    )
    return e.maximum(a, b, sign)


def _clipped(args: list[Value], options: dict[str, Any]) -> Value:
    return e.within(_form(args[0]), options.get("low"), options.get("high"))


def _concatenated(args: list[Value], options: dict[str, Any]) -> Value:
    return e.concatenated(args, int(options["axis"]))


def _sliced(args: list[Value], options: dict[str, Any]) -> Value:
    x = _form(args[0])
    axis = int(options["axis"]) % x.centre.ndim
    if axis == 0:
        raise Unbounded("a slice of the batch")
    part = slice(options.get("start"), options.get("stop"), options.get("step"))
    return e.mapped(x, lambda a: a[(slice(None),) * axis + (part,)])


def _reshaped(args: list[Value], options: dict[str, Any]) -> Value:
    x = _form(args[0])
    shape = tuple(int(n) for n in options["shape"])
    if shape[0] not in (-1, len(x.centre)):
        raise Unbounded("a shape that mixes the batch with other axes")
    wanted = np.zeros((2, *x.centre.shape[1:])).reshape(2, *shape[1:]).shape[1:]
    return e.mapped(x, lambda a: a.reshape(len(a), *wanted))


def _transposed(args: list[Value], options: dict[str, Any]) -> Value:
    axes = tuple(int(a) for a in options["axes"])
    if axes[0] != 0:
        raise Unbounded("a transposition of the batch")
    return e.mapped(_form(args[0]), lambda a: a.transpose(axes))


def _gathered(args: list[Value], options: dict[str, Any]) -> Value:
    """Rows of a table of constants at exact indices (an embedding)."""
    table, index = args
    if isinstance(table, Form) or not isinstance(index, Form) or int(options.get("axis", 0)) != 0:
        raise Unbounded("gather from a computed table")
    if index.spread.any():
        raise Unbounded("gather at places that are not exact")
    rows = table[np.rint(index.centre).astype(np.int64)]
    return e.points(rows, index.generators.shape[1])


def _joined(*parts: Form) -> Form:
    return e.concatenated(list(parts), 1)


def _gates(x: Form, count: int) -> list[Form]:
    size = x.centre.shape[1] // count
    return [_part(x, i * size, (i + 1) * size) for i in range(count)]


def _part(x: Form, start: int, stop: int) -> Form:
    return e.mapped(x, lambda a: a[:, start:stop])


def _sum(*parts: Value) -> Form:
    total = parts[0]
    for part in parts[1:]:
        total = e.add(total, part)
    return _form(total)


def _single(args: list[Value], states: int) -> tuple[Form, list[Form], list[np.ndarray]]:
    """The only item of a sequence, the states before it, and weights and biases."""
    x = _form(args[0])
    if x.centre.ndim != 3 or x.centre.shape[1] != 1:
        raise Unbounded("a recurrent layer over several steps")
    model = e.mapped(x, lambda a: a[:, 0])
    before = [_state(model, state) for state in args[1 : 1 + states]]
    weights = [weight for weight in args[1 + states :] if isinstance(weight, np.ndarray)]
    if len(weights) != 4:
        raise Unbounded("a recurrent layer with computed weights")
    return model, before, weights


def _state(model: Form, state: Value) -> Form:
    if isinstance(state, Form):
        return state
    rows, count = model.generators.shape[:2]
    return e.points(np.broadcast_to(state, (rows, state.shape[-1])), count)


def _stepped(x: Form) -> Form:
    return e.mapped(x, lambda a: a[:, None])


def _elman(args: list[Value], options: dict[str, Any]) -> Value:
    x, (state,), (w_input, w_state, b_input, b_state) = _single(args, 1)
    total = _sum(e.linear(x, w_input, b_input), e.linear(state, w_state, b_state))
    activation = str(options.get("activation", "tanh"))
    if activation not in ("tanh", "relu"):
        raise Unbounded(f"a recurrent layer with {activation}")
    return _stepped(_form(_RULES[activation]([total], {})))


def _gated(args: list[Value], options: dict[str, Any]) -> Value:
    x, (state,), (w_input, w_state, b_input, b_state) = _single(args, 1)
    if not options.get("linear_before_reset", True):
        raise Unbounded("a gated unit that resets before the product")
    driven = _gates(e.linear(x, w_input, b_input), 3)
    held = _gates(e.linear(state, w_state, b_state), 3)
    reset = e.sigmoid_form(_sum(driven[0], held[0]))
    update = e.sigmoid_form(_sum(driven[1], held[1]))
    new = e.tanh_form(_sum(driven[2], e.multiply(reset, held[2])))
    # (1 - u) n + u h, written so that u occurs once; both runtimes' forms lie within its rounding.
    change = e.multiply(update, _form(e.add(state, new, -1.0)))
    result = e.rounded(e.rounded(_sum(new, change), 2.0), 2.0)
    return _stepped(_hulled(result, new, state))


def _hulled(x: Form, *ends: Form) -> Form:
    """`x` with a note that it lies between the ends; they only widen its rounding."""
    noise = sum(4 * e.UNIT * end.magnitude for end in ends)
    return Form(x.centre, x.generators, x.radius + noise)


def _remembering(args: list[Value], options: dict[str, Any]) -> Value:
    x, (state, cell), (w_input, w_state, b_input, b_state) = _single(args, 2)
    total = _sum(e.linear(x, w_input, b_input), e.linear(state, w_state, b_state))
    i, f, g, o = _gates(total, 4)
    kept = e.multiply(e.sigmoid_form(f), cell)
    after = _sum(kept, e.multiply(e.sigmoid_form(i), e.tanh_form(g)))
    shown = _form(e.multiply(e.sigmoid_form(o), e.tanh_form(after)))
    return _stepped(_joined(shown, after))


_RULES: dict[str, Rule] = {
    "rnn": _elman,
    "gru": _gated,
    "lstm": _remembering,
    "linear": _linear,
    "matmul": _matmul,
    "add": lambda args, _: e.add(args[0], args[1]),
    "sub": lambda args, _: e.add(args[0], args[1], -1.0),
    "mul": lambda args, _: e.multiply(args[0], args[1]),
    "div": _divided,
    "neg": _negated,
    "abs": _absolute,
    "relu": lambda args, _: e.relu(_form(args[0])),
    "tanh": lambda args, _: e.tanh_form(_form(args[0])),
    "sigmoid": lambda args, _: e.sigmoid_form(_form(args[0])),
    "maximum": lambda args, options: _larger(args, options, 1.0),
    "minimum": lambda args, options: _larger(args, options, -1.0),
    "clip": _clipped,
    "concat": _concatenated,
    "slice": _sliced,
    "reshape": _reshaped,
    "transpose": _transposed,
    "gather": _gathered,
    "cast": _cast,
}
