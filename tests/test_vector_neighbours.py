"""Distances to the nearest of many: against brute force, in any order and company."""

from __future__ import annotations

import tracemalloc

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from medvae.neighbours import Neighbours


def vectors(seed: int, *shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@settings(deadline=None)
@given(
    st.integers(1, 50),
    st.integers(1, 8),
    st.integers(1, 7),
    st.integers(0, 1000),
    st.sampled_from([0.0, 1.0, 1e5]),
)
def test_distances_are_those_of_brute_force(
    size: int, units: int, count: int, seed: int, far: float
) -> None:
    # Far from the origin, a product says hardly anything of small distances.
    known = vectors(seed, size, units) + np.float32(far)
    groups = np.array([str(row % 3) for row in range(size)])
    asked, asked_groups = known[: size // 2], groups[: size // 2]
    every = np.linalg.norm(asked[:, None].astype(np.float64) - known, axis=2)
    known_vectors = Neighbours(known, groups.tolist())
    nearest = np.sort(every, axis=1)[:, :count].mean(axis=1)
    np.testing.assert_allclose(known_vectors.distances(asked, count), nearest, rtol=1e-12)
    every[asked_groups[:, None] == groups] = np.inf
    others = [
        row[np.isfinite(row)][:count].mean() if np.isfinite(row).any() else np.inf
        for row in np.sort(every, axis=1)
    ]
    np.testing.assert_allclose(
        known_vectors.distances(asked, count, asked_groups.tolist()), others, rtol=1e-12
    )


@settings(deadline=None)
@given(st.integers(0, 1000), st.permutations(range(40)), st.integers(1, 12))
def test_neither_order_nor_company_shows(seed: int, order: list[int], batch: int) -> None:
    known, asked = vectors(seed, 40, 16), vectors(seed + 1, 12, 16)
    expected = Neighbours(known).distances(asked, 3).tolist()
    known_vectors = Neighbours(known[order])
    found = [known_vectors.distances(asked[i : i + batch], 3) for i in range(0, 12, batch)]
    assert np.concatenate(found).tolist() == expected


def test_many_are_not_held_at_once() -> None:
    known_vectors = Neighbours(vectors(0, 50_000, 64))
    asked = vectors(1, 400, 64)
    tracemalloc.start()
    known_vectors.distances(asked, 5)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # All distances together take 80 MB.
    assert peak < 60e6
