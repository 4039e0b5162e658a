"""Features of pictures that statistics compare: of pixels, a model's encoder and other networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from torch.nn import functional

from medvae.auditing._decoded import Pool
from medvae.errors import UsageProblem
from medvae.networks import (
    VGG11BN,
    Codec,
    ConvDecoder,
    EfficientNet,
    GrayToColor,
    ResNet152,
    SliceVAE,
    VectorLatent,
)
from medvae.progress import Progress, ignore_progress

Numbers = NDArray[np.float32]
Extract = Callable[[Numbers], Numbers]
"""Computes the features ``[B, D]`` of pictures ``[B, size, size]`` in [0, 1], each on its own."""

_BATCH = 16
_IMAGENET_SIZE = 224
_FIELDS = 4
_SIDE = 16
_LEVELS = np.linspace(0, 1, _SIDE + 1)
_STEPS = np.concatenate(([0], np.geomspace(1 / 255, 1, _SIDE)))

_NETWORKS: Mapping[str, EfficientNet | ResNet152 | VGG11BN] = {
    "efficientnet": EfficientNet("b1"),
    **{f"efficientnet-b{number}": EfficientNet(f"b{number}") for number in range(8)},
    "resnet152": ResNet152(),
    "vgg11-bn": VGG11BN(),
}


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


def network_features(
    specs: Iterable[str], device: torch.device | str = "cpu"
) -> dict[str, Extract]:
    """Return functions, by name, that compute the features of networks with weights from files.

    Args:
        specs: Networks as ``NAME=FILE``. The name is efficientnet (the same as efficientnet-b1),
            efficientnet-b0 to -b7, resnet152 or vgg11-bn; the file is a state dict that
            `torch.save` or safetensors wrote, such as weights that were trained on ImageNet.
        device: Device to compute on.

    Raises:
        UsageProblem: If a name is unknown or given twice.
        ReadError: If a file is missing, damaged, or from another network.
    """
    files: dict[str, str] = {}
    for spec in specs:
        name, _, file = spec.partition("=")
        if name not in _NETWORKS or not file:
            known = ", ".join(_NETWORKS)
            raise UsageProblem(
                f"cannot use {spec!r}; give NAME=FILE, with one of the names {known}",
                parameter="extractors",
            )
        if name in files:
            raise UsageProblem(f"{name} is given twice; give it once", parameter="extractors")
        files[name] = file
    return {name: _of_network(name, file, device) for name, file in files.items()}


def _of_network(name: str, file: str, device: torch.device | str) -> Extract:
    part = replace(_NETWORKS[name], pretrained=file)
    # The stem normalises images as ImageNet networks expect; the latent and decoder are not used.
    model = SliceVAE(GrayToColor(), part, VectorLatent(1, 1), ConvDecoder((1,) * 5), _IMAGENET_SIZE)
    codec, size = Codec(model.eval(), device), (_IMAGENET_SIZE, _IMAGENET_SIZE)

    def features(batch: Numbers) -> Numbers:
        x = torch.from_numpy(batch)[:, None]
        return codec.features(
            functional.interpolate(x, size, mode="bilinear", antialias=True)[:, 0].numpy()
        )

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
