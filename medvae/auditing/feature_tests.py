"""Feature tests: which share of the features has a different mean in the synthetic set."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from medvae.auditing._patients import Estimate, Groups, Rows, halve, interval
from medvae.auditing._statistic import (
    LOOKS_DIFFERENT,
    AuditSettings,
    ComparedSets,
    Rule,
    Statistic,
)
from medvae.progress import Progress, ignore_progress

__all__ = ["FeatureTests", "compare_features", "differing"]

_LEVEL = 0.05
_FEWEST = 2
"""Minimum number of patients on a side: one patient gives no variance."""

_SPLITS = 50

Numbers = NDArray[np.float64]


def compare_features(
    real: NDArray[np.float32],
    synthetic: NDArray[np.float32],
    real_groups: Groups,
    synthetic_groups: Groups,
    seed: int,
    *,
    splits: int = _SPLITS,
    progress: Progress = ignore_progress,
) -> dict[str, Estimate]:
    """Test whether the features of the two sets have the same means.

    Slices of one patient are similar, and a test that treated them as independent would find
    differences in nearly all features between any two groups of patients. Therefore the means of
    patients are tested, and the two sides have no patient in common: about 5 % of the features
    then differ if the sets do not. Both sets are split in two by patient many times; each share is
    the mean over these splits, and its interval contains 95 % of them. Baselines are the shares
    between real slices of different patients.

    Args:
        real: Features ``[N, D]`` of the real slices.
        synthetic: Features ``[M, D]`` of the synthetic slices; a slice of two patients is assigned
            to the first.
        real_groups, synthetic_groups: Patients of each slice.
        seed: Random seed of the splits.
        splits: Number of splits.
        progress: Called with (stage, done, total, note) after each split.

    Returns:
        The share of features that differ by Welch's two-sided t-test, p < 0.05, as published
        (``t_test``), and with the false discovery rate controlled at 0.05 (``t_test_adjusted``).
    """
    within, between = [], []
    for split in range(splits):
        halves = halve(real_groups, synthetic_groups, seed, "feature tests", split)
        known = [_patient_means(real, real_groups, rows) for rows in halves.real]
        made = [_patient_means(synthetic, synthetic_groups, rows) for rows in halves.synthetic]
        within += _shares(known[0], known[1])
        between += _shares(known[0], made[1]) + _shares(known[1], made[0])
        progress("Testing features", split + 1, splits, "")
    baselines = np.mean(within, axis=0).tolist() if within else [None, None]
    columns = np.array(between).reshape(-1, 2).T
    estimates = [
        Estimate(float(shares.mean()) if len(shares) else np.nan, *interval(shares), baseline)
        for shares, baseline in zip(columns, baselines, strict=True)
    ]
    return dict(zip(("t_test", "t_test_adjusted"), estimates, strict=True))


def _patient_means(features: NDArray[np.float32], groups: Groups, rows: Rows) -> Numbers:
    """Return the mean features of the slices of each patient, ``[P, D]``."""
    patients, places = np.unique([groups[row][0] for row in rows], return_inverse=True)
    sums = np.zeros((len(patients), features.shape[1]))
    np.add.at(sums, places, features[rows])
    means: Numbers = sums / np.bincount(places, minlength=len(patients))[:, None]
    return means


def _shares(one: Numbers, other: Numbers) -> list[tuple[float, float]]:
    """Return the shares of features that differ in a list; [] if there are too few patients."""
    return [differing(one, other)] if min(len(one), len(other)) >= _FEWEST else []


def differing(one: Numbers, other: Numbers) -> tuple[float, float]:
    """Return the shares of features with different means, before and after correction.

    Args:
        one: Independent rows ``[P, D]``, at least two.
        other: Independent rows ``[Q, D]``, at least two.
    """
    p = _welch(one, other)
    adjusted = stats.false_discovery_control(p)
    return float(np.mean(p < _LEVEL)), float(np.mean(adjusted < _LEVEL))


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


class FeatureTests(Statistic[Mapping[str, Mapping[str, Estimate]]]):
    """Share of the features of each extractor whose mean differs between the sets."""

    name = "feature_tests"
    title = "Which share of the features differs?"
    explanation = (
        "The means of each feature are compared, and each patient counts once. If the sets do not "
        "differ, 5 % of the features do by chance before correction, and none after it."
    )
    numbers: ClassVar[Mapping[str, str]] = {
        "*.t_test": "t-test, p < 0.05",
        "*.t_test_adjusted": "t-test, corrected for the number of features",
    }
    rules = (
        Rule(
            name="Features that differ",
            question="Which share of the features has another mean, after correction for their "
            "number?",
            green=0.05,
            amber=0.30,
            path="*.t_test_adjusted",
            slack=0.05,
            advice=LOOKS_DIFFERENT,
        ),
    )

    def measure(
        self, sets: ComparedSets, settings: AuditSettings
    ) -> Mapping[str, Mapping[str, Estimate]]:
        """Test the features of each extractor."""
        groups, seed, progress = sets.real.pool.groups, settings.seed, settings.progress
        return sets.compare_features(
            lambda known, made, other: compare_features(
                known, made, groups, other.pool.groups, seed, progress=progress
            )
        )
