"""Curves of a classifier: as scikit-learn has them, with weights and equal scores."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn import metrics

from medvae.audit._curves import Ranking

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
    ranking, even = Ranking(REAL, SYNTHETIC), evened(np.ones(120), np.ones(90))
    assert ranking.auc() == pytest.approx(metrics.roc_auc_score(TRUTH, SCORES))
    assert ranking.average_precision() == pytest.approx(
        metrics.average_precision_score(TRUTH, SCORES, sample_weight=even)
    )


def test_weighted_areas_are_those_of_scikit_learn() -> None:
    ranking, weights = Ranking(REAL, SYNTHETIC), evened(*WEIGHTS)
    assert ranking.auc(*WEIGHTS) == pytest.approx(
        metrics.roc_auc_score(TRUTH, SCORES, sample_weight=weights)
    )
    assert ranking.average_precision(*WEIGHTS) == pytest.approx(
        metrics.average_precision_score(TRUTH, SCORES, sample_weight=weights)
    )


def test_curves_are_those_of_scikit_learn() -> None:
    ranking = Ranking(REAL, SYNTHETIC)
    x, y = ranking.roc()
    false, true, _ = metrics.roc_curve(TRUTH, SCORES, drop_intermediate=False)
    assert len(x) <= 201
    assert y == pytest.approx(np.interp(x, false, true))
    even = evened(np.ones(120), np.ones(90))
    precision, recall, _ = metrics.precision_recall_curve(TRUTH, SCORES, sample_weight=even)
    found = ranking.precision_recall()
    for at, value in zip(recall[:-1], precision[:-1], strict=True):
        near = np.abs(found.x - at).argmin()
        assert abs(found.y[near] - value) < 0.1
    assert np.trapezoid(found.y, found.x) == pytest.approx(ranking.average_precision(), abs=0.02)


def test_ranks_are_in_order_of_scores() -> None:
    real, synthetic = Ranking(np.array([1.0, 3.0]), np.array([3.0, 5.0])).ranks()
    assert real.tolist() == [0, 0.5]
    assert synthetic.tolist() == [0.5, 1]


def test_what_weighs_nothing_has_no_area() -> None:
    ranking = Ranking(REAL, SYNTHETIC)
    assert np.isnan(ranking.auc(np.zeros(120)))
    assert np.isnan(ranking.average_precision(np.zeros(120)))


def test_equal_scores_tell_nothing() -> None:
    ranking = Ranking(np.zeros(5), np.zeros(3))
    assert ranking.auc() == 0.5
    assert ranking.average_precision() == 0.5
