"""Exact search for the nearest neighbours of vectors, at the speed of a matrix product."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["Neighbours"]

_AT_A_TIME = 1_000_000
"""Number of values in an intermediate array: 8 MB; a few arrays exist at a time."""

Vectors = NDArray[np.float32]


class Neighbours:
    """Vectors among which the nearest neighbours of queries are searched, by Euclidean distance.

    The result depends neither on the order of the vectors nor on which queries are passed together.

    Args:
        vectors: The vectors, ``[N, D]``, which are not copied.
        groups: Group of each vector. A query of a group has no neighbours in it.
        keys: Keys of the vectors: at equal distances, the lesser key comes first.
        kinds: Kind of each vector, for a search among vectors of one kind.

    Raises:
        ValueError: The lengths do not match.
    """

    def __init__(
        self,
        vectors: Vectors,
        groups: Sequence[Hashable] = (),
        keys: Sequence[str] = (),
        kinds: Sequence[Hashable] = (),
    ) -> None:
        if any(names and len(names) != len(vectors) for names in (groups, keys, kinds)):
            raise ValueError("groups, keys and kinds must have one entry for each vector")
        self._vectors = vectors
        self._keys = keys or [""] * len(vectors)
        self._groups, self._kinds = _Codes(groups), _Codes(kinds)
        squares = [np.einsum("nd,nd->n", *[vectors[piece]] * 2) for piece in self._pieces()]
        self._squares = np.concatenate([np.zeros(0, np.float32), *squares])
        # Bound on the rounding error of a sum of D products, and of combining three of them.
        self._rounding = 8 * (vectors.shape[1] + 8) * float(np.finfo(np.float32).eps)

    def __len__(self) -> int:
        return len(self._vectors)

    def search(
        self,
        queries: Vectors,
        count: int,
        groups: Sequence[Hashable] | None = None,
        kinds: Sequence[Hashable] | None = None,
    ) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Yield the indices of the neighbours of each query, nearest first, and their distances.

        Args:
            queries: Vectors to search from, ``[Q, D]``.
            count: Maximum number of neighbours for each.
            groups: Group of each query, whose own vectors are left out.
            kinds: Kind of each query, to which the search is restricted.

        Raises:
            ValueError: ``count`` is below 1, or the vectors have another length.
        """
        if count < 1:
            raise ValueError(f"count must be 1 or more, but is {count}")
        units = self._vectors.shape[1]
        if queries.shape[1] != units:
            raise ValueError(f"queries must have {units} units, not {queries.shape[1]}")
        step = max(1, _AT_A_TIME // max(1, len(self)))
        for start in range(0, len(queries), step):
            some = queries[start : start + step]
            products = [some @ self._vectors[piece].T for piece in self._pieces()]
            rough = self._squares - 2 * np.concatenate([some[:, :0], *products], axis=1)
            for index, (query, row) in enumerate(zip(some, rough, strict=True), start):
                eligible = np.ones(len(self), dtype=np.bool_)
                if groups is not None:
                    eligible &= self._groups.differ(groups[index])
                if kinds is not None:
                    eligible &= ~self._kinds.differ(kinds[index])
                yield self._nearest(query, row, np.flatnonzero(eligible), count)

    def distances(
        self, queries: Vectors, count: int = 1, groups: Sequence[Hashable] | None = None
    ) -> NDArray[np.float64]:
        """Return the mean distance of each query to its nearest neighbours, ``[Q]``.

        Args:
            queries: Vectors to measure from, ``[Q, D]``.
            count: Number of neighbours; all vectors if there are fewer.
            groups: Group of each query, whose own vectors are left out; the distance is infinite if
                there are no others.
        """
        found = self.search(queries, count, groups)
        return np.array([apart.mean() if len(apart) else math.inf for _, apart in found])

    def _nearest(
        self, query: Vectors, rough: Vectors, rows: NDArray[np.intp], count: int
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """Rank the vectors that may be among the nearest by their exact distances."""
        if len(rows) > count:
            last = np.partition(rough[rows], count - 1)[count - 1]
            error = self._rounding * float(query @ query + self._squares.max(initial=0))
            # A comparison with a value that is not a number must not drop the vector.
            rows = rows[~(rough[rows] > last + 2 * error)]
        step, wide = max(1, _AT_A_TIME // len(query)), query.astype(np.float64)
        parts = [
            np.square(self._vectors[rows[start : start + step]] - wide).sum(1)
            for start in range(0, len(rows), step)
        ]
        squares = np.concatenate([np.zeros(0), *parts])
        if len(rows) > count:
            near = ~(squares > np.partition(squares, count - 1)[count - 1])
            rows, squares = rows[near], squares[near]
        ranked = np.lexsort((rows, [self._keys[row] for row in rows], squares))[:count]
        return rows[ranked], np.sqrt(squares[ranked])

    def _pieces(self) -> Iterator[slice]:
        """Yield slices of the vectors, each small enough to process at once."""
        step = max(1, 8 * _AT_A_TIME // max(1, self._vectors.shape[1]))
        for start in range(0, len(self), step):
            yield slice(start, start + step)


class _Codes:
    """Names encoded as integers, which are fast to compare."""

    def __init__(self, names: Sequence[Hashable]) -> None:
        self._numbers: dict[Hashable, int] = {}
        codes = [self._numbers.setdefault(name, len(self._numbers)) for name in names]
        self._codes = np.array(codes, dtype=np.intp)

    def differ(self, name: Hashable) -> NDArray[np.bool_]:
        """Return where the names differ from a name."""
        differ: NDArray[np.bool_] = self._codes != self._numbers.get(name, -1)
        return differ
