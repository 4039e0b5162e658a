"""The latent view: where slices lie in the latent space, and what its directions are."""

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
        points: coordinates on the principal directions, ``[N, K]``.
        density: of all units, in the bins of the view; what is beyond them is left out.
        inside: share of all units within [-1.5, 1.5]; 0.866 of a standard normal distribution.
        wholly_inside: share of slices all of whose units are.
    """

    points: NDArray[np.float64]
    density: NDArray[np.float64]
    inside: float
    wholly_inside: float


@dataclass(frozen=True, eq=False)
class LatentView:
    """The latent space as the real slices fill it.

    Attributes:
        real: their latents.
        synthetic: those of the synthetic slices; None where there are none.
        explained: share of the real variance along each principal direction, ``[K]``.
        edges: of the bins of the densities, ``[B + 1]``.
        normal: density of N(0, 1) in the bins, ``[B]``.
        steps: of the traversals, in standard deviations along the direction.
        traversals: latents to be decoded, ``[T, len(steps), D]``.
        scales: one standard deviation along each traversed direction, ``[T]``.
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
    """Look at latents, posterior means, and beside them at those of another set.

    Args:
        real: ``[N, D]``; two at least.
        synthetic: ``[M, D]``; None where there are none.
        components: principal directions of the real latents; fewer where there are not so many.
        traversed: how many of them are traversed, through the mean of the real latents.
        steps: of the traversals, in standard deviations.
    """
    count = min(components, len(real) - 1, real.shape[1])
    pca = PCA(count, svd_solver="covariance_eigh" if len(real) > real.shape[1] else "full")
    with np.errstate(invalid="ignore"):  # Of latents that do not vary, nothing explains anything.
        pca.fit(real.astype(np.float64))
    # A direction and its opposite are equally right: fixed, so that equal latents look the same.
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
