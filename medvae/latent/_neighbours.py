"""Search for the nearest slices of other patients in the latent space."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from medvae.latent._latents import Latents

__all__ = ["nearest"]

_AT_A_TIME = 1_000_000
"""Number of float64 values in an intermediate array: 8 MB; a few arrays exist at a time."""


def nearest(
    queries: Latents, pool: Latents, count: int, *, same_kinds: bool = False
) -> list[NDArray[np.intp]]:
    """Find the latents of other patients whose means are nearest, by Euclidean distance.

    The result depends neither on the order of the pool nor on which queries are passed together:
    at equal distances, the slice with the lesser key comes first.

    Args:
        queries: Latents whose neighbours are searched; they may be in the pool themselves.
        pool: Latents among which neighbours are searched.
        count: Maximum number of neighbours per query.
        same_kinds: Whether to consider only slices with the same set of categories as the query.

    Returns:
        For each query, the indices of its neighbours in the pool, nearest first: fewer than
        ``count``, or none, if the pool does not hold enough slices of other patients.

    Raises:
        ValueError: ``count`` is below 1, or the latents have different numbers of units.
    """
    if count < 1:
        raise ValueError(f"count must be 1 or more, but is {count}")
    units = queries.mu.shape[1]
    if pool.mu.shape[1] != units:
        raise ValueError(f"the pool's latents must have {units} units, not {pool.mu.shape[1]}")
    asked_groups, groups = _codes(queries.groups, pool.groups)
    asked_kinds, kinds = _codes(queries.kinds, pool.kinds)
    found = []
    for index, (rough, error) in enumerate(_rough_squares(queries, pool)):
        eligible = groups != asked_groups[index]
        if same_kinds:
            eligible &= kinds == asked_kinds[index]
        rows = np.flatnonzero(eligible)
        if len(rows) > count:
            last = np.partition(rough[rows], count - 1)[count - 1]
            rows = rows[rough[rows] <= last + 2 * error]
        squares = _squares(queries.mu[index].numpy(), pool, rows)
        keys = (pool.keys[row] for row in rows)
        ranked = sorted(zip(squares, keys, rows.tolist(), strict=True))[:count]
        found.append(np.array([row for _, _, row in ranked], dtype=np.intp))
    return found


def _rough_squares(queries: Latents, pool: Latents) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Yield, for each query, squared distances to the pool `[P]` and their maximum error.

    Matrix products are many times as fast as differences, but their rounding depends on which
    queries are passed together, so they only select which latents may be among the nearest.
    """
    asked, known = queries.mu.numpy(), pool.mu.numpy()
    units = known.shape[1]
    pieces = list(_pieces(len(known), units))
    lengths = np.concatenate(
        [np.zeros(0), *(np.square(known[piece], dtype=np.float64).sum(1) for piece in pieces)]
    )
    # Two sums of D products: the error of each is below D + 2 roundings of all that is summed.
    rounding = 8 * (units + 8) * float(np.finfo(np.float64).eps)
    for block in _pieces(len(asked), max(len(known), units)):
        x = asked[block].astype(np.float64)
        squares = np.empty((len(x), len(known)))
        for piece in pieces:
            np.matmul(x, known[piece].astype(np.float64).T, out=squares[:, piece])
        own = np.square(x).sum(1)
        squares *= -2
        squares += lengths
        squares += own[:, None]
        for row, length in zip(squares, own, strict=True):
            yield row, rounding * float(length + lengths.max(initial=0))


def _squares(query: NDArray[np.float32], pool: Latents, rows: NDArray[np.intp]) -> list[float]:
    """Return squared distances from a query to latents, each independent of the other latents."""
    known = pool.mu.numpy()
    squares: list[float] = []
    for piece in _pieces(len(rows), known.shape[1]):
        difference = known[rows[piece]].astype(np.float64) - query
        squares += np.square(difference).sum(1).tolist()
    return squares


def _pieces(length: int, width: int) -> Iterator[slice]:
    """Yield slices of `length` rows of `width` values, each small enough to process at once."""
    step = max(1, _AT_A_TIME // width) if width else 1
    for start in range(0, length, step):
        yield slice(start, start + step)


def _codes(
    queries: Sequence[Hashable], pool: Sequence[Hashable]
) -> tuple[list[int], NDArray[np.intp]]:
    """Encode the values of both as integers, which are fast to compare."""
    numbers: dict[Hashable, int] = {}
    coded = [numbers.setdefault(value, len(numbers)) for value in (*queries, *pool)]
    return coded[: len(queries)], np.array(coded[len(queries) :], dtype=np.intp)
