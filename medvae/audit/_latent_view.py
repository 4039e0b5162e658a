"""The latent view: where slices lie in the latent space, and its principal directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr
from sklearn.decomposition import PCA

__all__ = ["LatentView", "Occupancy", "latent_view"]

_INSIDE = 1.5
_WIDEST = 5.0
_BINS = 60
STEPS = (-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0)


@dataclass(frozen=True, eq=False)
class Occupancy:
    """How the units of latents are distributed.

    Attributes:
        points: Coordinates on the principal directions, ``[N, K]``.
        density: Density of all units in the bins of the view; values beyond the bins are left out.
        inside: Share of all units within [-1.5, 1.5]; 0.866 for a standard normal distribution.
        wholly_inside: Share of slices with all units within [-1.5, 1.5].
    """

    points: NDArray[np.float64]
    density: NDArray[np.float64]
    inside: float
    wholly_inside: float


@dataclass(frozen=True, eq=False)
class LatentView:
    """The latent space as occupied by the real slices.

    Attributes:
        real: Occupancy of the real latents.
        synthetic: Occupancy of the synthetic latents; None if there are none.
        explained: Share of the real variance along each principal direction, ``[K]``.
        edges: Edges of the bins of the densities, ``[B + 1]``.
        normal: Density of N(0, 1) in the bins, ``[B]``.
        steps: Steps of the traversals, in standard deviations along the direction.
        traversals: Latents to decode, ``[T, len(steps), D]``.
        scales: Standard deviation along each traversed direction, ``[T]``.
    """

    real: Occupancy
    synthetic: Occupancy | None
    explained: NDArray[np.float64]
    edges: NDArray[np.float64]
    normal: NDArray[np.float64]
    steps: tuple[float, ...]
    traversals: NDArray[np.float32]
    scales: NDArray[np.float64]


def latent_view(
    real: NDArray[np.float32],
    synthetic: NDArray[np.float32] | None = None,
    *,
    components: int = 10,
    traversed: int = 4,
    steps: tuple[float, ...] = STEPS,
) -> LatentView:
    """Return the view of latents (posterior means), optionally with those of another set.

    Args:
        real: Latents of the real slices, ``[N, D]``, with N at least 2.
        synthetic: Latents of the synthetic slices, ``[M, D]``; None if there are none.
        components: Number of principal directions of the real latents; fewer if fewer exist.
        traversed: Number of directions to traverse, through the mean of the real latents.
        steps: Steps of the traversals, in standard deviations.
    """
    count = min(components, len(real) - 1, real.shape[1])
    pca = PCA(count, svd_solver="covariance_eigh" if len(real) > real.shape[1] else "full")
    with np.errstate(invalid="ignore"):  # Without variance, the ratios are 0 / 0.
        pca.fit(real.astype(np.float64))
    # The sign of a direction is arbitrary; it is fixed so that equal latents give equal views.
    largest = np.abs(pca.components_).argmax(1)
    pca.components_ *= np.sign(pca.components_[np.arange(count), largest])[:, None]
    scales = np.sqrt(pca.explained_variance_[:traversed])
    moves = np.multiply.outer(scales, np.array(steps))[:, :, None]
    traversals = pca.mean_ + moves * pca.components_[:traversed, None]
    edges = np.linspace(-_WIDEST, _WIDEST, _BINS + 1)
    return LatentView(
        real=_occupancy(real, pca, edges),
        synthetic=None if synthetic is None else _occupancy(synthetic, pca, edges),
        explained=np.nan_to_num(pca.explained_variance_ratio_),
        edges=edges,
        normal=np.diff(ndtr(edges)) / np.diff(edges),
        steps=tuple(steps),
        traversals=traversals.astype(np.float32),
        scales=scales,
    )


def _occupancy(latents: NDArray[np.float32], pca: PCA, edges: NDArray[np.float64]) -> Occupancy:
    inside = np.abs(latents) <= _INSIDE
    return Occupancy(
        points=pca.transform(latents.astype(np.float64)),
        density=np.histogram(latents, edges)[0] / (latents.size * np.diff(edges)),
        inside=float(inside.mean()),
        wholly_inside=float(inside.all(1).mean()),
    )
