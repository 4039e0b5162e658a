"""Distances between the two sets in a feature space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import qr, svdvals
from sklearn.metrics.pairwise import euclidean_distances

from medvae.auditing._patients import Estimate, Groups, halve, interval
from medvae.auditing._statistic import (
    LOOKS_DIFFERENT,
    AuditSettings,
    ComparedSets,
    Rule,
    Statistic,
)
from medvae.progress import Progress, ignore_progress
from medvae.randomness import generator

__all__ = ["FeatureDistances", "compare_distances", "frechet", "manifold"]

_MOST = 2000
"""Maximum number of slices on a side: a table of distances between them takes 32 MB."""

_FEWEST = 2
_SPLITS = 10
_NEIGHBOURS = 5
_NAMES = ("fid", "precision", "coverage")

Numbers = NDArray[np.float64]


def compare_distances(
    real: NDArray[np.float32],
    synthetic: NDArray[np.float32],
    real_groups: Groups,
    synthetic_groups: Groups,
    seed: int,
    *,
    splits: int = _SPLITS,
    progress: Progress = ignore_progress,
) -> dict[str, Estimate]:
    """Return the distances between real and synthetic features.

    Both sets are split in two by patient several times, and the real slices of one side are
    compared with the synthetic ones of the other: a slice that lies close to the one from which it
    was made is not thereby realistic. The baseline compares the real slices of both sides. All of
    these distances depend on the number of slices, so each is computed from the same number.
    Values are means over the splits, and their intervals contain 95 % of the splits.

    Args:
        real: Features ``[N, D]`` of the real slices.
        synthetic: Features ``[M, D]`` of the synthetic slices.
        real_groups, synthetic_groups: Patients of each slice.
        seed: Random seed of the splits.
        splits: Number of splits.
        progress: Called with (stage, done, total, note) after each split.

    Returns:
        The Frechet distance between two normal distributions (``fid``, Heusel 2017), the share of
        synthetic slices among real ones (``precision``, Kynkaanniemi 2019), and the share of real
        slices with a synthetic one near them (``coverage``, Naeem 2020).
    """
    cuts = [halve(real_groups, synthetic_groups, seed, "distances", n) for n in range(splits)]
    count = min(_MOST, *(len(rows) for cut in cuts for rows in (*cut.real, *cut.synthetic)))
    if count < _FEWEST:
        return dict.fromkeys(_NAMES, Estimate(np.nan, np.nan, np.nan))
    values, baselines = [], []
    for split, cut in enumerate(cuts):
        random = generator(seed, "distances", split)
        # The two sides take turns as the real one.
        one, other = (split % 2, 1 - split % 2)
        known, made, others = (
            features[np.sort(random.permutation(rows)[:count])].astype(np.float64)
            for features, rows in (
                (real, cut.real[one]),
                (synthetic, cut.synthetic[other]),
                (real, cut.real[other]),
            )
        )
        values.append(_distances(known, made))
        baselines.append(_distances(known, others))
        progress("Measuring distances", split + 1, splits, "")
    columns = zip(_NAMES, np.array(values).T, np.array(baselines).T, strict=True)
    return {n: Estimate(float(v.mean()), *interval(v), float(b.mean())) for n, v, b in columns}


def _distances(real: Numbers, synthetic: Numbers) -> list[float]:
    return [frechet(real, synthetic), *manifold(real, synthetic)]


def frechet(real: Numbers, synthetic: Numbers) -> float:
    """Return the Frechet distance between normal distributions fitted to two samples.

    It agrees with MONAI's `FIDMetric` to the last digits, but needs no matrix square root: the
    trace of the root of a product of covariances is the sum of the singular values of the product
    of their factors. It is therefore exact even if there are fewer slices than features.

    Args:
        real: Features ``[N, D]``, at least two rows.
        synthetic: Features ``[M, D]``.
    """
    means = [sample.mean(0) for sample in (real, synthetic)]
    factors = []
    for sample, mean in zip((real, synthetic), means, strict=True):
        factor = (sample - mean) / np.sqrt(len(sample) - 1)
        # The triangular factor has the same covariance, and at most as many rows as features.
        factors.append(qr(factor, mode="r")[0][: factor.shape[1]])
    shared = svdvals(factors[0] @ factors[1].T).sum()
    spread = sum(float(np.square(factor).sum()) for factor in factors)
    return float(np.square(means[0] - means[1]).sum() + spread - 2 * shared)


def manifold(real: Numbers, synthetic: Numbers) -> tuple[float, float]:
    """Return precision and coverage, based on the 5 nearest real neighbours of each real slice.

    Args:
        real: Features ``[N, D]``, at least two rows.
        synthetic: Features ``[M, D]``.
    """
    nearest = min(_NEIGHBOURS, len(real) - 1)
    radii = np.partition(euclidean_distances(real), nearest, axis=1)[:, nearest]
    within = euclidean_distances(real, synthetic) <= radii[:, None]
    return float(within.any(0).mean()), float(within.any(1).mean())


class FeatureDistances(Statistic[Mapping[str, Mapping[str, Estimate]]]):
    """Distances between the sets in the features of each extractor."""

    name = "distances"
    title = "How near are the sets to each other?"
    explanation = (
        "Distances depend on the features and on the number of slices: compare them with their "
        "baseline, never with those of another report."
    )
    numbers: ClassVar[Mapping[str, str]] = {
        "*.fid": "FID, Frechet distance: 0 if the sets are the same",
        "*.precision": "Precision: share of the synthetic slices among real ones",
        "*.coverage": "Coverage: share of the real slices with a synthetic one near",
    }
    rules = (
        Rule(
            name="Precision",
            question="Which share of the synthetic slices lies where real ones do?",
            green=0.90,
            amber=0.60,
            path="*.precision",
            slack=0.10,
            high_is_good=True,
            advice=LOOKS_DIFFERENT,
        ),
        Rule(
            name="Coverage",
            question="Which share of the real slices has a synthetic one near it? Low where "
            "variety is missing.",
            green=0.80,
            amber=0.40,
            path="*.coverage",
            slack=0.15,
            high_is_good=True,
            advice=(
                "Real slices have no synthetic slice near them. Augment more patients, include "
                "slices without findings, or raise the strength of the augmentation.",
            ),
        ),
    )

    def measure(
        self, sets: ComparedSets, settings: AuditSettings
    ) -> Mapping[str, Mapping[str, Estimate]]:
        """Measure the distances in the features of each extractor."""
        real, synthetic = sets.real, sets.synthetic
        return {
            name: compare_distances(
                features,
                synthetic.features[name],
                real.pool.groups,
                synthetic.pool.groups,
                settings.seed,
                progress=settings.progress,
            )
            for name, features in real.features.items()
        }
