"""Diversity: how similar random pairs of slices of a set are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray

from medvae.auditing._decoded import Pool
from medvae.auditing._patients import Estimate, Groups, interval, patients_in, resampled
from medvae.auditing._statistic import AuditSettings, ComparedSets, Statistic
from medvae.metrics import ms_ssim
from medvae.randomness import generator

__all__ = ["Diversity", "diversity"]

_PAIRS = 500
_AT_ONCE = 16


def diversity(pool: Pool, seed: int, *, pairs: int = _PAIRS) -> Estimate:
    """Return the mean MS-SSIM of random pairs of slices: the greater, the less varied the set.

    Args:
        pool: The set, of at least two slices.
        seed: Random seed of the pairs, and of the bootstrap over patients.
        pairs: Number of pairs.
    """
    similar, groups = _similarities(pool, seed, pairs)
    drawn = [similar @ w / w.sum() for (w,) in resampled(groups, seed=seed) if w.any()]
    return Estimate(float(similar.mean()), *interval(drawn, len(patients_in(groups))))


def _similarities(pool: Pool, seed: int, pairs: int) -> tuple[NDArray[np.float64], Groups]:
    """Return the MS-SSIM of random pairs, ``[pairs]``, and the patients in each pair."""
    ordered = np.array(sorted(range(len(pool)), key=pool.keys.__getitem__))
    random = generator(seed, "pairs")
    first = random.integers(len(pool), size=pairs)
    second = (first + random.integers(1, len(pool), size=pairs)) % len(pool)
    one, other = ordered[first], ordered[second]
    found = []
    for start in range(0, pairs, _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        batches = (torch.from_numpy(pool.batch(rows[some]))[:, None] for rows in (one, other))
        found.append(ms_ssim(*batches).double().numpy())
    both = zip(one.tolist(), other.tolist(), strict=True)
    groups = [tuple(dict.fromkeys(pool.groups[a] + pool.groups[b])) for a, b in both]
    return np.concatenate(found), groups


class Diversity(Statistic[Estimate]):
    """Similarity of random pairs of synthetic slices; that of real pairs is the baseline."""

    name = "diversity"
    title = "How varied is each set?"
    explanation = (
        "Pairs of slices of one set are compared by their structural similarity (MS-SSIM). The "
        "lower the similarity, the more varied the set. The baseline is that of pairs of real "
        "slices."
    )
    numbers: ClassVar[Mapping[str, str]] = {"": "Mean MS-SSIM of pairs of slices"}

    def measure(self, sets: ComparedSets, settings: AuditSettings) -> Estimate:
        """Measure pairs of synthetic slices, and pairs of held-out or real slices."""
        known = sets.held_out or sets.real
        found, baseline = (diversity(one.pool, settings.seed) for one in (sets.synthetic, known))
        return replace(found, baseline=baseline.value)
