"""Distances: each as another computation has it, and known answers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.metrics import FIDMetric
from pools import pool
from scipy.spatial.distance import cdist
from sklearn.neighbors import NearestNeighbors

from medvae.auditing import Estimate, Pool
from medvae.auditing.distances import compare_distances, frechet, manifold
from medvae.auditing.diversity import diversity

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


def test_manifolds_are_those_of_their_neighbours() -> None:
    radii = NearestNeighbors(n_neighbors=6).fit(REAL).kneighbors(REAL)[0][:, 5]
    across = cdist(REAL, SYNTHETIC)
    inside = across <= radii[:, None]
    expected = inside.any(0).mean(), (across.min(1) <= radii).mean()
    assert manifold(REAL, SYNTHETIC) == pytest.approx(expected)
    far = SYNTHETIC + 100
    assert manifold(REAL, far) == (0, 0)


def measured(shift: float, copies: bool = False) -> dict[str, Estimate]:
    random = np.random.default_rng(1)
    own = np.repeat(random.normal(0, 1, (40, 10)), 5, axis=0)
    features = (own + random.normal(0, 0.5, own.shape)).astype(np.float32)
    groups = [(f"p{number // 5}",) for number in range(len(own))]
    if copies:
        return compare_distances(features, features, groups, groups, 0)
    rows = np.arange(len(own)) % 10 < 5
    others = [group for group, row in zip(groups, rows, strict=True) if not row]
    known = [group for group, row in zip(groups, rows, strict=True) if row]
    return compare_distances(features[rows], features[~rows] + np.float32(shift), known, others, 0)


def test_real_slices_of_other_patients_are_as_far_as_real_ones() -> None:
    found = measured(0)
    assert found["fid"].baseline is not None
    assert found["fid"].low <= found["fid"].baseline <= found["fid"].high
    for name in ("precision", "coverage"):
        assert found[name].value == pytest.approx(found[name].baseline, abs=0.15)


def test_what_is_shifted_is_far() -> None:
    near, far = measured(0), measured(3)
    assert far["fid"].low > 2 * near["fid"].high
    assert far["fid"].baseline == pytest.approx(near["fid"].baseline)
    for name in ("precision", "coverage"):
        assert far[name].value < 0.1


def test_copies_are_as_far_as_real_slices_of_other_patients() -> None:
    """A slice that lies beside the one it was made of is none the better for it."""
    found = measured(0, copies=True)
    for estimate in found.values():
        assert estimate.value == pytest.approx(estimate.baseline)


def test_sets_that_cannot_be_split_have_no_distance() -> None:
    found = compare_distances(REAL, SYNTHETIC, [("a",)] * 90, [("b",)] * 70, 0)
    assert np.isnan(found["fid"].value)


def test_diversity_is_the_likeness_of_pairs() -> None:
    real = pool(range(6), size=64)
    found = diversity(real, 0, pairs=40)
    assert found.low < found.value < found.high
    assert found.value < 0.9
    one = Pool(np.repeat(real.pictures[:1], 36, 0), real.groups, real.keys)
    assert diversity(one, 0, pairs=40).value == pytest.approx(1)
