"""Networks and programs over real vectors as one graph of affine maps and scalar functions.

Everything that bounds are computed for is a `Graph`: node 0 is the input vector x of the domain,
each later node a vector made from earlier ones.  The nodes of the network and those of the
program stand in one graph, so that a bound of their difference sees how they depend on each other.

A runtime's rounding is part of the meaning: an affine node may be off by `noise` times the sum
of the magnitudes of its terms, a function node by `noise` times its magnitude (plus TINY).  All
bounds hold for every such deviation, hence for the runtime and for exact arithmetic alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias, assert_never

import numpy as np

TINY = 1e-36
"""More than what underflow in float32 can change in one operation, times the terms of a sum."""
_SPARSE_ENTRIES = 500_000


@dataclass(frozen=True, eq=False)
class Matrix:
    """A linear map to `shape[0]` entries from `shape[1]`; dense or scipy.sparse."""

    values: Any

    @property
    def shape(self) -> tuple[int, int]:
        return (int(self.values.shape[0]), int(self.values.shape[1]))

    @cached_property
    def transposed(self) -> Any:
        return self.values.T if isinstance(self.values, np.ndarray) else self.values.T.tocsr()

    @cached_property
    def magnitudes(self) -> Any:
        """|M| transposed."""
        return abs(self.transposed)

    @cached_property
    def single(self) -> Any:
        """M transposed, in float32."""
        return self.transposed.astype(np.float32)

    @cached_property
    def terms(self) -> int:
        """The most entries that any row has."""
        if isinstance(self.values, np.ndarray):
            return int((self.values != 0).sum(1).max(initial=0))
        return int(np.diff(self.values.tocsr().indptr).max(initial=0))

    @cached_property
    def identity(self) -> bool:
        """Does the map leave every entry as it is?"""
        rows, columns = self.shape
        if rows != columns:
            return False
        if isinstance(self.values, np.ndarray):
            return bool(np.array_equal(self.values, np.eye(rows)))
        return self.values.nnz == rows and bool((self.values.diagonal() == 1.0).all())

    def applied(self, batch: np.ndarray) -> np.ndarray:
        """M y for each row y of a batch (B, m)."""
        return np.asarray(batch @ self.transposed)

    def pulled(self, rows: np.ndarray) -> np.ndarray:
        """a M for each row a of (P, n)."""
        return np.asarray(rows @ self.values)

    def picked(self, rows: np.ndarray) -> np.ndarray:
        """The rows of M with these numbers, dense."""
        chosen = self.values[rows]
        return np.asarray(chosen if isinstance(chosen, np.ndarray) else chosen.toarray())


def matrix(values: Any) -> Matrix:
    """A matrix, stored sparse where it is large and mostly zero."""
    large = isinstance(values, np.ndarray) and values.size > _SPARSE_ENTRIES
    if large and np.count_nonzero(values) < 0.1 * values.size:
        from scipy.sparse import csr_array

        return Matrix(csr_array(values))
    return Matrix(values)


@dataclass(frozen=True, slots=True, eq=False)
class Input:
    """The vector x itself."""

    size: int


@dataclass(frozen=True, slots=True, eq=False)
class Affine:
    """The sum of `matrix @ source` over the terms, plus `bias`; no matrix is the identity.

    Each entry may also be off by `absolute`, and by the sum of `sizes @ |source|`: for sums whose
    terms cancel, so that what was added is greater than what is left.
    """

    size: int
    terms: tuple[tuple[int, Matrix | None], ...]
    bias: np.ndarray
    noise: float = 0.0
    absolute: np.ndarray | None = None
    sizes: tuple[tuple[int, Matrix], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class Function:
    """A function of one variable, entry by entry; `name` is one of verify.relaxations."""

    size: int
    name: str
    source: int
    parameter: float = 0.0
    noise: float = 0.0


@dataclass(frozen=True, slots=True, eq=False)
class Product:
    """The product of two nodes, entry by entry."""

    size: int
    left: int
    right: int
    noise: float = 0.0


Node: TypeAlias = Input | Affine | Function | Product


def sources(node: Node) -> tuple[int, ...]:
    """The nodes that a node is made from."""
    match node:
        case Input():
            return ()
        case Affine(terms=terms):
            return tuple(source for source, _ in terms)
        case Function(source=source):
            return (source,)
        case Product(left=left, right=right):
            return (left, right)
        case _:
            assert_never(node)


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in an order in which each comes after those that it uses."""

    nodes: tuple[Node, ...]

    @cached_property
    def tight(self) -> tuple[bool, ...]:
        """For each node whether a relaxation depends on its range."""
        used = [False] * len(self.nodes)
        for node in self.nodes:
            match node:
                case Function(source=source):
                    used[source] = True
                case Product(left=left, right=right):
                    used[left] = used[right] = True
        return tuple(used)

    @cached_property
    def simple(self) -> tuple[bool, ...]:
        """For each node whether intervals already give its exact range."""
        result: list[bool] = []
        for node in self.nodes:
            match node:
                case Input():
                    result.append(True)
                case Affine(terms=terms):
                    first = isinstance(self.nodes[terms[0][0]], Input) if terms else True
                    result.append(len(terms) <= 1 and first)
                case Function() | Product():
                    result.append(True)
                case _:
                    assert_never(node)
        return tuple(result)

    @cached_property
    def inner(self) -> tuple[bool, ...]:
        """For each node whether a tight node that is not simple is made from it, or is it."""
        result = [
            tight and not simple for tight, simple in zip(self.tight, self.simple, strict=True)
        ]
        for number in range(len(self.nodes) - 1, -1, -1):
            if result[number]:
                for source in sources(self.nodes[number]):
                    result[source] = True
        return tuple(result)

    @cached_property
    def form_entries(self) -> int:
        """The most entries that a linear form of an inner node has, for one box (see
        verify.zonotopes)."""
        inner = [node for node, used in zip(self.nodes, self.inner, strict=True) if used]
        symbols = sum(node.size for node in inner if not isinstance(node, Affine))
        return symbols * max((node.size for node in inner), default=0)

    @cached_property
    def relu_only(self) -> tuple[bool, ...]:
        """For each node whether only ReLUs use its range, so that its sign is all that counts."""
        result = [True] * len(self.nodes)
        for node in self.nodes:
            match node:
                case Function(name=name, source=source) if name != "relu":
                    result[source] = False
                case Product(left=left, right=right):
                    result[left] = result[right] = False
        return tuple(result)


@dataclass
class Builder:
    """A graph in the making; each method adds a node and returns its number."""

    nodes: list[Node] = field(default_factory=list)

    def graph(self) -> Graph:
        return Graph(tuple(self.nodes))

    def add(self, node: Node) -> int:
        self.nodes.append(node)
        return len(self.nodes) - 1

    def input(self, size: int) -> int:
        assert not self.nodes, "the input is node 0"
        return self.add(Input(size))

    def affine(
        self,
        terms: tuple[tuple[int, Matrix | None], ...],
        bias: np.ndarray | float,
        *,
        unit: float = 0.0,
    ) -> int:
        """`unit` is the rounding unit of the arithmetic; sums in any order are covered."""
        size = len(bias) if isinstance(bias, np.ndarray) else self.size(terms)
        count = sum(1 if m is None else m.terms for _, m in terms) + 3
        terms = tuple((s, None if m is None or m.identity else m) for s, m in terms)
        full = np.broadcast_to(np.asarray(bias, np.float64), (size,)).copy()
        return self.add(self.joined(Affine(size, terms, full, accumulated(count, unit))))

    def joined(self, node: Affine) -> Affine:
        """The node in terms of the sources of its source, where it only adds a bias to a map that
        has none: (a (1 + e) + b) (1 + f) is off by at most (1 + e) (1 + f) - 1 times |a| + |b|.
        The bounds of networks are carried through half as many nodes then."""
        match node.terms:
            case ((source, None),):
                inner = self.nodes[source]
                if (
                    isinstance(inner, Affine)
                    and inner.absolute is None
                    and not inner.sizes
                    and not inner.bias.any()
                ):
                    noise = (1.0 + inner.noise) * (1.0 + node.noise) - 1.0
                    noise *= 1.0 + 1e-12
                    return Affine(node.size, inner.terms, node.bias, noise)
        return node

    def size(self, terms: tuple[tuple[int, Matrix | None], ...]) -> int:
        source, first = terms[0]
        return self.nodes[source].size if first is None else first.shape[0]

    def cast(self, source: int, unit: float) -> int:
        """The source rounded once."""
        size = self.nodes[source].size
        return self.add(Affine(size, ((source, None),), np.zeros(size), unit))

    def function(
        self, name: str, source: int, *, parameter: float = 0.0, noise: float = 0.0
    ) -> int:
        return self.add(Function(self.nodes[source].size, name, source, parameter, noise))

    def product(self, left: int, right: int, *, unit: float = 0.0) -> int:
        return self.add(Product(self.nodes[left].size, left, right, 2 * unit))

    def maximum(self, left: int, right: int, *, unit: float = 0.0) -> int:
        """max(a, b) = b + relu(a - b); the runtime does not round it."""
        size = self.nodes[left].size
        minus = matrix(-np.eye(size))
        gap = self.affine(((left, None), (right, minus)), 0.0)
        return self.affine(((right, None), (self.function("relu", gap), None)), 0.0)


def accumulated(count: int, unit: float) -> float:
    """gamma_n = n u / (1 - n u): the relative error of a sum of products of `count` terms
    (Higham, Accuracy and Stability, section 3.1)."""
    total = count * unit
    assert total < 0.5, "a sum too long for this precision"
    return total / (1.0 - total)


def values(graph: Graph, points: np.ndarray) -> list[np.ndarray]:
    """Every node at points (B, d), in float64 and without noise; no bound."""
    from verify.relaxations import FUNCTIONS

    result: list[np.ndarray] = []
    for node in graph.nodes:
        match node:
            case Input():
                result.append(points)
            case Affine(terms=terms, bias=bias):
                total = np.broadcast_to(bias, (len(points), node.size))
                for source, m in terms:
                    total = total + (result[source] if m is None else m.applied(result[source]))
                result.append(np.asarray(total))
            case Function(name=name, source=source, parameter=parameter):
                result.append(FUNCTIONS[name].value(result[source], parameter))
            case Product(left=left, right=right):
                result.append(result[left] * result[right])
            case _:
                assert_never(node)
    return result
