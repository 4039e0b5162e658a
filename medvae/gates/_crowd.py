"""Exact distances to the nearest neighbours, at the speed of a matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Crowd"]

_AT_A_TIME = 1_000_000
"""Numbers in an array held at a time (8 MB); a few such arrays exist at once."""


class Crowd:
    """Reference vectors among which the nearest neighbours of queries are searched.

    Args:
        vectors: Reference vectors, ``[N, D]`` float32, not copied; N must be at least 1.
        groups: Group of each vector, for distances to vectors of other groups.
    """

    def __init__(self, vectors: NDArray[np.float32], groups: Sequence[str] = ()) -> None:
        self._vectors = vectors
        self._squares = np.einsum("nd,nd->n", vectors, vectors)
        self._longest = float(self._squares.max())
        self._groups = np.array(groups)
        # Bound on the rounding error of a sum of D products, and of combining three of them.
        self._rounding = 8 * (vectors.shape[1] + 8) * float(np.finfo(np.float32).eps)

    def __len__(self) -> int:
        return len(self._vectors)

    def distances(
        self, queries: NDArray[np.float32], count: int = 1, groups: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """Return the mean Euclidean distance of each query to its nearest neighbours, ``[Q]``.

        The result depends neither on the order of the vectors nor on how queries are batched.

        Args:
            queries: Vectors to measure from, ``[Q, D]``.
            count: Number of nearest neighbours; all vectors if there are fewer.
            groups: Group of each query, whose own vectors are left out; the distance is infinite if
                there are no others.
        """
        step = max(1, _AT_A_TIME // len(self))
        found = []
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            rough = self._squares - 2 * (some @ self._vectors.T)
            for index, (query, row) in enumerate(zip(some, rough, strict=True), start):
                if groups is not None:
                    row[self._groups == groups[index]] = np.inf
                found.append(self._distance(query, row, count))
        return np.array(found)

    def _distance(
        self, query: NDArray[np.float32], rough: NDArray[np.float32], count: int
    ) -> float:
        """Return the exact mean distance, measured to all vectors that may be among the nearest."""
        last = np.partition(rough, count - 1)[count - 1] if len(rough) > count else np.inf
        error = self._rounding * (float(query @ query) + self._longest)
        near = np.flatnonzero((rough <= last + 2 * error) & np.isfinite(rough))
        if not len(near):
            return math.nan if np.isnan(query).any() else math.inf
        step = max(1, _AT_A_TIME // len(query))
        squares = [
            np.square(self._vectors[near[start : start + step]] - query.astype(np.float64)).sum(1)
            for start in range(0, len(near), step)
        ]
        return float(np.sqrt(np.sort(np.concatenate(squares))[:count]).mean())
