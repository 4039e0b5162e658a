"""Latent neighbours: against brute force, in any order and company, with ties and with too few."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medvae.latent import Latents, nearest

KINDS = (frozenset[str](), frozenset({"cyst"}), frozenset({"cyst", "glioma"}))


def latents_of(mu: Tensor, patients: int = 3, prefix: str = "s") -> Latents:
    count = len(mu)
    return Latents.of(
        [f"{prefix}{index:04}" for index in range(count)],
        [f"p{index % patients}" for index in range(count)],
        [KINDS[index // 2 % 3] for index in range(count)],
        mu,
        torch.zeros_like(mu),
    )


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_brute_force(
    queries: Latents, index: int, pool: Latents, count: int, same_kinds: bool
) -> list[str]:
    ranked = sorted(
        (float(((pool.mu[row].double() - queries.mu[index].double()) ** 2).sum()), key)
        for row, key in enumerate(pool.keys)
        if pool.groups[row] != queries.groups[index]
        and (not same_kinds or pool.kinds[row] == queries.kinds[index])
    )
    return [key for _, key in ranked[:count]]


def keys_found(
    queries: Latents, pool: Latents, count: int, same_kinds: bool = False
) -> list[list[str]]:
    found = nearest(queries, pool, count, same_kinds=same_kinds)
    return [[pool.keys[row] for row in rows] for rows in found]


@settings(deadline=None)
@given(
    st.integers(1, 40),
    st.integers(1, 6),
    st.integers(1, 10),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
)
def test_same_as_by_brute_force(
    size: int, units: int, count: int, same_kinds: bool, on_a_grid: bool, seed: int
) -> None:
    mu = normal(size, units, seed=seed)
    # On a grid many distances are equal.
    pool = latents_of(mu.round() if on_a_grid else mu)
    expected = [by_brute_force(pool, index, pool, count, same_kinds) for index in range(size)]
    assert keys_found(pool, pool, count, same_kinds) == expected


def test_far_from_the_origin_where_matrix_products_lose_all_digits() -> None:
    mu = normal(60, 4)
    mu[:, 0] = 1e8 + mu[:, 0].round() * 8
    pool = latents_of(mu)
    expected = [by_brute_force(pool, index, pool, 5, False) for index in range(60)]
    assert keys_found(pool, pool, 5) == expected


@settings(deadline=None)
@given(st.permutations(range(24)), st.integers(1, 24))
def test_neither_the_order_of_the_pool_nor_the_company_of_a_query_matters(
    order: list[int], batch: int
) -> None:
    pool = latents_of(normal(24, 3).round())
    expected = keys_found(pool, pool, 4)
    shuffled = pool.take(order)
    for start in range(0, 24, batch):
        places = range(start, min(start + batch, 24))
        assert keys_found(pool.take(places), shuffled, 4) == [expected[i] for i in places]


def test_latents_of_spatial_size_in_any_batches() -> None:
    pool = latents_of(normal(90, 784))
    together = nearest(pool, pool, 8)
    for index in range(90):
        (alone,) = nearest(pool.take([index]), pool, 8)
        np.testing.assert_array_equal(alone, together[index])


def test_equal_distances_come_in_the_order_of_keys() -> None:
    pool = latents_of(torch.tensor([[1.0], [-1.0], [1.0], [-1.0]]), patients=4)
    query = replace(latents_of(torch.zeros(1, 1)), groups=("another",))
    assert keys_found(query, pool, 3) == [["s0000", "s0001", "s0002"]]
    assert keys_found(query, pool.take([3, 2, 1, 0]), 3) == [["s0000", "s0001", "s0002"]]


def test_a_patient_is_no_neighbour_of_itself() -> None:
    pool = latents_of(normal(30, 2), patients=5)
    for index, rows in enumerate(nearest(pool, pool, 30)):
        assert {pool.groups[row] for row in rows} == set(pool.groups) - {pool.groups[index]}


def test_only_slices_with_exactly_the_same_findings() -> None:
    pool = latents_of(normal(36, 2), patients=5)
    for index, rows in enumerate(nearest(pool, pool, 36, same_kinds=True)):
        assert len(rows) > 0
        assert {pool.kinds[row] for row in rows} == {pool.kinds[index]}


def test_fewer_where_there_are_no_more() -> None:
    pool = latents_of(normal(6, 2), patients=3)
    assert [len(rows) for rows in nearest(pool, pool, 5)] == [4] * 6


def test_none_where_there_is_no_other_patient() -> None:
    pool = latents_of(normal(6, 2), patients=1)
    assert [rows.tolist() for rows in nearest(pool, pool, 5)] == [[]] * 6


def test_none_in_an_empty_pool_and_nothing_for_no_query() -> None:
    some = latents_of(normal(2, 3))
    empty = some.take([])
    assert [rows.tolist() for rows in nearest(some, empty, 5)] == [[], []]
    assert nearest(empty, some, 5) == []
    assert nearest(empty, empty, 5) == []


def test_memory_does_not_grow_with_the_number_of_queries() -> None:
    size = 20_000
    pool = latents_of(torch.zeros(1, 64).expand(size, 64) + normal(size, 1), patients=2)
    queries = pool.take(range(2000))
    tracemalloc.start()
    nearest(queries, pool, 8)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # All distances at once would be 320 MB.
    assert peak < 150e6


def test_count_must_be_positive() -> None:
    pool = latents_of(normal(3, 2))
    with pytest.raises(ValueError, match="count must be 1 or more, but is 0"):
        nearest(pool, pool, 0)


def test_units_must_agree() -> None:
    with pytest.raises(ValueError, match="queries must have 2 units, not 3"):
        nearest(latents_of(normal(1, 3)), latents_of(normal(1, 2)), 1)
