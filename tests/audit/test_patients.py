"""Splits by patient, and the bootstrap over patients."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats

from medvae.auditing import Pool
from medvae.auditing._patients import halve, interval, patients_in, percentile, resampled, share

ALONE = [(f"p{number % 7}",) for number in range(40)]
PAIRS = [(f"p{number % 7}", f"p{number * 3 % 5}") for number in range(40)]


@pytest.mark.parametrize("synthetic", [ALONE, PAIRS, [("other",), ("others",)], []])
@pytest.mark.parametrize("seed", range(5))
def test_no_patient_is_on_both_sides(seed: int, synthetic: list[tuple[str, ...]]) -> None:
    halves = halve(ALONE, synthetic, seed)
    sides = [
        {p for row in halves.real[side] for p in ALONE[row]}
        | {p for row in halves.synthetic[side] for p in synthetic[row]}
        for side in (0, 1)
    ]
    assert not sides[0] & sides[1]
    assert sum(map(len, halves.real)) == len(ALONE)


def test_each_set_is_on_both_sides() -> None:
    real = [("a",), ("b",)]
    for seed in range(10):
        for synthetic in ([("b",), ("c",)], [("c",), ("d",)], [("a",), ("b",)]):
            halves = halve(real, synthetic, seed)
            assert [*map(len, halves.real), *map(len, halves.synthetic)] == [1, 1, 1, 1]


def test_a_slice_of_patients_on_both_sides_is_on_neither() -> None:
    halves = halve([("a",), ("b",)], [("a", "b"), ("a",)], 0)
    assert sorted(np.concatenate(halves.synthetic).tolist()) == [1]


def test_a_split_depends_on_its_key_alone() -> None:
    found = [halve(ALONE, PAIRS, 0, "one", number).real[0].tolist() for number in (1, 1, 2, 3, 4)]
    assert found[0] == found[1]
    assert any(one != other for one, other in pairwise(found[1:]))


def test_patients_are_drawn_as_a_whole() -> None:
    for alone, pairs in resampled(ALONE, PAIRS, seed=0, draws=20):
        times = {patient: alone[row] for row, (patient,) in enumerate(ALONE)}
        assert alone.tolist() == [times[patient] for (patient,) in ALONE]
        assert sum(times.values()) == len(times)
        assert pairs.tolist() == [times[one] * times[other] for one, other in PAIRS]


def test_the_interval_of_a_share_is_that_of_its_patients() -> None:
    """Slices of a patient who are all marked or not say no more than one slice."""
    groups = [(f"p{number // 10}",) for number in range(400)]
    marks = np.repeat(np.arange(40) % 4 == 0, 10)
    found = share(marks, groups, 0, 0.3)
    exact = stats.binom(40, 0.25)
    assert found.value == 0.25
    assert found.baseline == 0.3
    assert found.low == pytest.approx(exact.ppf(0.025) / 40, abs=0.03)
    assert found.high == pytest.approx(exact.ppf(0.975) / 40, abs=0.03)


@pytest.mark.parametrize("every", [False, True])
def test_a_share_of_all_or_none_is_not_certain(every: bool) -> None:
    found = share(np.full(len(ALONE), every), ALONE, 0)
    assert found.value == every
    assert found.high - found.low == pytest.approx(1 - 0.05 ** (1 / 7))


def test_intervals_cover_a_mean_of_few_patients() -> None:
    random = np.random.default_rng(0)
    groups = [(f"p{number}",) for number in range(6)]
    covered = 0
    for seed in range(60):
        numbers = random.standard_normal(6)
        drawn = [numbers @ w / w.sum() for (w,) in resampled(groups, seed=seed, draws=200)]
        low, high = interval(drawn, 6)
        covered += low <= 0 <= high
    assert covered >= 52


def test_a_percentile_is_numpys() -> None:
    numbers = np.random.default_rng(0).standard_normal(1000)
    groups = [(f"p{number // 10}",) for number in range(1000)]
    for percent in (5, 50):
        found = percentile(numbers, groups, percent, 0)
        assert found.value == pytest.approx(np.percentile(numbers, percent), abs=0.02)
        assert found.low < stats.norm.ppf(percent / 100) < found.high


def test_pictures_of_a_pool_are_in_0_to_1() -> None:
    pictures = np.arange(0, 256, 5, dtype=np.uint8).reshape(1, 4, 13)
    made = Pool(pictures, (("p",),), ("k",))
    assert made.batch(np.array([0])) == pytest.approx(pictures / 255)
    assert len(made) == 1
    assert patients_in(made.groups) == {"p"}
    with pytest.raises(ValueError, match="for each slice"):
        Pool(pictures, (("p",), ("q",)), ("k",))
