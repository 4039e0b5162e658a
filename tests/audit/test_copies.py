"""Copies: real slices are found in a synthetic set, whatever else is near is not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pools import pool
from scipy.spatial.distance import cdist

from medvae.audit._copies import Copies, find_copies, outlines
from medvae.audit._estimate import Pool

REAL = pool(range(10))
OTHERS = pool(range(20, 30))
ITSELF = Pool(REAL.pictures, REAL.groups, tuple(f"s{key}" for key in REAL.keys))
NOTHING = [None] * len(REAL)


def copies(
    synthetic: Pool, sources: list[tuple[str, ...] | None] | list[None] = NOTHING, real: Pool = REAL
) -> Copies:
    vectors = outlines(real), outlines(synthetic)
    return find_copies({"pixels": vectors}, real, synthetic, sources, 0)


def vectors(seed: int, count: int = 60) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 9)).astype(np.float32)


def test_real_slices_against_themselves_are_copies() -> None:
    found = copies(ITSELF)
    assert found.share.value == 1
    assert found.share.baseline == 0
    assert found.copied.all()
    assert found.nearest.tolist() == list(range(len(REAL)))
    assert found.declared_share.value == 0


def test_brighter_noisier_copies_are_copies() -> None:
    noise = np.random.default_rng(0).normal(0, 6, REAL.pictures.shape)
    varied = (REAL.pictures * 0.8 + 20 + noise).clip(0, 255).astype(np.uint8)
    assert copies(Pool(varied, REAL.groups, ITSELF.keys)).share.value == 1


def test_slices_of_other_patients_are_no_copies() -> None:
    found = copies(OTHERS)
    assert found.share.value == 0
    assert found.share.high < 0.3
    assert (found.nearness > 1).all()


def test_declared_sources_are_told_apart() -> None:
    sources = [(key,) if number % 2 else ("else",) for number, key in enumerate(REAL.keys)]
    found = copies(ITSELF, sources)
    assert found.copied.tolist() == [number % 2 == 0 for number in range(len(REAL))]
    assert (found.declared == ~found.copied).all()
    assert (found.share.value, found.declared_share.value) == (0.5, 0.5)
    assert set(found.worst(20)) <= set(np.flatnonzero(found.copied).tolist())


def test_a_declared_source_that_is_there_twice_is_a_declared_one() -> None:
    twice = Pool(
        np.concatenate((REAL.pictures, REAL.pictures)),
        REAL.groups + OTHERS.groups,
        tuple(f"z{key}" for key in REAL.keys) + OTHERS.keys,
    )
    found = copies(ITSELF, [(f"z{key}",) for key in REAL.keys], real=twice)
    assert found.declared.all()


def test_neighbours_and_limits_are_those_of_all_distances() -> None:
    known, asked = vectors(0), vectors(1)
    groups = tuple((f"p{number % 7}",) for number in range(60))
    real = Pool(REAL.pictures, groups, tuple(f"r{n:02}" for n in range(60)))
    synthetic = Pool(real.pictures, groups, tuple(f"s{n:02}" for n in range(60)))
    space = find_copies({"x": (known, asked)}, real, synthetic, NOTHING, 0).spaces["x"]
    lengths = cdist(asked, known)
    assert space.row.tolist() == lengths.argmin(1).tolist()
    assert space.distance == pytest.approx(lengths.min(1))
    among = cdist(known, known)
    np.fill_diagonal(among, np.inf)
    assert space.real_distance == pytest.approx(among.min(1))
    assert space.limit == pytest.approx(np.percentile(among.min(1), 1))
    own = np.arange(60) % 7
    among[own[:, None] == own] = np.inf
    assert space.stranger_distance == pytest.approx(among.min(1))


def test_a_copy_in_one_space_is_a_copy() -> None:
    known, asked = vectors(0), vectors(1)
    spaces = {"x": (known, asked), "y": (vectors(2), vectors(2))}
    found = find_copies(spaces, REAL, ITSELF, NOTHING, 0)
    assert found.copied.all()
    assert found.nearest.tolist() == list(range(60))
    assert found.nearness.max() == 0


def test_real_slices_that_are_there_twice_leave_a_limit() -> None:
    known = np.repeat(vectors(0, 30), 2, axis=0)
    space = find_copies({"x": (known, known)}, REAL, ITSELF, NOTHING, 0).spaces["x"]
    assert space.limit == pytest.approx(0.02 * np.sqrt(known.var(0).sum()), rel=1e-5)


def test_where_all_slices_lie_at_one_place_exact_copies_alone_are_copies() -> None:
    same = np.ones((60, 9), np.float32)
    assert find_copies({"x": (same, same + 1)}, REAL, ITSELF, NOTHING, 0).share.value == 0


def test_empty_slices_are_no_copies() -> None:
    some = np.arange(len(REAL)) % 5 == 0
    pictures = np.where(some[:, None, None], 0, REAL.pictures)
    real = Pool(pictures, REAL.groups, REAL.keys)
    found = copies(Pool(pictures, REAL.groups, ITSELF.keys), real=real)
    assert found.copied.tolist() == (~some).tolist()
    assert (found.share.value, found.share.baseline) == (1, 0)
    assert not set(found.worst(48)) & set(np.flatnonzero(some).tolist())
    assert found.spaces["pixels"].limit > 0.05


def test_the_worst_come_first() -> None:
    near = pool(range(10), blur=1.2, name="s")
    found = copies(near)
    worst = found.worst(7)
    assert len(worst) == 7
    nearness = found.nearness[worst]
    assert (np.diff(nearness) >= 0).all()
    assert nearness[-1] <= np.sort(found.nearness)[7]
