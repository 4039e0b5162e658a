"""Whether logistic regression on features can tell synthetic slices from real ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medvae.auditing._decoded import Pool
from medvae.auditing._patients import Estimate
from medvae.auditing._separation import Key, Score, Separation, cross_validated, planned_halves
from medvae.auditing._statistic import (
    LOOKS_DIFFERENT,
    AuditSettings,
    ComparedSets,
    Rule,
    Statistic,
)

__all__ = ["FeatureClassifier", "tell_features_apart"]

_STEPS = 2000

Features = Sequence[NDArray[np.float32]]


def tell_features_apart(
    real: Pool,
    real_features: NDArray[np.float32],
    synthetic: Pool,
    features: NDArray[np.float32],
    seed: int,
    splits: int,
) -> Separation:
    """Tell two sets apart by logistic regression on features.

    Args:
        real, synthetic: The sets.
        real_features: Features of the real slices, ``[N, D]``.
        features: Features of the synthetic slices, ``[M, D]``.
        seed: Random seed for the splits.
        splits: Number of splits of the real patients in two for the baseline; 0 for no baseline.

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


class FeatureClassifier(Statistic[Mapping[str, Estimate]]):
    """How well logistic regression on the features of each extractor tells the sets apart."""

    name = "feature_auc"
    title = "Can a classifier on features tell the sets apart?"
    explanation = (
        "Logistic regression on features is trained and scored on the same halves of the patients "
        "as the small network. With many features it is the stronger classifier."
    )
    numbers: ClassVar[Mapping[str, str]] = {"*": "AUC of logistic regression on features"}
    rules = (
        Rule(
            name="Stronger classifier",
            question="Can logistic regression on features tell them apart?",
            green=0.70,
            amber=0.90,
            path="*",
            slack=0.10,
            advice=LOOKS_DIFFERENT,
        ),
    )

    def measure(self, sets: ComparedSets, settings: AuditSettings) -> Mapping[str, Estimate]:
        """Fit a classifier to the features of each extractor."""
        pool, seed, splits = sets.real.pool, settings.seed, sets.splits
        return sets.compare_features(
            lambda known, made, other: (
                tell_features_apart(pool, known, other.pool, made, seed, splits).auc
            )
        )
