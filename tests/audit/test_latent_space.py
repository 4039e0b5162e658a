"""The latent view: directions, coordinates and densities, by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from medvae.auditing.latent_space import describe_latents

RANDOM = np.random.default_rng(0)
MIXTURE = RANDOM.normal(0, 1, (6, 6)) * [3, 2, 1, 0.5, 0.2, 0.1]
REAL = (RANDOM.normal(0, 1, (300, 6)) @ MIXTURE.T + 2).astype(np.float32)
VIEW = describe_latents(REAL, components=4, traversed=2, steps=(-2, 0, 1))


def test_directions_are_those_of_the_covariance() -> None:
    values = np.linalg.eigvalsh(np.cov(REAL.T))[::-1]
    assert VIEW.explained == pytest.approx(values[:4] / values.sum(), rel=1e-4)
    assert VIEW.scales == pytest.approx(np.sqrt(values[:2]), rel=1e-4)
    assert VIEW.points.shape == (300, 4)
    assert VIEW.points.var(0, ddof=1) == pytest.approx(values[:4], rel=1e-4)
    assert VIEW.points.mean(0) == pytest.approx(np.zeros(4), abs=1e-4)


def test_traversals_go_through_the_mean_along_a_direction() -> None:
    assert VIEW.traversals.shape == (2, 3, 6)
    mean = REAL.mean(0)
    for number, latents in enumerate(VIEW.traversals):
        assert latents[1] == pytest.approx(mean, abs=1e-5)
        steps = np.linalg.norm(latents - mean, axis=1) / VIEW.scales[number]
        assert steps == pytest.approx([2, 0, 1], abs=1e-4)
        assert latents[0] - mean == pytest.approx(-2 * (latents[2] - mean), abs=1e-4)


def test_densities_are_beside_a_normal_one() -> None:
    normal = RANDOM.normal(0, 1, (2000, 50)).astype(np.float32)
    view = describe_latents(normal)
    assert view.density == pytest.approx(view.normal, abs=0.02)
    assert (view.normal * np.diff(view.edges)).sum() == pytest.approx(1, abs=1e-5)
    assert view.inside == pytest.approx(stats.norm.cdf(1.5) - stats.norm.cdf(-1.5), abs=0.005)


def test_the_same_latents_look_the_same() -> None:
    """The sign of a direction is fixed, whatever the order of slices and however many they are."""
    back = describe_latents(REAL[::-1], components=4, traversed=2, steps=(-2, 0, 1))
    assert back.traversals == pytest.approx(VIEW.traversals, abs=1e-3)
    few = describe_latents(REAL[:4])
    assert few.points.shape == (4, 3)
    assert few.traversals.shape == (3, 7, 6)


@pytest.mark.parametrize("count", [3, 20])
def test_latents_that_do_not_vary(count: int) -> None:
    view = describe_latents(np.ones((count, 6), np.float32))
    assert view.explained.tolist() == [0.0] * min(6, count - 1)
    assert view.traversals == pytest.approx(np.ones_like(view.traversals))
