"""Features of pictures that statistics compare: of pixels, and of a model's encoder."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch.nn import functional

from medvae.auditing._decoded import Pool
from medvae.networks import Codec, SliceVAE
from medvae.progress import Progress, ignore_progress

__all__ = [
    "Extract",
    "direction_names",
    "encoder_features",
    "extract",
    "pixel_features",
    "principal_directions",
]

Numbers = NDArray[np.float32]
Extract = Callable[[Numbers], Numbers]
"""Computes the features ``[B, D]`` of pictures ``[B, size, size]`` in [0, 1], each on its own."""

_BATCH = 16
_FIELDS = 4
_SIDE = 16
_LEVELS = np.linspace(0, 1, _SIDE + 1)
_STEPS = np.concatenate(([0], np.geomspace(1 / 255, 1, _SIDE)))


def pixel_features(batch: Numbers) -> Numbers:
    """Return 16x16 mean levels, and the distributions of levels, steps and curvatures.

    The last 32 of these 304 features describe the sharpness and the noise of a slice.
    """
    x = torch.from_numpy(batch)[:, None]
    broad = functional.interpolate(x, (_SIDE, _SIDE), mode="bilinear", antialias=True)
    across, down = np.diff(batch, axis=2)[:, :-1], np.diff(batch, axis=1)[:, :, :-1]
    inner = batch[:, 1:-1, 1:-1]
    around = batch[:, :-2, 1:-1] + batch[:, 2:, 1:-1] + batch[:, 1:-1, :-2] + batch[:, 1:-1, 2:]
    parts = [
        broad.flatten(1).numpy(),
        _shares(batch, _LEVELS),
        _shares(np.hypot(across, down), _STEPS),
        _shares(np.abs(around / 4 - inner), _STEPS),
    ]
    return np.concatenate(parts, axis=1, dtype=np.float32)


def _shares(values: Numbers, edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the values of each picture in each bin, ``[B, edges - 1]``.

    Values beyond the last edge are counted in the last bin.
    """
    bins = np.digitize(values, edges[1:-1]).reshape(len(values), -1)
    return np.stack([np.bincount(row, minlength=len(edges) - 1) for row in bins]) / bins.shape[1]


def encoder_features(
    model: SliceVAE, device: torch.device | str = "cpu", *, whole: bool = False
) -> Extract:
    """Return a function that computes the posterior means of the model's encoder.

    Args:
        model: Model on the CPU, which is not changed.
        device: Device to compute on.
        whole: Whether to return all units of a spatial latent, ``[B, D]`` channel by channel, as
            decoding requires, rather than the means of 4x4 fields of each channel. For a vector
            latent, both are the same.
    """
    codec, shape = Codec(model, device), model.latent_shape
    reduced = not whole and len(shape) == 3 and shape[-1] > _FIELDS

    def features(batch: Numbers) -> Numbers:
        mu, _ = codec.encode(batch)
        if reduced:
            mu = functional.adaptive_avg_pool2d(mu.reshape(-1, *shape), _FIELDS).flatten(1)
        return mu.numpy()

    return features


def extract(
    features: Extract,
    pool: Pool,
    name: str = "",
    *,
    rows: NDArray[np.intp] | None = None,
    progress: Progress = ignore_progress,
) -> Numbers:
    """Return the features of slices, ``[N, D]``.

    Args:
        features: Computes the features of pictures.
        pool: Slices.
        name: Name of the features, for `progress`.
        rows: Indices of the slices; None for all.
        progress: Called with (stage, done, total, note) as work proceeds.
    """
    rows = np.arange(len(pool)) if rows is None else rows
    parts = []
    for start in range(0, len(rows), _BATCH):
        parts.append(features(pool.batch(rows[start : start + _BATCH])))
        progress("Extracting features", min(start + _BATCH, len(rows)), len(rows), name)
    return np.concatenate(parts)


def principal_directions(vectors: Numbers, most: int) -> PCA:
    """Fit the directions along which vectors ``[N, D]`` vary most; fewer if fewer exist.

    The sign of a direction is arbitrary; it is fixed so that equal vectors give equal directions.
    """
    count = min(most, len(vectors) - 1, vectors.shape[1])
    pca = PCA(count, svd_solver="covariance_eigh" if len(vectors) > vectors.shape[1] else "full")
    with np.errstate(invalid="ignore"):  # Without variance, the ratios are 0 / 0.
        pca.fit(vectors.astype(np.float64))
    largest = np.abs(pca.components_).argmax(1)
    pca.components_ *= np.sign(pca.components_[np.arange(count), largest])[:, None]
    pca.explained_variance_ratio_ = np.nan_to_num(pca.explained_variance_ratio_)
    return pca


def direction_names(explained: NDArray[np.float64]) -> list[str]:
    """Return the names of the first two directions, with their shares of the variance."""
    return [f"direction {n}: {100 * share:.1f} %" for n, share in enumerate(explained[:2], 1)]
