"""The area under the ROC curve, as scikit-learn has it, with weights and equal scores."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from medvae.auditing._separation import auc

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(0, 1, 120).round(1)
SYNTHETIC = RANDOM.normal(0.7, 1, 90).round(1)
WEIGHTS = RANDOM.integers(0, 4, 120).astype(np.float64), RANDOM.integers(0, 4, 90).astype(float)
TRUTH = np.repeat((0, 1), (120, 90))
SCORES = np.concatenate((REAL, SYNTHETIC))


def evened(real: NDArray[np.float64], synthetic: NDArray[np.float64]) -> NDArray[np.float64]:
    """Weights of all slices that make each set a half."""
    return np.concatenate((real / real.sum(), synthetic / synthetic.sum()))


def test_areas_are_those_of_scikit_learn() -> None:
    area = auc(REAL, SYNTHETIC)
    assert area() == pytest.approx(metrics.roc_auc_score(TRUTH, SCORES))
    assert area(*WEIGHTS) == pytest.approx(
        metrics.roc_auc_score(TRUTH, SCORES, sample_weight=evened(*WEIGHTS))
    )


def test_what_weighs_nothing_has_no_area() -> None:
    assert np.isnan(auc(REAL, SYNTHETIC)(np.zeros(120), np.ones(90)))
    assert np.isnan(auc(REAL, SYNTHETIC)(np.ones(120), np.zeros(90)))


def test_equal_scores_tell_nothing() -> None:
    assert auc(np.zeros(5), np.zeros(3))() == 0.5
