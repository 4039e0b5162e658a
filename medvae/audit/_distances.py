"""Distances between the two sets in a feature space, and the diversity of each set."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from monai.metrics import MMDMetric
from numpy.typing import NDArray
from scipy.linalg import qr, svdvals

from medvae.audit._estimate import Estimate, Groups, Pool
from medvae.audit._patients import halve, interval, patients_in, redrawn
from medvae.metrics import ms_ssim
from medvae.randomness import generator

__all__ = ["Distances", "distances", "diversity", "frechet", "kid", "manifold"]

Progress = Callable[[int, int], None]
Numbers = NDArray[np.float64]

_MOST = 2000
"""Maximum number of slices on a side: a table of distances between them takes 32 MB."""

_FEWEST = 2
_MEASURES = 7
_NEAREST = 5
_AT_ONCE = 16


@dataclass(frozen=True)
class Distances:
    """The distances between the two sets in the features of one extractor.

    Attributes:
        slices: Number of slices on each side, the same for all distances and baselines.
        fid: Frechet distance between two normal distributions (Heusel 2017).
        mmd: Maximum mean discrepancy with a linear kernel, as computed by MONAI.
        kid: Maximum mean discrepancy with a cubic kernel (Binkowski 2018).
        precision, recall: Share of synthetic slices that lie among real ones, and the reverse
            (Kynkaanniemi 2019).
        density, coverage: Counterparts that are less sensitive to outliers (Naeem 2020).
    """

    slices: int
    fid: Estimate
    mmd: Estimate
    kid: Estimate
    precision: Estimate
    recall: Estimate
    density: Estimate
    coverage: Estimate


def distances(
    real: NDArray[np.float32],
    synthetic: NDArray[np.float32],
    real_groups: Groups,
    synthetic_groups: Groups,
    seed: int,
    *,
    splits: int = 10,
    progress: Progress | None = None,
) -> Distances:
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
        progress: Called with (done, total) after each split.
    """
    cuts = [halve(real_groups, synthetic_groups, seed, "distances", n) for n in range(splits)]
    count = min(_MOST, *(len(rows) for cut in cuts for rows in (*cut.real, *cut.synthetic)))
    if count < _FEWEST:
        return Distances(count, *[Estimate(np.nan, np.nan, np.nan)] * _MEASURES)
    values, baselines = [], []
    for split, cut in enumerate(cuts):
        random = generator(seed, "distances", split)
        # The two sides take turns as the real one.
        one, other = (split % 2, 1 - split % 2)
        here, there, beside = (
            features[np.sort(random.permutation(rows)[:count])].astype(np.float64)
            for features, rows in (
                (real, cut.real[one]),
                (synthetic, cut.synthetic[other]),
                (real, cut.real[other]),
            )
        )
        values.append(_measured(here, there))
        baselines.append(_measured(here, beside))
        if progress is not None:
            progress(split + 1, splits)
    found = zip(np.array(values).T, np.array(baselines).T, strict=True)
    return Distances(
        count, *(Estimate(float(v.mean()), *interval(v), float(b.mean())) for v, b in found)
    )


def _measured(real: Numbers, synthetic: Numbers) -> list[float]:
    """Return all distances, in the order of `Distances`."""
    mmd = MMDMetric()(torch.from_numpy(real), torch.from_numpy(synthetic))
    return [frechet(real, synthetic), float(mmd), kid(real, synthetic), *manifold(real, synthetic)]


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


def kid(real: Numbers, synthetic: Numbers) -> float:
    """Return the unbiased maximum mean discrepancy with the kernel ``(x.y / D + 1)^3``."""

    def kernel(one: Numbers, other: Numbers) -> Numbers:
        found: Numbers = (one @ other.T / one.shape[1] + 1) ** 3
        return found

    within = 0.0
    for sample in (real, synthetic):
        values = kernel(sample, sample)
        within += (values.sum() - np.trace(values)) / (len(sample) * (len(sample) - 1))
    return float(within - 2 * kernel(real, synthetic).mean())


def manifold(real: Numbers, synthetic: Numbers) -> tuple[float, float, float, float]:
    """Return precision, recall, density and coverage, based on the 5 nearest neighbours.

    Args:
        real: Features ``[N, D]``, at least two rows.
        synthetic: Features ``[M, D]``.
    """
    nearest = min(_NEAREST, len(real) - 1, len(synthetic) - 1)
    across = _lengths(real, synthetic)
    radii = [np.partition(_lengths(x, x), nearest, axis=1)[:, nearest] for x in (real, synthetic)]
    within = across <= radii[0][:, None]
    return (
        float(within.any(0).mean()),
        float((across <= radii[1]).any(1).mean()),
        float(within.sum(0).mean() / nearest),
        float(within.any(1).mean()),
    )


def _lengths(one: Numbers, other: Numbers) -> Numbers:
    """Return the Euclidean distances between rows, ``[N, M]``, by means of a matrix product."""
    squares = [np.einsum("nd,nd->n", sample, sample) for sample in (one, other)]
    lengths: Numbers = np.add.outer(*squares) - 2 * (one @ other.T)
    return np.sqrt(lengths.clip(0, out=lengths), out=lengths)


def diversity(real: Pool, synthetic: Pool, seed: int, *, pairs: int = 500) -> Estimate:
    """Return the mean MS-SSIM of random pairs of synthetic slices; real pairs are the baseline.

    The greater the value, the less varied the set.

    Args:
        real, synthetic: The two sets, of at least two slices each.
        seed: Random seed of the pairs, and of the bootstrap over patients.
        pairs: Number of pairs in each set.
    """
    similar, groups = _similarities(synthetic, seed, pairs)
    drawn = [similar @ w / w.sum() for (w,) in redrawn(groups, seed=seed) if w.any()]
    value, baseline = float(similar.mean()), float(_similarities(real, seed, pairs)[0].mean())
    return Estimate(value, *interval(drawn, len(patients_in(groups))), baseline)


def _similarities(pool: Pool, seed: int, pairs: int) -> tuple[Numbers, Groups]:
    """Return the MS-SSIM of random pairs, ``[pairs]``, and the patients in each pair."""
    ordered = np.array(sorted(range(len(pool)), key=pool.keys.__getitem__))
    random = generator(seed, "pairs")
    first = random.integers(len(pool), size=pairs)
    second = (first + random.integers(1, len(pool), size=pairs)) % len(pool)
    one, other = ordered[first], ordered[second]
    found = []
    for start in range(0, pairs, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        here, there = (torch.from_numpy(pool.batch(rows[some]))[:, None] for rows in (one, other))
        found.append(ms_ssim(here, there).double().numpy())
    both = zip(one.tolist(), other.tolist(), strict=True)
    groups = [tuple(dict.fromkeys(pool.groups[a] + pool.groups[b])) for a, b in both]
    return np.concatenate(found), groups
