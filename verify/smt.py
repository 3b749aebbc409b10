"""Proof by Z3: small networks and programs in exact arithmetic, weights as the fractions they are.

The program goes through its primitives' Z3 meanings (dsl.smt), the network's graph through terms
of linear real arithmetic, and the question is whether the decoded values differ for any input of
the domain, ties included.  Z3 decides this for the real function of the stored weights; what a
runtime rounds is not in it, and the arithmetic of the verdict says so.  A timeout is Unknown.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dsl import smt
from dsl.agreement import counterexample
from dsl.claim import Decode, Proved, Refuted, Target, Unknown, Verdict
from dsl.domain import single
from dsl.networks import operations
from dsl.primitives.base import Undefined
from dsl.program import Program
from verify.comparison import blurred, packed_shape
from verify.forms import Untranslatable
from verify.graph import Affine, Builder, Function, Graph, Input, Product
from verify.lowering import View, lowered, monotone_source
from verify.vectors import box_of

METHOD = "smt"
ARITHMETIC = (
    "real numbers, weights as stored; the runtime is within {error:.2g} of them, and may differ "
    "at ties closer than that"
)
MOST_RELUS = 24
"""Networks with more ReLUs than this are left to other methods."""
_MOST_SECONDS = 20.0
_EXACT = frozenset(
    {"linear", "matmul", "conv", "add", "sub", "mul", "neg", "sum", "relu", "leaky_relu", "abs"}
    | {"maximum", "minimum", "max", "min", "max_pool", "clip", "cast"}
    | {"reshape", "transpose", "slice", "concat", "expand", "gather", "pad"}
)
"""Operations whose matrices hold the weights themselves, not rounded quotients."""


def verify(
    program: Program,
    target: Target,
    *,
    deadline: float,
    seed: int,
    evidence: Mapping[str, Any],
) -> Verdict | None:
    """Proved or Refuted in exact arithmetic, Unknown when time is up; None for what is beyond it:
    functions that are not piecewise linear, or too many ReLUs."""
    if box_of(target.domain) is None or target.claim.closed_loop or target.claim.feedback:
        return None
    import z3

    try:
        symbols = smt.symbols(target.domain)
        error, blur = blurred(target)
        decode = target.claim.decode
        decode = replace(decode, tolerance=max(decode.tolerance - error, 0.0))
        meaning = smt.to_smt(program, symbols)
        outputs, defined, relus = network_terms(target, symbols)
        inside = smt.constraint(target.domain, symbols)
        same = z3.And(meaning.defined, agrees(meaning.value, outputs, decode))
    except (Undefined, Untranslatable):
        return None
    left = min(0.3 * (deadline - time.monotonic()), _MOST_SECONDS)
    if left <= 0:
        return None
    solver = z3.Solver()
    solver.set("timeout", int(1000 * left))
    solver.set("random_seed", seed % 2**31)
    solver.add(inside, *defined, z3.Not(same))
    answer = solver.check()
    if answer == z3.unknown and "interrupted" in solver.reason_unknown():
        raise KeyboardInterrupt  # Z3 takes the signal for itself, and Python never sees it
    table = {"kind": METHOD, "relus": relus, "rounding": error}
    if answer == z3.unsat and blur:
        return Unknown(f"proven in real arithmetic only: {blur}", evidence=table)
    if answer == z3.unsat:
        return Proved(METHOD, str(target.domain), ARITHMETIC.format(error=error), table)
    if answer == z3.unknown:
        return Unknown(f"Z3 gave up: {solver.reason_unknown()}", evidence=table)
    example = {name: _value(solver.model(), term) for name, term in symbols.items()}
    replayed = counterexample(program, target, single(target.domain, example), 0)
    if replayed is None:
        return Unknown("Z3's counterexample is a near-tie of the runtime", evidence=table)
    return Refuted(METHOD, replayed, evidence=table)


def network_terms(target: Target, symbols: Mapping[str, Any]) -> tuple[list[Any], list[Any], int]:
    """The network's selected outputs as terms, the definitions they need, and how many ReLUs."""
    shape = packed_shape(target)
    network = target.network(shape)
    if network is None or target.claim.positions is not None:
        raise Untranslatable("a network without a translation")
    if target.claim.decode.rule in ("argmax", "argmin"):
        network, _ = monotone_source(network)
    if not set(operations(network)) <= _EXACT:
        raise Untranslatable("operations that are not exact")
    pack = Program("pack", tuple((n, None) for n in target.domain.names), (), target.claim.pack)
    packed = [_real(term) for term in _flattened(smt.to_smt(pack, symbols).value)]
    if len(packed) != int(np.prod(shape, dtype=int)):
        raise Untranslatable("a packing of another size")
    builder = Builder()
    source = builder.input(len(packed))
    view = lowered(network, View(source, np.arange(len(packed)).reshape(shape)), builder, 0.0)
    graph = builder.graph()
    relus = sum(node.size for node in graph.nodes if isinstance(node, Function))
    if relus > MOST_RELUS:
        raise Untranslatable("too many ReLUs")
    found, defined = terms(graph, packed, view.node)
    return [found[place] for place in view.places.ravel().tolist()], defined, relus


def terms(graph: Graph, inputs: list[Any], wanted: int) -> tuple[list[Any], list[Any]]:
    """The entries of a node as Z3 terms, and the definitions of the names in them."""
    import z3

    found: list[list[Any]] = []
    defined: list[Any] = []
    for number, node in enumerate(graph.nodes[: wanted + 1]):
        match node:
            case Input():
                found.append(inputs)
            case Affine():
                found.append(_affine(node, found))
            case Function(name="relu", source=source):
                entries = []
                for entry, before in enumerate(found[source]):
                    z = z3.Real(f"network.{number}.{entry}")
                    defined.append(z == before)
                    entries.append(z3.If(z >= 0, z, z3.RealVal(0)))
                found.append(entries)
            case Function(name=name):
                raise Untranslatable(name)
            case Product():
                raise Untranslatable("a product")
    return found[wanted], defined


def _affine(node: Affine, found: list[list[Any]]) -> list[Any]:
    import z3

    result = []
    for entry in range(node.size):
        parts = [smt.literal(float(node.bias[entry]))]
        for source, m in node.terms:
            if m is None:
                parts.append(found[source][entry])
                continue
            row = m.picked(np.array([entry]))[0]
            parts += [smt.literal(float(row[i])) * found[source][i] for i in np.flatnonzero(row)]
        result.append(z3.Sum(parts))
    return result


def agrees(value: Any, outputs: list[Any], decode: Decode) -> Any:
    """The condition that the network's outputs decode to a value, by the claim's tie rule."""
    import z3

    match decode.rule:
        case "argmax" | "argmin":
            labels = decode.labels or tuple(range(len(outputs)))
            sign = 1 if decode.rule == "argmax" else -1
            order = list(range(len(outputs)))
            if decode.tie == "high":
                order.reverse()
            cases = []
            for place, mine in enumerate(order):
                gaps = [sign * (outputs[mine] - outputs[other]) for other in order]
                wins = [gap > 0 for gap in gaps[:place]]
                holds = [gap >= 0 for gap in gaps[place + 1 :]]
                cases.append(z3.Implies(z3.And(*wins, *holds), same(value, labels[mine])))
            return z3.And(*cases)
        case "threshold":
            if len(outputs) != 1 or decode.labels is not None:
                raise Untranslatable("several thresholds")
            above = outputs[0] > smt.literal(float(decode.threshold))
            return z3.If(above, same(value, True), same(value, False))
        case "value":
            values = value if isinstance(value, (list, tuple)) else [value]
            if len(values) != len(outputs):
                raise Untranslatable("another number of values")
            tolerance = smt.literal(float(decode.tolerance))
            gaps = [_real(v) - y for v, y in zip(values, outputs, strict=True)]
            return z3.And(*(z3.And(gap <= tolerance, -gap <= tolerance) for gap in gaps))
    raise Untranslatable(f"the rule {decode.rule}")


def same(value: Any, label: Any) -> Any:
    """The condition that a term is a plain value; truth values are the numbers 0 and 1."""
    import z3

    if not z3.is_expr(value):
        return z3.BoolVal(not isinstance(value, (list, tuple)) and value == label)
    if z3.is_string(value) != isinstance(label, str):
        return z3.BoolVal(False)
    if z3.is_string(value):
        return value == smt.literal(label)
    return _real(value) == smt.literal(float(label))


def _real(term: Any) -> Any:
    import z3

    if not z3.is_expr(term):
        term = smt.literal(term)
    if z3.is_bool(term):
        return z3.If(term, z3.RealVal(1), z3.RealVal(0))
    if z3.is_string(term):
        raise Untranslatable("arithmetic with a text")
    return z3.ToReal(term) if z3.is_int(term) else term


def _flattened(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _flattened(item)
    else:
        yield value


def _value(model: Any, term: Any) -> Any:
    import z3

    if isinstance(term, list):
        return [_value(model, item) for item in term]
    value = model.eval(term, model_completion=True)
    if z3.is_bool(value):
        return z3.is_true(value)
    if z3.is_int_value(value):
        return value.as_long()
    return float(value.as_fraction())
