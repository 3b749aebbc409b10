"""The words in which tasks describe packing, positions and decoding, and what they mean.

Each phrase is recognised by its form; numbers, names and tokens in it are free.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dsl import types as t
from dsl.claim import Claim, Decode, Feedback
from dsl.domain import Domain
from dsl.errors import DistillError
from dsl.parser import parse_expression
from dsl.program import Call, Comprehension, Expr, Literal, Variable, children


@dataclass(frozen=True)
class Vocabulary:
    """Tokens in the order of their ids, labels in the order of the outputs, special tokens."""

    tokens: tuple[Any, ...]
    labels: tuple[Any, ...] | None
    special: Mapping[str, Any] = field(default_factory=dict)


def claim_of(
    domain: Domain,
    *,
    pack: str,
    positions: str,
    decode: str,
    tie: str,
    constraint: str,
    vocabulary: Vocabulary,
    dtype: str,
    shape: tuple[int, ...] | None,
    tolerance: float,
) -> Claim:
    """The precise claim.  Raises D121 for words of a form that is not known."""
    packing, filled = _packed(domain, pack, vocabulary)
    if filled is not None:
        shape = (filled,)
    elif "answer so far" in pack or any(isinstance(k, t.Seq) for k in domain.types.values()):
        shape = None
    place = _positions(domain, positions)
    decoding, feedback = _decoded(decode, tie, vocabulary, tolerance)
    if feedback is not None and isinstance(place, tuple) and isinstance(place[1], Literal):
        first, last = place
        feedback = Feedback(Call("sub", (last, first)), feedback.until, feedback.tokens)
    elif feedback is not None:
        place = None
    elif "one token only" in decode:
        place = Literal(-1)
    return Claim(
        packing,
        dtype,
        shape,
        place,
        decoding,
        feedback,
        closed_loop=constraint.strip().startswith("closed loop"),
    )


def _packed(domain: Domain, text: str, vocabulary: Vocabulary) -> tuple[Expr, int | None]:
    """The packing expression, and the width to which it is filled up, if it is."""
    if not text:
        names = ", ".join(domain.names)
        single = len(domain.names) == 1 and not isinstance(
            domain.fields[0][1], (t.Int, t.Real, t.Bool, t.Token)
        )
        return parse_expression(names if single else f"[{names}]", "pack"), None
    sequence = next((n for n, k in domain.fields if isinstance(k, t.Seq)), domain.names[0])
    text = text.split(";")[0].strip()
    if text.startswith("[0 or 1 for each symbol]") or re.match(r"\[.* for each symbol\]", text):
        width = _number(text, r"filled up to (\d+)")
        expr = _symbols(domain, sequence)
        if width is None:
            return expr, None
        return _padded(expr, width), width
    if re.search(r"\bone column\b", text):
        return Comprehension(Call("list", (Variable("v"),)), ("v",), Variable(sequence)), None
    reshaped = re.match(r"(\w+) reshaped to \[([\d, ]+)\]", text)
    if reshaped:
        return Variable(reshaped[1]), None
    width = _number(text, r"padded to (\d+)")
    text = re.sub(r"\s*\+ answer so far.*$", "", text)
    text = re.sub(r"\s+as (float|int)\d+$", "", text)
    text = re.sub(r",? (id = index in|no padding|with ids).*$", "", text)
    text = re.sub(r"\]\s+\(.*\)$", "]", text)
    text = re.sub(r"\bmod\b", "%", text)
    text = re.sub(r"\bin (\d+)\.\.(\d+)\]", lambda m: f"in range({m[1]}, {int(m[2]) + 1})]", text)
    text = re.sub(r"\bid\(str\((\w+)\)\)", r"token_id(\1)", text)
    text = re.sub(r"\bid\(", "token_id(", text)
    while text.startswith("[[") and text.endswith("]]") and " for " not in text:
        # Further axes of one entry: the shape of the input restores them.
        text = text[1:-1]
    try:
        expr = parse_expression(re.sub(r"token_id\(", "abs(token_id + ", text), "pack")
    except DistillError:
        raise DistillError(
            "D121",
            f"`pack` is not understood: {text}",
            remedy="write it as an expression over the inputs, such as [a, b, 113]",
        ) from None
    expr = _with_ids(expr, domain, vocabulary)
    if width is not None:
        return _padded(expr, width), width
    return expr, None


def _symbols(domain: Domain, name: str) -> Expr:
    """Each symbol by its place in the alphabet."""
    kind = domain.types[name]
    item = kind.item if isinstance(kind, t.Seq) else kind
    if isinstance(item, t.Token):
        return _each(Call("find", (Literal(item.alphabet), Variable("c"))), name)
    return Variable(name)


def _each(element: Expr, name: str) -> Expr:
    return Comprehension(element, ("c",), Variable(name))


def _padded(expr: Expr, width: int) -> Expr:
    missing = Call("sub", (Literal(width), Call("len", (expr,))))
    return Call("add", (expr, Call("mul", (Call("list", (Literal(0),)), missing))))


def _with_ids(expr: Expr, domain: Domain, vocabulary: Vocabulary) -> Expr:
    """`abs(token_id + x)`, as the phrase was rewritten, as the place of x among the tokens."""
    match expr:
        case Call("abs", (Call("add", (Variable("token_id"), token)),)):
            if not vocabulary.tokens:
                raise DistillError("D121", "`pack` speaks of token ids, but no file gives any")
            match token:
                case Variable(name) if name.lower() in vocabulary.special:
                    token = Literal(vocabulary.special[name.lower()])
                case Literal(value) if isinstance(value, str) and value not in vocabulary.tokens:
                    raise DistillError("D121", f"`pack`: {value} is no token of the vocabulary")
            if isinstance(token, Literal):
                return Literal(vocabulary.tokens.index(token.value))
            return _token_id(vocabulary.tokens, token)
        case Call(primitive, args, options):
            return Call(
                primitive, tuple(_with_ids(arg, domain, vocabulary) for arg in args), options
            )
        case Comprehension(element, targets, source, condition):
            return Comprehension(
                _with_ids(element, domain, vocabulary),
                targets,
                _with_ids(source, domain, vocabulary),
                condition,
            )
        case _:
            assert not children(expr)
            return expr


def _token_id(tokens: tuple[Any, ...], token: Expr) -> Expr:
    """The place of a token; a number that is its own id stays as it is."""
    numbers = [i for i, item in enumerate(tokens) if item == i and not isinstance(item, str)]
    if numbers and len(numbers) == sum(isinstance(item, int) for item in tokens):
        return token
    if any(isinstance(item, str) for item in tokens) and any(
        not isinstance(item, str) for item in tokens
    ):
        # Special tokens are texts among numbers: no input equals them.
        spare = object()
        kept = [item if not isinstance(item, str) else spare for item in tokens]
        numeral = [item for item in kept if item is not spare]
        far = max(abs(float(item)) for item in numeral) + 1000  # type: ignore[arg-type]
        kind = float if any(isinstance(item, float) for item in numeral) else int
        tokens = tuple(
            kind(far + i) if item is spare else item
            for i, item in enumerate(kept)  # type: ignore[misc]
        )
    return Call("find", (Literal(tokens), token))


def _positions(domain: Domain, text: str) -> Expr | tuple[Expr, Expr] | None:
    text = text.strip()
    if span := re.match(r"(\d+)\.\.(\d+)\b", text):
        return Literal(int(span[1])), Literal(int(span[2]) + 1)
    if re.match(r"last\b", text):
        return Literal(-1)
    if re.match(r"index k = after k\b", text):
        name = next(n for n, k in domain.fields if isinstance(k, t.Seq))
        return Call("len", (Variable(name),))
    if re.match(r"(all|both|every|the module returns|from the)\b", text) or text in ("", "-"):
        return None
    try:
        return parse_expression(text, "positions")
    except DistillError:
        raise DistillError(
            "D121",
            f"`positions` is not understood: {text}",
            remedy="write all, last, an index such as -1, or a range such as 9..13",
        ) from None


def _decoded(
    text: str, tie: str, vocabulary: Vocabulary, tolerance: float
) -> tuple[Decode, Feedback | None]:
    text = text.strip()
    labels = vocabulary.labels
    high: Any = "high" if re.search(r"\b(highest|last) index\b", tie) else "low"
    if accept := re.match(r"accept iff logit (\d) > logit (\d)", text):
        first = int(accept[1]) == 0
        rejecting = "reject" in tie
        # An equal pair must decode to rejection.
        side: Any = "high" if first == rejecting else "low"
        return Decode("argmax", labels=(first, not first), tie=side), None
    if re.match(r"threshold\(", text):
        bound = re.search(r"logit > (-?[\d.]+)", text) or re.match(r"threshold\((-?[\d.]+)\)", text)
        assert bound is not None
        return Decode(
            "threshold", threshold=float(bound[1]), labels=vocabulary.tokens or None
        ), None
    if re.match(r"arg(max|min)\b", text):
        rule: Any = text[:6]
        if "fed back" in text:
            until = re.search(r"until (\S+)", text)
            names = vocabulary.tokens or None
            tokens = tuple((token, i) for i, token in enumerate(vocabulary.tokens))
            mark = until[1] if until else None
            decode = Decode(rule, labels=names, tie=high)  # type: ignore[arg-type]
            return decode, Feedback(Literal(160), mark, tokens)
        if "one token only" in text:
            labels = vocabulary.tokens or None
        return Decode(rule, labels=labels, tie=high), None  # type: ignore[arg-type]
    if re.match(r"round\b", text):
        return Decode("round"), None
    if value := re.match(r"value(?:\s*\+-\s*([\d.eE+-]+))?", text):
        return Decode("value", tolerance=float(value[1] or tolerance)), None
    raise DistillError(
        "D121",
        f"`decode` is not understood: {text}",
        remedy="write argmax, argmin, threshold(0.5), round, value or value +- 0.01",
    )


def condition_of(text: str, domain: Domain) -> str | None:
    """A constraint in words as a condition of the domain; None where there is none to state."""
    text = text.strip()
    sequence = next((n for n, k in domain.fields if isinstance(k, t.Seq)), None)
    parts: list[str] = []
    if re.search(r"\ball\b.*\bdistinct\b", text) and sequence:
        parts.append(f"len(set({sequence})) == len({sequence})")
    if order := re.search(r"\bwith (\w+) (<|<=|>|>=) (\w+)", text):
        parts.append(f"{order[1]} {order[2]} {order[3]}")
    if multiple := re.search(r"length a multiple of (\d+)", text):
        parts.append(f"len({sequence}) % {multiple[1]} == 0")
    if streams := re.search(
        r"one of the (\w+) interleaved streams \w+\[i::(\d+)\] has as many (\S+) as (\S+)", text
    ):
        inner = f"{sequence}[i::{streams[2]}]"
        parts.append(
            f'all({inner}.count("{streams[3]}") != {inner}.count("{streams[4]}") '
            f"for i in range({streams[2]}))"
        )
    elif balance := re.search(r"strings with as many (\S+) as (\S+) are outside", text):
        parts.append(f'{sequence}.count("{balance[1]}") != {sequence}.count("{balance[2]}")')
    if re.search(r"most frequent \w+ is not unique are outside", text):
        most = f"max({sequence}.count(d) for d in {sequence})"
        parts.append(f"sum({sequence}.count(c) == {most} for c in set({sequence})) == 1")
    return " and ".join(parts) or None


def _number(text: str, pattern: str) -> int | None:
    found = re.search(pattern, text)
    return int(found[1]) if found else None
