"""Distances: each as another computation has it, and known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import FIDMetric, MMDMetric
from numpy.typing import NDArray
from pools import pool
from scipy.spatial.distance import cdist
from sklearn.metrics import pairwise
from sklearn.neighbors import NearestNeighbors

from medvae.audit import _distances
from medvae.audit._distances import Distances, distances, diversity, frechet, kid, manifold
from medvae.audit._estimate import Pool

RANDOM = np.random.default_rng(0)
REAL = RANDOM.normal(0, 1, (90, 12))
SYNTHETIC = RANDOM.normal(0.4, 1.3, (70, 12))


@pytest.mark.filterwarnings("ignore:The `disp` argument is deprecated:DeprecationWarning")
@pytest.mark.parametrize("count", [90, 40])
def test_the_frechet_distance_is_monais(count: int) -> None:
    one, other = REAL[:count], SYNTHETIC
    expected = FIDMetric()(torch.from_numpy(other), torch.from_numpy(one))
    assert frechet(one, other) == pytest.approx(float(expected))
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)


def test_the_frechet_distance_needs_no_more_slices_than_features() -> None:
    wide = RANDOM.normal(0, 1, (20, 50)), RANDOM.normal(0, 1, (15, 50))
    roots = [np.linalg.eigh(np.cov(x.T)) for x in wide]
    half = (roots[0][1] * np.sqrt(roots[0][0].clip(0))) @ roots[0][1].T
    product = half @ np.cov(wide[1].T) @ half
    trace = np.sqrt(np.linalg.eigvalsh(product).clip(0)).sum()
    step = np.square(wide[0].mean(0) - wide[1].mean(0)).sum()
    spread = sum(np.trace(np.cov(x.T)) for x in wide)
    assert frechet(*wide) == pytest.approx(step + spread - 2 * trace, rel=1e-4)


def test_kid_is_the_unbiased_cubic_discrepancy() -> None:
    kernel = [
        pairwise.polynomial_kernel(one, other, degree=3, coef0=1)
        for one, other in ((REAL, REAL), (SYNTHETIC, SYNTHETIC), (REAL, SYNTHETIC))
    ]
    within = [k[~np.eye(len(k), dtype=bool)].mean() for k in kernel[:2]]
    assert kid(REAL, SYNTHETIC) == pytest.approx(sum(within) - 2 * kernel[2].mean())


def test_manifolds_are_those_of_their_neighbours() -> None:
    radii = [
        NearestNeighbors(n_neighbors=6).fit(x).kneighbors(x)[0][:, 5] for x in (REAL, SYNTHETIC)
    ]
    across = cdist(REAL, SYNTHETIC)
    inside = across <= radii[0][:, None]
    expected = (
        inside.any(0).mean(),
        (across <= radii[1]).any(1).mean(),
        inside.sum() / (5 * len(SYNTHETIC)),
        (across.min(1) <= radii[0]).mean(),
    )
    assert manifold(REAL, SYNTHETIC) == pytest.approx(expected)
    far = SYNTHETIC + 100
    assert manifold(REAL, far) == (0, 0, 0, 0)


def measured(shift: float, copies: bool = False) -> Distances:
    random = np.random.default_rng(1)
    own = np.repeat(random.normal(0, 1, (40, 10)), 5, axis=0)
    features = (own + random.normal(0, 0.5, own.shape)).astype(np.float32)
    groups = [(f"p{number // 5}",) for number in range(len(own))]
    if copies:
        return distances(features, features, groups, groups, 0)
    rows = np.arange(len(own)) % 10 < 5
    others = [group for group, row in zip(groups, rows, strict=True) if not row]
    known = [group for group, row in zip(groups, rows, strict=True) if row]
    return distances(features[rows], features[~rows] + np.float32(shift), known, others, 0)


def test_real_slices_of_other_patients_are_as_far_as_real_ones() -> None:
    found = measured(0)
    assert found.slices == 50
    for name in ("fid", "mmd", "kid"):
        estimate = getattr(found, name)
        assert estimate.low <= estimate.baseline <= estimate.high
    assert found.precision.value == pytest.approx(found.precision.baseline, abs=0.15)
    assert found.coverage.value == pytest.approx(found.coverage.baseline, abs=0.15)


def test_what_is_shifted_is_far() -> None:
    near, far = measured(0), measured(3)
    for name in ("fid", "mmd", "kid"):
        assert getattr(far, name).low > 2 * getattr(near, name).high
        assert getattr(far, name).baseline == pytest.approx(getattr(near, name).baseline)
    for name in ("precision", "recall", "density", "coverage"):
        assert getattr(far, name).value < 0.1


def test_copies_are_as_far_as_real_slices_of_other_patients() -> None:
    """A slice that lies beside the one it was made of is none the better for it."""
    found = measured(0, copies=True)
    for name in ("fid", "mmd", "kid", "precision", "recall", "density", "coverage"):
        assert getattr(found, name).value == pytest.approx(getattr(found, name).baseline)


def test_mmd_is_monais() -> None:
    same = torch.from_numpy(REAL[:70]), torch.from_numpy(SYNTHETIC)
    assert _distances._measured(REAL[:70], SYNTHETIC)[1] == pytest.approx(float(MMDMetric()(*same)))
    linear = kid_like(REAL[:70], SYNTHETIC)
    assert float(MMDMetric()(*same)) == pytest.approx(linear)


def kid_like(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """The unbiased discrepancy with a linear kernel, from its definition."""
    sums = sum(
        (np.square(x.sum(0)).sum() - np.square(x).sum()) / (len(x) * (len(x) - 1))
        for x in (one, other)
    )
    return float(sums - 2 * one.mean(0) @ other.mean(0))


def test_sets_that_cannot_be_split_have_no_distance() -> None:
    found = distances(REAL, SYNTHETIC, [("a",)] * 90, [("b",)] * 70, 0)
    assert found.slices < 2
    assert np.isnan(found.fid.value)


def test_diversity_is_the_likeness_of_pairs() -> None:
    real = pool(range(6), size=64)
    found = diversity(real, real, 0, pairs=40)
    assert found.value == found.baseline
    assert found.low < found.value < found.high
    one = Pool(np.repeat(real.pictures[:1], 36, 0), real.groups, real.keys)
    alike = diversity(real, one, 0, pairs=40)
    assert alike.value == pytest.approx(1)
    assert alike.baseline is not None
    assert alike.baseline < 0.9
