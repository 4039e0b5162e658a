"""Copies: real slices are found in a synthetic set, whatever else is near is not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray
from pools import pool
from scipy.spatial.distance import cdist

from medvae.auditing import Pool
from medvae.auditing.copies import Copies, find_copies, nearest_real

REAL = pool(range(10))
OTHERS = pool(range(20, 30))
ITSELF = Pool(REAL.pictures, REAL.groups, tuple(f"s{key}" for key in REAL.keys))
NOTHING = [None] * len(REAL)


def copies(
    synthetic: Pool,
    sources: list[tuple[str, ...] | None] | list[None] = NOTHING,
    real: Pool = REAL,
    series: Sequence[str] | None = None,
    baseline: tuple[Copies, Pool] | None = None,
) -> Copies:
    """Find copies; each patient has one series by default."""
    vectors = real.outlines, synthetic.outlines
    series = [of[0] for of in real.groups] if series is None else series
    return find_copies({"pixels": vectors}, real, synthetic, sources, series, 0, baseline)


def renamed(pool: Pool, shift: int = 6) -> Pool:
    """Give slices the names of other patients of the same set."""
    groups = tuple(np.roll(np.array(pool.groups)[:, 0], shift))
    return Pool(pool.pictures, tuple((name,) for name in groups), pool.keys)


def kinds(found: Copies) -> list[str | None]:
    return [found.kind_of(row) for row in range(len(found.kind))]


def vectors(seed: int, count: int = 60) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((count, 9)).astype(np.float32)


def test_real_slices_under_the_names_of_other_patients_are_copies() -> None:
    found = copies(renamed(ITSELF))
    assert found.share.value == 1
    assert found.share.baseline == 0
    assert found.excess.low > 0.05
    assert found.copied.all()
    assert found.nearest.tolist() == list(range(len(REAL)))


def test_brighter_noisier_copies_are_copies() -> None:
    noise = np.random.default_rng(0).normal(0, 6, REAL.pictures.shape)
    varied = (REAL.pictures * 0.8 + 20 + noise).clip(0, 255).astype(np.uint8)
    assert copies(renamed(Pool(varied, REAL.groups, ITSELF.keys))).share.value == 1


@pytest.mark.parametrize("patients", [3, 6, 10])
def test_slices_of_other_patients_are_no_copies(patients: int) -> None:
    real, others = pool(range(patients)), pool(range(20, 20 + patients))
    found = copies(others, [None] * len(others), real)
    assert found.share.value == found.excess.value == found.excess.low == 0
    assert (found.nearness > 1).all()
    assert set(kinds(found)) == {None}


def test_real_slices_that_are_alike_set_the_limit() -> None:
    """All patients have the same anatomy, so that nothing but a copy is as near as they are."""
    alike, others = (
        Pool(made.pictures, groups, made.keys)
        for made, groups in (
            (pool([0], slices=60), tuple((f"a{n // 6}",) for n in range(60))),
            (pool([0], slices=120, name="s"), tuple((f"b{n // 6}",) for n in range(120))),
        )
    )
    others = Pool(others.pictures[60:], others.groups[60:], others.keys[60:])
    assert copies(others, [None] * 60, alike).share.value == 0
    planted = Pool(
        np.concatenate((others.pictures[:55], alike.pictures[:5])), others.groups, others.keys
    )
    found = copies(planted, [None] * 60, alike)
    assert np.flatnonzero(found.copied).tolist() == [55, 56, 57, 58, 59]
    assert found.worst(5) == [55, 56, 57, 58, 59]


def test_each_kind_of_neighbour_is_told_apart() -> None:
    """Of each patient there are two series of three slices, and every slice is a plain copy."""
    series = [f"{key[:3]}.{int(key[4:]) // 3}" for key in REAL.keys]
    own = REAL.keys
    sources: list[tuple[str, ...] | None] = [(key,) for key in own]
    groups = list(REAL.groups)
    sources[1] = (own[2],)  # of the same series
    sources[2] = (own[5],)  # of the other series of the same patient
    sources[3] = None  # nothing is said but the patient
    sources[4], groups[4] = (own[12],), REAL.groups[12]  # of another patient
    sources[5], groups[5] = ("elsewhere",), ("somebody",)  # who is not among the real ones
    sources[7], groups[7] = (own[12], own[7]), (*REAL.groups[7], *REAL.groups[12])  # a transplant
    found = copies(Pool(REAL.pictures, tuple(groups), ITSELF.keys), sources, series=series)
    expected = ["source"] * len(own)
    expected[1:6] = ["series", "patient", "patient", "undeclared", "undeclared"]
    assert kinds(found) == expected
    assert found.share.value == pytest.approx(2 / 60)
    assert sorted(found.worst(2)) == [4, 5]
    assert sorted(found.worst(5)) == [1, 2, 3, 4, 5]


def test_a_declared_source_that_is_there_twice_is_a_declared_one() -> None:
    twice = Pool(
        np.concatenate((REAL.pictures, REAL.pictures)),
        REAL.groups + OTHERS.groups,
        tuple(f"z{key}" for key in REAL.keys) + OTHERS.keys,
    )
    found = copies(ITSELF, [(f"z{key}",) for key in REAL.keys], real=twice)
    assert set(kinds(found)) == {"source"}


def test_held_out_slices_give_the_baseline_of_the_difference() -> None:
    copied = Pool(REAL.pictures[:6], renamed(REAL).groups[:6], ITSELF.keys[:6])
    whole = joined(copied, pool(range(40, 43)))
    several = copies(whole, [None] * 24)
    found = copies(whole, [None] * 24, baseline=(copies(OTHERS), OTHERS))
    assert (found.excess.value, found.share.baseline) == (0.25, 0)
    same = copies(whole, [None] * 24, baseline=(several, whole))
    assert (same.excess.value, same.excess.low, same.excess.high) == (0, 0, 0)


def joined(*pools: Pool) -> Pool:
    return Pool(
        np.concatenate([one.pictures for one in pools]),
        tuple(of for one in pools for of in one.groups),
        tuple(key for one in pools for key in one.keys),
    )


def test_neighbours_and_limits_are_those_of_all_distances() -> None:
    known, asked = vectors(0), vectors(1)
    groups = tuple((f"p{number % 7}",) for number in range(60))
    real = Pool(REAL.pictures, groups, tuple(f"r{n:02}" for n in range(60)))
    synthetic = Pool(real.pictures, groups, tuple(f"s{n:02}" for n in range(60)))
    space = nearest_real((known, asked), real, synthetic)
    lengths = cdist(asked, known)
    assert space.row.tolist() == lengths.argmin(1).tolist()
    assert space.distance == pytest.approx(lengths.min(1))
    among = cdist(known, known)
    own = np.arange(60) % 7
    among[own[:, None] == own] = np.inf
    assert space.other_patient_distance == pytest.approx(among.min(1))
    assert space.limit == pytest.approx(0.5 * 7 / 12 * np.percentile(among.min(1), 1))


def found_in(spaces: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]) -> Copies:
    series = [of[0] for of in REAL.groups]
    return find_copies(spaces, REAL, renamed(ITSELF), NOTHING, series, 0)


def test_a_copy_in_one_space_is_a_copy() -> None:
    found = found_in({"x": (vectors(0), vectors(1)), "y": (vectors(2), vectors(2))})
    assert found.copied.all()
    assert found.nearest.tolist() == list(range(60))
    assert found.nearness.max() == 0


def test_what_lies_at_its_declared_source_in_one_space_is_explained() -> None:
    """A weak encoder sees much alike; a transplant still is its host to the eye."""
    spaces = {"x": (vectors(0), vectors(0)), "y": (vectors(2), np.roll(vectors(2), 6, axis=0))}
    series = [of[0] for of in REAL.groups]
    sources = [(key,) for key in REAL.keys]
    found = find_copies(spaces, REAL, ITSELF, sources, series, 0)
    assert set(kinds(found)) == {"source"}
    assert found.nearest.tolist() == list(range(60))


def test_real_slices_that_are_there_twice_leave_a_limit() -> None:
    known = np.repeat(vectors(0, 10), 6, axis=0)
    names = np.tile([of[0] for of in REAL.groups[::6]], 6)
    real = Pool(REAL.pictures, tuple((name,) for name in names), REAL.keys)
    space = nearest_real((known, known), real, ITSELF)
    assert space.other_patient_distance.max() == 0
    assert space.limit == pytest.approx(0.02 * np.sqrt(known.var(0).sum()), rel=1e-5)


def test_where_all_slices_lie_at_one_place_exact_copies_alone_are_copies() -> None:
    same = np.ones((60, 9), np.float32)
    assert found_in({"x": (same, same + 1)}).share.value == 0


def test_a_few_slices_far_from_all_others_do_not_raise_the_limit() -> None:
    known, other = vectors(0), vectors(1)
    known[:2] *= 1000
    found = found_in({"x": (known, other)})
    assert found.share.value == 0
    assert nearest_real((known, other), REAL, renamed(ITSELF)).limit < 1


def test_empty_slices_are_no_copies() -> None:
    some = np.arange(len(REAL)) % 5 == 0
    pictures = np.where(some[:, None, None], 0, REAL.pictures)
    real = Pool(pictures, REAL.groups, REAL.keys)
    found = copies(renamed(Pool(pictures, REAL.groups, ITSELF.keys)), real=real)
    assert found.copied.tolist() == (~some).tolist()
    assert (found.share.value, found.share.baseline) == (1, 0)
    assert not set(found.worst(48)) & set(np.flatnonzero(some).tolist())
    assert nearest_real((real.outlines, real.outlines), real, real).limit > 0.05


def test_the_worst_come_first() -> None:
    near = pool(range(10), blur=1.2, name="s")
    found = copies(near)
    worst = found.worst(7)
    assert len(worst) == 7
    nearness = found.nearness[worst]
    assert (np.diff(nearness) >= 0).all()
    assert nearness[-1] <= np.sort(found.nearness)[7]
