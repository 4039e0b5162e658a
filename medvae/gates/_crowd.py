"""How far vectors are from the nearest of many, exactly and at the speed of a matrix product."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Crowd"]

_AT_A_TIME = 1_000_000
"""Numbers that are held at a time: 8 MB, of which there are a few."""


class Crowd:
    """Many vectors, to find the distances from others to those that are nearest to them.

    Args:
        vectors: ``[N, D]`` float32, not copied; N is 1 at least.
        groups: of the vectors, for distances to those of other groups.
    """

    def __init__(self, vectors: NDArray[np.float32], groups: Sequence[str] = ()) -> None:
        self._vectors = vectors
        self._squares = np.einsum("nd,nd->n", vectors, vectors)
        self._longest = float(self._squares.max())
        self._groups = np.array(groups)
        # A sum of D products, and what is made of three of them, each a little wrong.
        self._rounding = 8 * (vectors.shape[1] + 8) * float(np.finfo(np.float32).eps)

    def __len__(self) -> int:
        return len(self._vectors)

    def distances(
        self, queries: NDArray[np.float32], count: int = 1, groups: Sequence[str] | None = None
    ) -> NDArray[np.float64]:
        """Return the mean Euclidean distance of each query ``[Q, D]`` to its nearest, ``[Q]``.

        It depends neither on the order of the vectors nor on which queries are asked together.

        Args:
            queries: from which the distances are.
            count: how many of the nearest count; all of them, where there are fewer.
            groups: of the queries, whose own are left out; infinite where nothing else is there.
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
        """Measure those that may be nearest; how a product is rounded must not show."""
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
