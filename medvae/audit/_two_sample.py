"""Two-sample classifiers: how well synthetic slices can be told from real ones."""

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
"""Slices of either set whose activations are kept."""

_STEPS = 2000


@dataclass(frozen=True, eq=False)
class Activation:
    """What the two convolutions of the published network make of a slice.

    Attributes:
        synthetic: of which set the slice is.
        row: its place there.
        picture: as the network sees it, ``[size, size]``.
        first: maps behind the first convolution and its ReLU, ``[4, size, size]``.
        second: behind the second, ``[8, size / 2, size / 2]``.
    """

    synthetic: bool
    row: int
    picture: NDArray[np.float32]
    first: NDArray[np.float32]
    second: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Separation:
    """How well a classifier tells synthetic slices from real ones of patients it has not seen.

    It learns from half of the patients and scores the others, both ways. All figures are means
    over the two halves, whose scores are not on one scale. Intervals are by bootstrap over the
    patients that are scored; the classifiers stay as they are.

    Attributes:
        name: of the classifier.
        size: of the pictures; None where features are classified.
        slices: of either set that were scored.
        auc: area under the ROC curve; 0.5 where nothing is told apart.
        average_precision: of the synthetic ones, where half of all are synthetic.
        roc: false positive rate and sensitivity.
        precision_recall: recall and precision.
        scores_real, scores_synthetic: place of each slice among those of its half, from 0 for the
            most real to 1; nan for slices that were not scored, as they are of patients on both
            sides, or there are more of their set than of the other.
        activations: of the slices of either set about which the network is surest.
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
    """What was scored by a classifier that has seen nothing of these patients."""

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
        real, synthetic: the sets.
        size: of the pictures, a multiple of 4.
        seed: of splits, weights and the order of slices.
        epochs: how often the network sees each slice.
        splits: of the real patients in two, told apart likewise for the baseline; 0 for none.
        device: to train on.
        progress: is told how many slices have gone through the training, and of how many.

    Raises:
        UsageProblem: one of the sets cannot be split by patient.
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
        name: of the extractor.
        real_features: ``[N, D]``.
        synthetic_features: ``[M, D]``.
        real, synthetic: the sets.
        seed: of the splits.
        splits: as for `two_sample`.

    Raises:
        UsageProblem: one of the sets cannot be split by patient.
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
    """Learn from either side, and score the other."""
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
    """Cut both sets in two by patient, with as many slices of either set on a side."""
    halves = halve(real.groups, synthetic.groups, seed)
    for name, sides in (("real", halves.real), ("synthetic", halves.synthetic)):
        if not all(map(len, sides)):
            raise UsageProblem(
                f"the {name} slices cannot be split by patient: give slices of two patients or "
                "more, of whom not all are in each slice"
            )
    return _balanced(halves, real.keys, synthetic.keys, seed)


def _real_halves(real: Pool, seed: int, splits: int) -> Iterator[Halves]:
    """Yield the real slices as if those of half of the patients were synthetic."""
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
    """Take as many slices of either set, in an order that is that of their keys."""
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
    """Show what the network sees in slices of either set that it knows best."""
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
    """Take the figures of two folds together."""
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

    Their intervals are the means of those of the two folds, and not the narrower ones of the means:
    what the patients of one half have in common by chance is what the classifier of the other half
    learns and is tested on, so that the folds err alike.
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
            # Of n patients who are all told apart, the bootstrap says nothing. As many others as
            # the rule of three leaves may not be told apart at all: their area is 0.5.
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
