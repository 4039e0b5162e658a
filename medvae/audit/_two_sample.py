"""Two-sample classifiers that tell synthetic slices from real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from medvae.audit._curves import Curve, Ranking
from medvae.audit._estimate import Estimate, Groups, Pool
from medvae.audit._patients import Halves, Part, Rows, halve, interval, patients_in, redrawn
from medvae.audit._published import PublishedNetwork, as_input, resized, score, train
from medvae.errors import UsageProblem
from medvae.networks import device_named
from medvae.randomness import generator

__all__ = ["Activation", "Curve", "Separation", "feature_two_sample", "two_sample"]

Progress = Callable[[int, int], None]
Scores = NDArray[np.float64]
Key = tuple[str | int, ...]

_SHOWN = 2
"""Number of slices of either set whose activations are kept."""

_STEPS = 2000


@dataclass(frozen=True, eq=False)
class Activation:
    """The activation maps of a slice in the published network.

    Attributes:
        synthetic: Whether the slice is synthetic.
        row: Index of the slice in its set.
        picture: The slice as the network sees it, ``[size, size]``.
        first: Maps after the first convolution and its ReLU, ``[4, size, size]``.
        second: Maps after the second convolution, ``[8, size / 2, size / 2]``.
    """

    synthetic: bool
    row: int
    picture: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Separation:
    """How well a classifier tells synthetic from real slices of patients it has not seen.

    It is trained on half of the patients and scores the others, both ways. All metrics are means
    over the two halves, whose scores are not on a common scale. Intervals are by bootstrap over
    the scored patients; the classifiers are not retrained.

    Attributes:
        name: Name of the classifier.
        size: Side of the pictures; None if features are classified.
        slices: Number of slices of either set that were scored.
        auc: Area under the ROC curve; 0.5 if the sets cannot be told apart.
        average_precision: Average precision for the synthetic slices, which are half of all.
        roc: False positive rate and sensitivity.
        precision_recall: Recall and precision.
        scores_real, scores_synthetic: Rank of each slice within its half, from 0 for the most real
            to 1; nan for slices that were not scored, because their patients are on both sides, or
            their set has more slices than the other.
        activations: Activations of the slices of either set about which the network is most
            certain.
    """

    name: str
    size: int | None
    slices: int
    auc: Estimate
    average_precision: Estimate
    roc: Curve
    precision_recall: Curve
    scores_real: Scores
    scores_synthetic: Scores
    activations: tuple[Activation, ...] = ()


class _Fold(NamedTuple):
    """Slices scored by a classifier that has not seen their patients."""

    real: Rows
    synthetic: Rows
    ranking: Ranking


Folds = tuple[_Fold, _Fold]
Judge = Callable[[Part], Scores]
Fit = Callable[[Part, Part, Key], Judge]


def two_sample(
    real: Pool,
    synthetic: Pool,
    size: int,
    seed: int,
    *,
    epochs: int = 10,
    splits: int = 3,
    device: torch.device | str = "cpu",
    progress: Progress | None = None,
) -> Separation:
    """Train the published network on half of the patients and score the others, both ways.

    Args:
        real, synthetic: The sets to tell apart.
        size: Side of the pictures, a multiple of 4.
        seed: Random seed for splits, weights and the order of slices.
        epochs: Number of epochs.
        splits: Number of splits of the real patients in two, told apart in the same way for the
            baseline; 0 for no baseline.
        device: Device to train on.
        progress: Called with (done, total), counting slices over all epochs.

    Raises:
        UsageProblem: If one of the sets cannot be split by patient.
    """
    device = device_named(device)
    plan = _balanced_halves(real, synthetic, seed)
    others = list(_real_halves(real, seed, splits))
    count = epochs * sum(_size(halves) for halves in (plan, *others))
    done = 0
    networks: list[PublishedNetwork] = []

    def step(slices: int) -> None:
        nonlocal done
        done += slices
        if progress is not None:
            progress(done, count)

    def fit(one: Part, other: Part, key: Key) -> Judge:
        network = train(one, other, seed, *key, epochs=epochs, device=device, step=step)
        networks.append(network)
        return lambda part: score(network, part, device)

    pictures = resized(real.pictures, size)
    drawn = resized(synthetic.pictures, size)
    folds = _cross_fitted(fit, pictures, drawn, plan, (size,))
    shown = _activations(networks[0], pictures, drawn, folds[0])
    baseline = [
        _cross_fitted(fit, pictures, pictures, halves, (size, "baseline", split))
        for split, halves in enumerate(others)
    ]
    return _separation(f"published at {size}", size, real, synthetic, seed, folds, baseline, shown)


def feature_two_sample(
    name: str,
    real_features: NDArray[np.float32],
    synthetic_features: NDArray[np.float32],
    real: Pool,
    synthetic: Pool,
    seed: int,
    *,
    splits: int = 3,
) -> Separation:
    """Tell the sets apart by logistic regression on features, on the same halves of the patients.

    Args:
        name: Name of the extractor.
        real_features: Features of the real slices, ``[N, D]``.
        synthetic_features: Features of the synthetic slices, ``[M, D]``.
        real, synthetic: The sets to tell apart.
        seed: Random seed for the splits.
        splits: As for `two_sample`.

    Raises:
        UsageProblem: If one of the sets cannot be split by patient.
    """
    plan = _balanced_halves(real, synthetic, seed)
    folds = _cross_fitted(_fit_regression, real_features, synthetic_features, plan, ())
    baseline = [
        _cross_fitted(_fit_regression, real_features, real_features, halves, ())
        for halves in _real_halves(real, seed, splits)
    ]
    return _separation(name, None, real, synthetic, seed, folds, baseline, ())


def _fit_regression(real: Part, synthetic: Part, key: Key) -> Judge:
    features = np.concatenate([part.values[part.rows] for part in (real, synthetic)])
    truth = np.repeat((0, 1), (len(real.rows), len(synthetic.rows)))
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=_STEPS))
    model.fit(features.astype(np.float64), truth)

    def judge(part: Part) -> Scores:
        scores: Scores = model.decision_function(part.values[part.rows].astype(np.float64))
        return scores

    return judge


def _cross_fitted(
    fit: Fit, real: NDArray[np.generic], synthetic: NDArray[np.generic], halves: Halves, key: Key
) -> Folds:
    """Train on each side, and score the other."""
    folds = []
    for side, other in ((0, 1), (1, 0)):
        judge = fit(
            Part(real, halves.real[side]), Part(synthetic, halves.synthetic[side]), (*key, side)
        )
        here, there = halves.real[other], halves.synthetic[other]
        ranking = Ranking(judge(Part(real, here)), judge(Part(synthetic, there)))
        folds.append(_Fold(here, there, ranking))
    return folds[0], folds[1]


def _balanced_halves(real: Pool, synthetic: Pool, seed: int) -> Halves:
    """Split both sets in two by patient, with equally many slices of either set on a side."""
    halves = halve(real.groups, synthetic.groups, seed)
    for name, sides in (("real", halves.real), ("synthetic", halves.synthetic)):
        if not all(map(len, sides)):
            raise UsageProblem(
                f"the {name} slices cannot be split by patient: give slices of two patients or "
                "more, of whom not all are in each slice"
            )
    return _balanced(halves, real.keys, synthetic.keys, seed)


def _real_halves(real: Pool, seed: int, splits: int) -> Iterator[Halves]:
    """Yield splits of the real slices, as if those of half of the patients were synthetic."""
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


def _size(halves: Halves) -> int:
    return sum(len(rows) for rows in (*halves.real, *halves.synthetic))


def _activations(
    network: PublishedNetwork,
    real: NDArray[np.generic],
    synthetic: NDArray[np.generic],
    fold: _Fold,
) -> tuple[Activation, ...]:
    """Return the activations of the slices of either set that are classified most surely."""
    shown = []
    device = next(network.parameters()).device
    sides = zip((real, synthetic), (fold.real, fold.synthetic), fold.ranking.ranks(), strict=True)
    for of, (pictures, rows, ranks) in enumerate(sides):
        surest = np.argsort(ranks if of == 0 else -ranks, kind="stable")[:_SHOWN]
        for row in rows[surest].tolist():
            x = as_input(np.asarray(pictures[row : row + 1]))
            with torch.inference_mode():
                maps = network.maps(x.to(device))
            picture, first, second = (y[0].float().cpu().numpy() for y in (x, *maps))
            shown.append(Activation(bool(of), row, picture[0], first, second))
    return tuple(shown)


def _separation(
    name: str,
    size: int | None,
    real: Pool,
    synthetic: Pool,
    seed: int,
    folds: Folds,
    baseline: Sequence[Folds],
    shown: tuple[Activation, ...],
) -> Separation:
    """Combine the metrics of two folds."""
    auc, precision = _estimates(real, synthetic, seed, folds, baseline)
    scores = np.full(len(real), np.nan), np.full(len(synthetic), np.nan)
    for fold in folds:
        scores[0][fold.real], scores[1][fold.synthetic] = fold.ranking.ranks()
    return Separation(
        name=name,
        size=size,
        slices=sum(len(fold.real) for fold in folds),
        auc=auc,
        average_precision=precision,
        roc=_mean([fold.ranking.roc() for fold in folds]),
        precision_recall=_mean([fold.ranking.precision_recall() for fold in folds]),
        scores_real=scores[0],
        scores_synthetic=scores[1],
        activations=shown,
    )


def _estimates(
    real: Pool, synthetic: Pool, seed: int, folds: Folds, baseline: Sequence[Folds]
) -> list[Estimate]:
    """Return AUC and average precision.

    Their intervals are the means of the intervals of the two folds, and not the narrower intervals
    of the means: what the patients of a half share by chance is what one classifier is trained on
    and the other is tested on, so the errors of the folds are correlated.
    """
    figures = (Ranking.auc, Ranking.average_precision)
    drawn = np.array(
        [
            [[of(f.ranking, here[f.real], there[f.synthetic]) for f in folds] for of in figures]
            for here, there in redrawn(real.groups, synthetic.groups, seed=seed)
        ]
    )
    patients = [_fewest_patients(fold, real, synthetic) for fold in folds]
    estimates = []
    for figure, draws in zip(figures, drawn.transpose(1, 2, 0), strict=True):
        ends = [interval(*of) for of in zip(draws, patients, strict=True)]
        low, high = np.mean(ends, axis=0).tolist()
        if figure is Ranking.auc and low == 1:
            # If all n patients are told apart, the bootstrap gives no interval. By the rule of
            # three, 1 - 0.05^(1/n) of patients may not be told apart: their area is 0.5.
            low = (1 + 0.05 ** (1 / min(patients))) / 2
        known = [figure(fold.ranking) for pair in baseline for fold in pair]
        value = float(np.mean([figure(fold.ranking) for fold in folds]))
        estimates.append(Estimate(value, low, high, float(np.mean(known)) if known else None))
    return estimates


def _fewest_patients(fold: _Fold, real: Pool, synthetic: Pool) -> int:
    sides = ((real, fold.real), (synthetic, fold.synthetic))
    return min(len(patients_in([pool.groups[row] for row in rows])) for pool, rows in sides)


def _mean(curves: Sequence[Curve]) -> Curve:
    return Curve(curves[0].x, np.mean([curve.y for curve in curves], axis=0))
