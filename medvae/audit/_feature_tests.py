"""Feature tests: how many features have a different mean in the synthetic set."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medvae.audit._estimate import Estimate, Groups
from medvae.audit._patients import Rows, halve, interval

__all__ = ["Differences", "FeatureTests", "feature_tests", "shares"]

_LEVEL = 0.05
_FEWEST = 2
"""Minimum number of patients on a side: one patient gives no variance."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Differences:
    """The shares of features that differ, according to one test.

    Attributes:
        between: Share between real slices of some patients and synthetic slices of others; its
            baseline is the value of ``within_real``.
        within_real: Share between real slices of some patients and of others.
        within_synthetic: Share between synthetic slices of some patients and of others; None if
            there are too few patients.
    """

    between: Estimate
    within_real: Estimate
    within_synthetic: Estimate | None


@dataclass(frozen=True)
class FeatureTests:
    """The results of the tests for the features of one extractor.

    Attributes:
        features: Number of features.
        patients: Mean number of patients on each side of a test.
        t_test: Welch's two-sided t-test, p < 0.05, as published.
        t_test_adjusted: Welch's t-test with the false discovery rate controlled at 0.05.
        mann_whitney, mann_whitney_adjusted: Mann-Whitney test, which assumes no distribution,
            without and with the same control.
    """

    features: int
    patients: float
    t_test: Differences
    t_test_adjusted: Differences
    mann_whitney: Differences
    mann_whitney_adjusted: Differences


def feature_tests(
    real: NDArray[np.float32],
    synthetic: NDArray[np.float32],
    real_groups: Groups,
    synthetic_groups: Groups,
    seed: int,
    *,
    splits: int = 50,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureTests:
    """Test whether the features of the two sets have the same means.

    Slices of one patient are similar, and a test that treated them as independent would find
    differences in nearly all features between any two groups of patients. Therefore the means of
    patients are tested, and the two sides have no patient in common: about 5 % of the features
    then differ if the sets do not. Both sets are split in two by patient many times; each share is
    the mean over these splits, and its interval contains 95 % of them.

    Args:
        real: Features ``[N, D]`` of the real slices.
        synthetic: Features ``[M, D]`` of the synthetic slices; a slice of two patients is assigned
            to the first.
        real_groups, synthetic_groups: Patients of each slice.
        seed: Random seed of the splits.
        splits: Number of splits.
        progress: Called with (done, total) after each split.
    """
    found: dict[str, list[Numbers]] = {"real": [], "synthetic": [], "between": []}
    patients = []
    for split in range(splits):
        halves = halve(real_groups, synthetic_groups, seed, "feature tests", split)
        here = [_patient_means(real, real_groups, rows) for rows in halves.real]
        there = [_patient_means(synthetic, synthetic_groups, rows) for rows in halves.synthetic]
        for name, one, other in (
            ("real", here[0], here[1]),
            ("synthetic", there[0], there[1]),
            ("between", here[0], there[1]),
            ("between", here[1], there[0]),
        ):
            if min(len(one), len(other)) >= _FEWEST:
                found[name].append(shares(one, other))
                if name == "between":
                    patients.append((len(one) + len(other)) / 2)
        if progress is not None:
            progress(split + 1, splits)
    estimates = {name: _estimates(numbers) for name, numbers in found.items()}
    differences = []
    for number in range(4):
        within_real, within, between = (estimates[name][number] for name in found)
        between = Estimate(between.value, between.low, between.high, within_real.value)
        known = within if found["synthetic"] else None
        differences.append(Differences(between, within_real, known))
    t_test, t_adjusted, ranks, ranks_adjusted = differences
    mean_patients = float(np.mean(patients)) if patients else 0.0
    return FeatureTests(real.shape[1], mean_patients, t_test, t_adjusted, ranks, ranks_adjusted)


def _patient_means(features: NDArray[np.float32], groups: Groups, rows: Rows) -> Numbers:
    """Return the mean features of the slices of each patient, ``[P, D]``."""
    patients, places = np.unique([groups[row][0] for row in rows], return_inverse=True)
    sums = np.zeros((len(patients), features.shape[1]))
    np.add.at(sums, places, features[rows])
    means: Numbers = sums / np.bincount(places, minlength=len(patients))[:, None]
    return means


def shares(one: Numbers, other: Numbers) -> Numbers:
    """Return the shares of features that differ, in the order of `FeatureTests`, ``[4]``.

    Args:
        one: Independent rows ``[P, D]``, at least two.
        other: Independent rows ``[Q, D]``, at least two.
    """
    found = []
    for p in (_welch(one, other), _mann_whitney(one, other)):
        found += [np.mean(p < _LEVEL), np.mean(stats.false_discovery_control(p) < _LEVEL)]
    return np.array(found, np.float64)


def _welch(one: Numbers, other: Numbers) -> Numbers:
    """Return two-sided p-values of Welch's t-test, ``[D]``; 1 for a constant feature."""
    spread = np.sqrt(sum(sample.var(0, ddof=1) / len(sample) for sample in (one, other)))
    largest = np.maximum(np.abs(one).max(0), np.abs(other).max(0))
    varies = spread > np.finfo(np.float64).eps * largest
    p: Numbers = np.ones(one.shape[1])
    with warnings.catch_warnings():
        # Raised for a feature that is constant in only one sample.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        p[varies] = stats.ttest_ind(one[:, varies], other[:, varies], equal_var=False).pvalue
    return p


def _mann_whitney(one: Numbers, other: Numbers) -> Numbers:
    """Return two-sided p-values of the Mann-Whitney test, ``[D]``; 1 for a constant feature."""
    p = stats.mannwhitneyu(one, other, axis=0, method="asymptotic").pvalue
    known: Numbers = np.nan_to_num(p, nan=1.0)
    return known


def _estimates(numbers: list[Numbers]) -> list[Estimate]:
    """Return an estimate for each test from its shares over all splits."""
    if not numbers:
        return [Estimate(np.nan, np.nan, np.nan)] * 4
    return [Estimate(float(column.mean()), *interval(column)) for column in np.stack(numbers).T]
