"""Distances between the two sets in a space of features, and how varied either is."""

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
"""Slices on a side: tables of distances between them are 32 MB."""

_FEWEST = 2
_MEASURES = 7
_NEAREST = 5
_AT_ONCE = 16


@dataclass(frozen=True)
class Distances:
    """How far the sets are from one another, in the features of one extractor.

    Attributes:
        slices: on either side, the same for all and for the baselines.
        fid: Frechet distance of two normal distributions (Heusel 2017).
        mmd: maximum mean discrepancy, MONAI's, with a linear kernel.
        kid: the same with a cubic kernel (Binkowski 2018).
        precision, recall: share of synthetic slices that lie among real ones, and the reverse
            (Kynkaanniemi 2019).
        density, coverage: the same, less moved by outliers (Naeem 2020).
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
    """Measure features against features.

    Both sets are cut in two between patients several times, and real slices of one side are
    compared with synthetic ones of the other: that a slice lies beside the one that it was made of
    says nothing of how like real ones it is. The baseline compares the real slices of both sides.
    All of these distances depend on how many slices there are, so that each is taken of as many.
    Values are means over the splits, and their intervals where 95 % of them lie.

    Args:
        real: ``[N, D]``.
        synthetic: ``[M, D]``.
        real_groups, synthetic_groups: patients of the slices.
        seed: of the splits.
        splits: how many.
        progress: is told how many splits are done.
    """
    cuts = [halve(real_groups, synthetic_groups, seed, "distances", n) for n in range(splits)]
    count = min(_MOST, *(len(rows) for cut in cuts for rows in (*cut.real, *cut.synthetic)))
    if count < _FEWEST:
        return Distances(count, *[Estimate(np.nan, np.nan, np.nan)] * _MEASURES)
    values, baselines = [], []
    for split, cut in enumerate(cuts):
        random = generator(seed, "distances", split)
        # Each side is the real one in every other split.
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
    """Return the Frechet distance of normal distributions with the moments of two samples.

    It is MONAI's `FIDMetric` to the last digits, but needs no root of a matrix: the trace of the
    root of a product of covariances is the sum of the singular values of the product of their
    factors. So it is exact too where there are fewer slices than features.

    Args:
        real: ``[N, D]``, two at least.
        synthetic: ``[M, D]``.
    """
    means = [sample.mean(0) for sample in (real, synthetic)]
    factors = []
    for sample, mean in zip((real, synthetic), means, strict=True):
        factor = (sample - mean) / np.sqrt(len(sample) - 1)
        # The triangle has the same covariance, and no more rows than there are features.
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
    """Return precision, recall, density and coverage, by the 5 nearest neighbours.

    Args:
        real: ``[N, D]``, two at least.
        synthetic: ``[M, D]``.
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
    """Return the Euclidean distances between rows, ``[N, M]``, at the speed of a product."""
    squares = [np.einsum("nd,nd->n", sample, sample) for sample in (one, other)]
    lengths: Numbers = np.add.outer(*squares) - 2 * (one @ other.T)
    return np.sqrt(lengths.clip(0, out=lengths), out=lengths)


def diversity(real: Pool, synthetic: Pool, seed: int, *, pairs: int = 500) -> Estimate:
    """Return the mean MS-SSIM of random pairs of synthetic slices; the baseline is of real ones.

    The greater it is, the less varied is the set.

    Args:
        real, synthetic: the sets, of two slices at least.
        seed: of the draw of pairs, and of the bootstrap over patients.
        pairs: how many of either set.
    """
    similar, groups = _similarities(synthetic, seed, pairs)
    drawn = [similar @ w / w.sum() for (w,) in redrawn(groups, seed=seed) if w.any()]
    value, baseline = float(similar.mean()), float(_similarities(real, seed, pairs)[0].mean())
    return Estimate(value, *interval(drawn, len(patients_in(groups))), baseline)


def _similarities(pool: Pool, seed: int, pairs: int) -> tuple[Numbers, Groups]:
    """Return MS-SSIM of random pairs, ``[pairs]``, and the patients in each pair."""
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
