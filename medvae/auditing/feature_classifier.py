"""Whether logistic regression on features can tell synthetic slices from real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medvae.auditing._decoded import Pool
from medvae.auditing._separation import Key, Score, cross_validated, planned_halves
from medvae.auditing._statistic import AuditSettings, ComparedSets, Estimate

__all__ = ["measure", "tell_features_apart"]

_STEPS = 2000

Features = Sequence[NDArray[np.float32]]


def tell_features_apart(
    real: Pool,
    real_features: NDArray[np.float32],
    synthetic: Pool,
    features: NDArray[np.float32],
    seed: int,
    splits: int,
) -> Estimate:
    """Tell two sets apart by logistic regression on features.

    Args:
        real, synthetic: The sets.
        real_features: Features of the real slices, ``[N, D]``.
        features: Features of the synthetic slices, ``[M, D]``.
        seed: Random seed for the splits.
        splits: Number of splits of the real patients in two for the baseline; 0 for no baseline.

    Returns:
        The area under the ROC curve.

    Raises:
        UsageProblem: If one of the sets cannot be split by patient.
    """
    plan = planned_halves(real, synthetic, seed, splits)
    return cross_validated(_fit, plan, real, real_features, synthetic, features, seed)


def _fit(real: Features, synthetic: Features, key: Key) -> Score:
    truth = np.repeat((0, 1), (len(real), len(synthetic)))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_STEPS))
    model.fit(np.stack([*real, *synthetic]).astype(np.float64), truth)

    def score(features: Features) -> NDArray[np.float64]:
        scores: NDArray[np.float64] = model.decision_function(np.stack(features).astype(np.float64))
        return scores

    return score


def measure(sets: ComparedSets, settings: AuditSettings) -> Mapping[str, Estimate]:
    """Fit a classifier to the features of each kind."""
    real, seed, splits = sets.real, settings.seed, sets.splits
    return sets.compare(
        lambda other: {
            name: tell_features_apart(
                real.pool, known, other.pool, other.features[name], seed, splits
            )
            for name, known in real.features.items()
        }
    )
