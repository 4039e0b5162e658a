"""Features of two sets: means and neighbours as other computations have them, and known answers."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from medvae.auditing import Estimate
from medvae.auditing.feature_comparison import compare_features, differing, manifold

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(0, 1, (90, 12))
SYNTHETIC = RANDOM.normal(0.4, 1.3, (70, 12))
FEATURES, SLICES = 60, 8


def test_manifolds_are_those_of_their_neighbours() -> None:
    radii = NearestNeighbors(n_neighbors=6).fit(REAL).kneighbors(REAL)[0][:, 5]
    across = cdist(REAL, SYNTHETIC)
    inside = across <= radii[:, None]
    expected = inside.any(0).mean(), (across.min(1) <= radii).mean()
    assert manifold(REAL, SYNTHETIC) == pytest.approx(expected)
    far = SYNTHETIC + 100
    assert manifold(REAL, far) == (0, 0)


@pytest.mark.filterwarnings("default::RuntimeWarning")
def test_shares_of_features_are_scipys() -> None:
    random = np.random.default_rng(0)
    one, other = random.normal(0, 1, (12, 200)), random.normal(0.6, 2, (17, 200))
    welch = stats.ttest_ind(one, other, equal_var=False).pvalue
    below = np.sort(welch) <= 0.05 * np.arange(1, 201) / 200
    expected = (below.nonzero()[0][-1] + 1) / 200
    assert differing(one, other) == pytest.approx(expected)
    assert 0 < expected < (welch < 0.05).mean()


def measured(shift: float, copies: bool = False) -> dict[str, Estimate]:
    random = np.random.default_rng(1)
    own = np.repeat(random.normal(0, 1, (40, 10)), 5, axis=0)
    features = (own + random.normal(0, 0.5, own.shape)).astype(np.float32)
    groups = [(f"p{number // 5}",) for number in range(len(own))]
    if copies:
        return compare_features(features, features, groups, groups, 0)
    rows = np.arange(len(own)) % 10 < 5
    others = [group for group, row in zip(groups, rows, strict=True) if not row]
    known = [group for group, row in zip(groups, rows, strict=True) if row]
    return compare_features(features[rows], features[~rows] + np.float32(shift), known, others, 0)


def test_real_slices_of_other_patients_are_as_near_as_real_ones() -> None:
    found = measured(0)
    for name in ("precision", "coverage"):
        assert found[name].value == pytest.approx(found[name].baseline, abs=0.15)


def test_what_is_shifted_is_far() -> None:
    far = measured(3)
    for name in ("precision", "coverage"):
        assert far[name].value < 0.1
        assert far[name].baseline == pytest.approx(measured(0)[name].baseline)


def test_copies_are_as_near_as_real_slices_of_other_patients() -> None:
    """A slice that lies beside the one it was made of is none the better for it."""
    found = measured(0, copies=True)
    for estimate in found.values():
        assert estimate.value == pytest.approx(estimate.baseline)


def test_sets_that_cannot_be_split_are_not_compared() -> None:
    real, synthetic = REAL.astype(np.float32), SYNTHETIC.astype(np.float32)
    found = compare_features(real, synthetic, [("a",)] * 90, [("b",)] * 70, 0)
    assert all(np.isnan(one.value) and one.baseline is None for one in found.values())


def drawn(
    patients: int, seed: int, shift: float = 0
) -> tuple[NDArray[np.float32], list[tuple[str, ...]]]:
    """Features that vary more from patient to patient than from slice to slice."""
    random = np.random.default_rng(seed)
    own = random.standard_normal((patients, 1, FEATURES))
    features = own + 0.3 * random.standard_normal((patients, SLICES, FEATURES)) + shift
    groups = [(f"{seed}.{number // SLICES}",) for number in range(patients * SLICES)]
    return features.reshape(-1, FEATURES).astype(np.float32), groups


def outcome(seed: int, shift: float = 0) -> Estimate:
    real, groups = drawn(24, 2 * seed)
    synthetic, others = drawn(24, 2 * seed + 1, shift)
    return compare_features(real, synthetic, groups, others, seed, splits=10)["differing"]


def test_hardly_any_features_differ_where_nothing_does() -> None:
    found = [outcome(seed) for seed in range(10)]
    assert np.mean([one.value for one in found]) < 0.01
    within = [one.baseline for one in found if one.baseline is not None]
    assert len(within) == len(found)
    assert np.mean(within) < 0.01


def test_what_differs_is_found() -> None:
    found = outcome(0, shift=3)
    assert found.value > 0.99
    assert found.baseline is not None
    assert found.baseline < 0.2


def test_a_set_beside_itself_is_as_real_beside_real() -> None:
    real, groups = drawn(24, 0)
    found = compare_features(real, real, groups, groups, 0, splits=10)
    for estimate in found.values():
        assert estimate.value == pytest.approx(estimate.baseline)


def test_features_that_are_constant_do_not_differ() -> None:
    real, groups = drawn(6, 0)
    real[:, :30] = 0.7
    found = compare_features(real, real, groups, groups, 0, splits=5)
    assert found["differing"].value <= 0.5
    assert differing(np.ones((4, 3)), np.ones((5, 3))) == 0


def test_one_synthetic_patient_is_not_tested_against_itself() -> None:
    real, groups = drawn(8, 0)
    found = compare_features(real, real[:SLICES], groups, [("only",)] * SLICES, 0, splits=4)
    assert np.isnan(found["differing"].value)
