"""Tests of features: as scipy's, and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from medvae.auditing import Estimate
from medvae.auditing.feature_tests import compare_features, differing

FEATURES, SLICES = 60, 8


def drawn(
    patients: int, seed: int, shift: float = 0
) -> tuple[NDArray[np.float32], list[tuple[str, ...]]]:
    """Features that vary more from patient to patient than from slice to slice."""
    random = np.random.default_rng(seed)
    own = random.standard_normal((patients, 1, FEATURES))
    features = own + 0.3 * random.standard_normal((patients, SLICES, FEATURES)) + shift
    groups = [(f"{seed}.{number // SLICES}",) for number in range(patients * SLICES)]
    return features.reshape(-1, FEATURES).astype(np.float32), groups


def outcome(seed: int, shift: float = 0) -> dict[str, Estimate]:
    real, groups = drawn(24, 2 * seed)
    synthetic, others = drawn(24, 2 * seed + 1, shift)
    return compare_features(real, synthetic, groups, others, seed, splits=10)


@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_shares_are_scipys() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(0, 1, (12, 200)), random.normal(0.6, 2, (17, 200))
    welch = stats.ttest_ind(one, other, equal_var=False).pvalue
    below = np.sort(welch) <= 0.05 * np.arange(1, 201) / 200
    found = below.nonzero()[0]
    expected = [(welch < 0.05).mean(), (found[-1] + 1 if len(found) else 0) / 200]
    assert differing(one, other) == pytest.approx(expected)
    assert 0 < expected[1] < expected[0]


def test_about_5_percent_of_the_features_differ_where_nothing_does() -> None:
    found = [outcome(seed) for seed in range(10)]
    differences = [one["t_test"] for one in found]
    assert np.mean([one.value for one in differences]) == pytest.approx(0.05, abs=0.02)
    within = [one.baseline for one in differences if one.baseline is not None]
    assert len(within) == len(found)
    assert np.mean(within) == pytest.approx(0.05, abs=0.02)
    assert all(one.low <= 0.05 <= one.high for one in differences)
    assert np.mean([one["t_test_adjusted"].value for one in found]) < 0.01


def test_what_differs_is_found() -> None:
    found = outcome(0, shift=3)
    for differences in found.values():
        assert differences.value > 0.99
        assert differences.baseline is not None
        assert differences.baseline < 0.2


def test_a_set_beside_itself_is_as_real_beside_real() -> None:
    real, groups = drawn(24, 0)
    found = compare_features(real, real, groups, groups, 0, splits=10)
    assert found["t_test"].value == pytest.approx(found["t_test"].baseline)


def test_features_that_are_constant_do_not_differ() -> None:
    real, groups = drawn(6, 0)
    real[:, :30] = 0.7
    found = compare_features(real, real, groups, groups, 0, splits=5)
    assert found["t_test"].value <= 0.5
    assert differing(np.ones((4, 3)), np.ones((5, 3))) == (0, 0)


def test_one_synthetic_patient_is_not_tested_against_itself() -> None:
    real, groups = drawn(8, 0)
    found = compare_features(real, real[:SLICES], groups, [("only",)] * SLICES, 0, splits=4)
    assert np.isnan(found["t_test"].value)
