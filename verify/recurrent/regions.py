"""Regions of hidden space: boxes in a basis that suits the network."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verify.recurrent.enclosures import Form


@dataclass(frozen=True, slots=True)
class Basis:
    """Hidden states are `vectors @ z`; `inverse` is the inverse up to rounding, and `error` bounds
    the entries of `inverse(vectors) - inverse` relative to the size of a state."""

    vectors: np.ndarray  # (h, h), a basis vector in each column
    inverse: np.ndarray
    error: float

    def form(self, low: np.ndarray, high: np.ndarray) -> Form:
        """The hidden states of boxes (B, h)."""
        middle = (low + high) / 2
        radius = np.maximum(high - middle, middle - low) * (1 + 1e-9)
        centre = middle @ self.vectors.T
        generators = radius[:, :, None] * self.vectors.T[None]
        size = (np.abs(middle) + radius) @ np.abs(self.vectors.T)
        return Form(centre, generators, 4e-16 * (len(self.vectors) + 2) * size)

    def box(self, hidden: Form) -> tuple[np.ndarray, np.ndarray]:
        """Boxes that contain the hidden states of forms."""
        turned = self.inverse.T
        centre = hidden.centre @ turned
        spread = np.abs(hidden.generators @ turned).sum(axis=1) + hidden.radius @ np.abs(turned)
        size = hidden.magnitude @ np.abs(turned)
        largest = hidden.magnitude.max(axis=1, keepdims=True)
        noise = 4e-16 * (len(self.vectors) + 2) * size + self.error * largest
        spread = spread * (1 + 1e-9) + noise
        return centre - spread, centre + spread

    def box_of(self, states: np.ndarray, radius: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
        """Boxes around hidden states (B, h) that are known to within `radius`."""
        nothing = np.zeros((len(states), 1, states.shape[1]))
        return self.box(Form(states, nothing, np.full_like(states, radius)))


def basis_of(vectors: np.ndarray) -> Basis | None:
    """The basis with the given vectors as columns; None where they are too nearly dependent."""
    vectors = np.asarray(vectors, np.float64)
    count = len(vectors)
    if np.array_equal(vectors, np.eye(count)):
        return Basis(vectors, vectors, 0.0)
    try:
        inverse = np.linalg.inv(vectors)
    except np.linalg.LinAlgError:
        return None
    product = np.abs(np.eye(count) - vectors @ inverse).sum(axis=1).max()
    product += 4e-16 * (count + 2) * (np.abs(vectors) @ np.abs(inverse)).sum(axis=1).max()
    if not product < 1e-6:
        return None
    # |V^-1 h - W h| = |W (I - (V W)^-1 ...) h| <= |W| * p / (1 - p) * |h|, rows summed.
    error = float(np.abs(inverse).sum(axis=1).max() * product / (1 - product) * 1.01)
    return Basis(vectors, inverse, error)


def residual_basis(kinds: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """The principal axes (h, h) of hidden states (n, h) about the mean of their kind (n,): the
    directions in which states that the program does not tell apart differ most, first."""
    count = int(kinds.max(initial=0)) + 1
    totals = np.zeros((count, hidden.shape[1]))
    np.add.at(totals, kinds, hidden)
    means = totals / np.maximum(np.bincount(kinds, minlength=count), 1)[:, None]
    rest = hidden - means[kinds]
    _, axes = np.linalg.eigh(rest.T @ rest + 1e-30 * np.eye(hidden.shape[1]))
    return np.asarray(axes[:, ::-1])
