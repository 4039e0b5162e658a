"""Classifiers that tell synthetic from real slices, scored on patients they have not seen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from medvae.auditing._decoded import Pool
from medvae.auditing._patients import (
    Groups,
    Halves,
    Rows,
    Weights,
    halve,
    interval,
    patients_in,
    resampled,
)
from medvae.auditing._statistic import Estimate
from medvae.errors import UsageProblem
from medvae.randomness import generator

Scores = NDArray[np.float64]
Values = Sequence[NDArray[Any]]
"""Pictures or features of some slices, one array for each."""

Key = tuple[str | int, ...]
Score = Callable[[Values], Scores]
"""Scores slices; a higher score means more synthetic."""

Fit = Callable[[Values, Values, Key], Score]
"""Fits a classifier to real and synthetic slices; the key is for its random numbers."""


class _Fold(NamedTuple):
    """Slices scored by a classifier that has not seen their patients: their rows, and the area."""

    real: Rows
    synthetic: Rows
    area: Callable[..., float]


def planned_halves(real: Pool, synthetic: Pool, seed: int, splits: int) -> list[Halves]:
    """Split both sets in two by patient, with equally many slices of either set on a side.

    Args:
        real, synthetic: The sets to tell apart.
        seed: Random seed for the splits.
        splits: Number of further splits of the real slices, as if those of half of the patients
            were synthetic, for the baseline.

    Returns:
        The halves of the sets, followed by those of the real slices.

    Raises:
        UsageProblem: If one of the sets cannot be split by patient.
    """
    halves = halve(real.groups, synthetic.groups, seed)
    for name, sides in (("real", halves.real), ("synthetic", halves.synthetic)):
        if not all(map(len, sides)):
            raise UsageProblem(
                f"the {name} slices cannot be split by patient; give slices of two or more "
                "patients, not all of whom are in each slice"
            )
    planned = _balanced(halves, real.keys, synthetic.keys, seed)
    return [planned, *_real_halves(real, seed, splits)]


def _real_halves(real: Pool, seed: int, splits: int) -> Iterator[Halves]:
    for split in range(splits):
        one, other = halve(real.groups, (), seed, "baseline", split).real
        groups: list[Groups] = [[real.groups[row] for row in rows] for rows in (one, other)]
        parts = halve(groups[0], groups[1], seed, "baseline", split, "halves")
        sides = [[one[rows] for rows in parts.real], [other[rows] for rows in parts.synthetic]]
        if all(len(rows) for side in sides for rows in side):
            halves = Halves((sides[0][0], sides[0][1]), (sides[1][0], sides[1][1]))
            yield _balanced(halves, real.keys, real.keys, seed)


def _balanced(
    halves: Halves, real_keys: Sequence[str], synthetic_keys: Sequence[str], seed: int
) -> Halves:
    """Take equally many slices of either set, in the order of their keys."""
    real, synthetic = [], []
    for one, other in zip(halves.real, halves.synthetic, strict=True):
        count = min(len(one), len(other))
        real.append(_some(one, real_keys, count, seed))
        synthetic.append(_some(other, synthetic_keys, count, seed))
    return Halves((real[0], real[1]), (synthetic[0], synthetic[1]))


def _some(rows: Rows, keys: Sequence[str], count: int, seed: int) -> Rows:
    ordered = np.array(sorted(rows.tolist(), key=keys.__getitem__), np.intp)
    chosen = generator(seed, "balanced").permutation(len(ordered))[:count]
    return ordered[np.sort(chosen)]


def cross_validated(
    fit: Fit,
    plan: Sequence[Halves],
    real: Pool,
    real_values: NDArray[Any],
    synthetic: Pool,
    values: NDArray[Any],
    seed: int,
) -> Estimate:
    """Return the area under the ROC curve of classifiers that score patients they have not seen.

    A classifier is trained on each side of the planned halves, and scores the other side. The area
    is the mean of both, whose scores are not on a common scale; it is 0.5 if the sets cannot be
    told apart. The interval is by bootstrap over the scored patients, without training again. It is
    the mean of the intervals of both classifiers, and not the narrower interval of the mean: what
    the patients of a half share by chance is what one classifier is trained on and the other is
    tested on, so their errors are correlated.

    Args:
        fit: Fits the classifier.
        plan: Halves of the sets, and those for the baseline, as from `planned_halves`.
        real, synthetic: The sets to tell apart.
        real_values: Pictures or features of the real slices, ``[N, ...]``.
        values: The same of the synthetic slices, ``[M, ...]``.
        seed: Random seed of the bootstrap.
    """
    folds = _folds(fit, real_values, values, plan[0], ())
    patients = [_fewest_patients(fold, real, synthetic) for fold in folds]
    draws = np.array(
        [
            [fold.area(w[fold.real], v[fold.synthetic]) for fold in folds]
            for w, v in resampled(real.groups, synthetic.groups, seed=seed)
        ]
    )
    ends = [interval(*fold) for fold in zip(draws.T, patients, strict=True)]
    low, high = np.mean(ends, axis=0).tolist()
    if low == 1:
        # If all n patients are told apart, the bootstrap gives no interval. By the rule of three,
        # 1 - 0.05^(1/n) of patients may not be told apart: their area is 0.5.
        low = (1 + 0.05 ** (1 / min(patients))) / 2
    baselines = [
        fold.area()
        for split, halves in enumerate(plan[1:])
        for fold in _folds(fit, real_values, real_values, halves, ("baseline", split))
    ]
    value = float(np.mean([fold.area() for fold in folds]))
    return Estimate(value, low, high, float(np.mean(baselines)) if baselines else None)


def _folds(
    fit: Fit, real: NDArray[Any], synthetic: NDArray[Any], halves: Halves, key: Key
) -> list[_Fold]:
    # Plain arrays on the same memory: views of a mapped file are slow to make.
    real, synthetic = np.asarray(real), np.asarray(synthetic)
    folds = []
    for side, other in ((0, 1), (1, 0)):
        score = fit(
            [real[row] for row in halves.real[side]],
            [synthetic[row] for row in halves.synthetic[side]],
            (*key, side),
        )
        real_rows, rows = halves.real[other], halves.synthetic[other]
        scores = score([real[row] for row in real_rows]), score([synthetic[row] for row in rows])
        folds.append(_Fold(real_rows, rows, auc(*scores)))
    return folds


def auc(real: Scores, synthetic: Scores) -> Callable[..., float]:
    """Return a function that computes the area under the ROC curve, for weights of the slices.

    scikit-learn's function computes the same, but sorts and checks the scores in each call, which
    takes too long for the many draws of a bootstrap.

    Args:
        real: Scores ``[N]``.
        synthetic: Scores ``[M]``, which should be higher.

    Returns:
        A function of the weights of the real and the synthetic slices; 1 by default. If all weights
        of a set are 0, the area is NaN.
    """
    order = np.argsort(real, kind="stable")
    ranked = real[order]
    below, up_to = (np.searchsorted(ranked, synthetic, side) for side in ("left", "right"))

    def area(real_weights: Weights | None = None, weights: Weights | None = None) -> float:
        real_weights = np.ones(len(real)) if real_weights is None else real_weights
        weights = np.ones(len(synthetic)) if weights is None else weights
        sums = np.concatenate(([0.0], np.cumsum(real_weights[order])))
        with np.errstate(invalid="ignore"):
            # Equal scores count as half.
            won = (sums[below] + sums[up_to]) / 2 / sums[-1]
            return float(won @ weights / weights.sum())

    return area


def _fewest_patients(fold: _Fold, real: Pool, synthetic: Pool) -> int:
    sides = ((real, fold.real), (synthetic, fold.synthetic))
    return min(len(patients_in([pool.groups[row] for row in rows])) for pool, rows in sides)
