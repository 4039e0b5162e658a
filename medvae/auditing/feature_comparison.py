"""Features of the two sets: which share has other means, and how many slices lie near others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from scipy import stats
from sklearn.metrics.pairwise import euclidean_distances

from medvae.auditing._features import direction_names, principal_directions
from medvae.auditing._figures import clouds
from medvae.auditing._patients import Groups, Rows, halve, interval
from medvae.auditing._statistic import AuditSettings, ComparedSets, Estimate
from medvae.pages import part
from medvae.progress import Progress, ignore_progress
from medvae.randomness import generator

__all__ = ["compare_features", "differing", "manifold", "measure", "section"]

_MOST = 2000
"""Maximum number of slices on a side: a table of distances between them takes 32 MB."""

_FEWEST = 2
"""Minimum number of patients or slices on a side: one gives no variance and has no neighbour."""

_LEVEL = 0.05
_SPLITS = 20
_NEIGHBOURS = 5
_NAMES = ("differing", "precision", "coverage")

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
    """Compare real and synthetic features.

    Both sets are split in two by patient several times, and the real slices of each side are
    compared with the synthetic ones of the other: a slice that lies close to the one from which it
    was made is not thereby realistic. The baselines compare the real slices of both sides. Values
    are means over the splits, and their intervals contain 95 % of them.

    Slices of one patient are similar, and a test that treated them as independent would find
    differences in nearly all features between any two groups of patients. Therefore the means of
    patients are tested. Shares of neighbours depend on the number of slices, so a value and its
    baseline are computed from the same number.

    Args:
        real: Features ``[N, D]`` of the real slices.
        synthetic: Features ``[M, D]`` of the synthetic slices; a slice of two patients is assigned
            to the first in the tests.
        real_groups, synthetic_groups: Patients of each slice.
        seed: Random seed of the splits.
        splits: Number of splits.
        progress: Called with (stage, done, total, note) after each split.

    Returns:
        The share of features that differ (``differing``), the share of synthetic slices among real
        ones (``precision``, Kynkaanniemi 2019), and the share of real slices with a synthetic one
        near them (``coverage``, Naeem 2020).
    """
    values, baselines = [], []
    for split in range(splits):
        cut = halve(real_groups, synthetic_groups, seed, "features", split)
        count = min(_MOST, *map(len, (*cut.real, *cut.synthetic)))
        random = generator(seed, "features", split)
        known, made = (
            [_sample(features, groups, rows, count, random) for rows in sides]
            for features, groups, sides in (
                (real, real_groups, cut.real),
                (synthetic, synthetic_groups, cut.synthetic),
            )
        )
        for one, other in ((0, 1), (1, 0)):
            rows = known[one][1]
            radii = _radii(rows) if len(rows) >= _FEWEST else None
            values.append(_compared(known[one], radii, made[other]))
            baselines.append(_compared(known[one], radii, known[other]))
        progress("Comparing features", split + 1, splits, "")
    columns = zip(_NAMES, zip(*values, strict=True), zip(*baselines, strict=True), strict=True)
    return {name: _mean(found, others) for name, found, others in columns}


def _sample(
    features: NDArray[np.float32],
    groups: Groups,
    rows: Rows,
    count: int,
    random: np.random.Generator,
) -> tuple[Numbers, Numbers]:
    """Return the mean features of each patient, ``[P, D]``, and those of some slices."""
    patients, places = np.unique([groups[row][0] for row in rows], return_inverse=True)
    sums = np.zeros((len(patients), features.shape[1]))
    np.add.at(sums, places, features[rows])
    means = sums / np.bincount(places, minlength=len(patients))[:, None]
    chosen = np.sort(random.permutation(rows)[:count])
    return means, features[chosen].astype(np.float64)


def _compared(
    real: tuple[Numbers, Numbers], radii: Numbers | None, synthetic: tuple[Numbers, Numbers]
) -> tuple[float, float, float]:
    """Return all measures of two samples; NaN where one of them is too small."""
    differ = precision = coverage = np.nan
    if min(len(real[0]), len(synthetic[0])) >= _FEWEST:
        differ = differing(real[0], synthetic[0])
    if radii is not None:
        precision, coverage = manifold(real[1], synthetic[1], radii)
    return differ, precision, coverage


def _mean(values: Sequence[float], baselines: Sequence[float]) -> Estimate:
    known, others = ([n for n in numbers if np.isfinite(n)] for numbers in (values, baselines))
    value = float(np.mean(known)) if known else np.nan
    return Estimate(value, *interval(known), float(np.mean(others)) if others else None)


def differing(one: Numbers, other: Numbers) -> float:
    """Return the share of features with different means, by Welch's two-sided t-test.

    The false discovery rate is controlled at 0.05. A feature that is constant does not differ.

    Args:
        one: Independent rows ``[P, D]``, at least two.
        other: Independent rows ``[Q, D]``, at least two.
    """
    spread = np.sqrt(sum(sample.var(0, ddof=1) / len(sample) for sample in (one, other)))
    largest = np.maximum(np.abs(one).max(0), np.abs(other).max(0))
    varies = spread > np.finfo(np.float64).eps * largest
    p = np.ones(one.shape[1])
    with warnings.catch_warnings():
        # Raised for a feature that is constant in only one sample.
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        p[varies] = stats.ttest_ind(one[:, varies], other[:, varies], equal_var=False).pvalue
    return float(np.mean(stats.false_discovery_control(p) < _LEVEL))


def manifold(
    real: Numbers, synthetic: Numbers, radii: Numbers | None = None
) -> tuple[float, float]:
    """Return precision and coverage, based on the 5 nearest real neighbours of each real slice.

    Args:
        real: Features ``[N, D]``, at least two rows.
        synthetic: Features ``[M, D]``.
        radii: Distance of each real slice to its fifth neighbour; computed if not given.
    """
    radii = _radii(real) if radii is None else radii
    within = euclidean_distances(real, synthetic) <= radii[:, None]
    return float(within.any(0).mean()), float(within.any(1).mean())


def _radii(real: Numbers) -> Numbers:
    """Return the distance of each row, of at least two, to its fifth neighbour."""
    nearest = min(_NEIGHBOURS, len(real) - 1)
    radii: Numbers = np.partition(euclidean_distances(real), nearest, axis=1)[:, nearest]
    return radii


def measure(sets: ComparedSets, settings: AuditSettings) -> Mapping[str, Mapping[str, Estimate]]:
    """Compare the features of each kind."""
    real, seed, progress = sets.real, settings.seed, settings.progress
    return sets.compare(
        lambda other: {
            name: compare_features(
                known,
                other.features[name],
                real.pool.groups,
                other.pool.groups,
                seed,
                progress=progress,
            )
            for name, known in real.features.items()
        }
    )


def section(result: object, sets: ComparedSets) -> Iterator[Markup]:
    """Yield a figure of the positions of both sets for each kind of features."""
    figures = []
    for name, known in sets.real.features.items():
        pca = principal_directions(known, 2)
        axes = direction_names(pca.explained_variance_ratio_)
        if len(axes) == 2:
            sides = {"real": known, "synthetic": sets.synthetic.features[name]}
            points = {side: pca.transform(found) for side, found in sides.items()}
            title = f"Slices along the directions in which the real ones vary most ({name})"
            figures.append(part("drawing", clouds(points, *axes).uri, title, title))
    yield part("gallery", "figures", figures)
