"""Extractors, which turn pictures into features that statistics can compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
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
    device_named,
)
from medvae.progress import Progress, ignore_progress

__all__ = ["PIXELS", "Extractor", "encoder", "extract", "from_files"]

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


@dataclass(frozen=True, eq=False)
class Extractor:
    """A function from pictures to features.

    Attributes:
        name: ``encoder``, ``pixels``, or the name of a network.
        size: Side of the pictures that it takes; None if any size is accepted.
        features: Function from a batch ``[B, size, size]`` in [0, 1] to features ``[B, D]``. The
            features of a picture do not depend on the rest of the batch.
    """

    name: str
    size: int | None
    features: Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _pixels(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 16x16 mean levels, and the distributions of levels, steps and curvatures."""
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


def _shares(values: NDArray[np.float32], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the share of the values of each picture in each bin, ``[B, edges - 1]``.

    Values beyond the last edge are counted in the last bin.
    """
    bins = np.digitize(values, edges[1:-1]).reshape(len(values), -1)
    return np.stack([np.bincount(row, minlength=len(edges) - 1) for row in bins]) / bins.shape[1]


PIXELS = Extractor("pixels", None, _pixels)
"""304 features that need no network; the last 32 describe the sharpness and noise of a slice."""


def encoder(
    model: SliceVAE, device: torch.device | str = "cpu", *, whole: bool = False
) -> Extractor:
    """Return an extractor whose features are the posterior means of the model's encoder.

    Args:
        model: Model on the CPU, which is not changed.
        device: Device to compute on.
        whole: Whether to return all units of a spatial latent, ``[B, D]`` channel by channel, as
            the latent view and decoding require, rather than the means of 4x4 fields of each
            channel. For a vector latent, both are the same.
    """
    codec, shape = Codec(model, device), model.latent_shape
    reduced = not whole and len(shape) == 3 and shape[-1] > _FIELDS

    def features(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        mu, _ = codec.encode(batch)
        if reduced:
            mu = functional.adaptive_avg_pool2d(mu.reshape(-1, *shape), _FIELDS).flatten(1)
        return mu.numpy()

    return Extractor("encoder", codec.size, features)


def from_files(specs: Iterable[str], device: torch.device | str = "cpu") -> tuple[Extractor, ...]:
    """Create extractors from weight files, such as weights that were trained on ImageNet.

    Args:
        specs: Extractors as ``NAME=FILE``. The name is efficientnet (the same as efficientnet-b1),
            efficientnet-b0 to -b7, resnet152 or vgg11-bn; the file is a state dict that
            `torch.save` or safetensors wrote.
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
    device = device_named(device)
    return tuple(_from_file(name, file, device) for name, file in files.items())


def _from_file(name: str, file: str, device: torch.device) -> Extractor:
    part = replace(_NETWORKS[name], pretrained=file)
    # The stem normalises images as ImageNet networks expect; the latent and decoder are not used.
    model = SliceVAE(GrayToColor(), part, VectorLatent(1, 1), ConvDecoder((1,) * 5), _IMAGENET_SIZE)
    return Extractor(name, _IMAGENET_SIZE, Codec(model.eval(), device).features)


def extract(
    extractor: Extractor,
    pool: Pool,
    *,
    rows: NDArray[np.intp] | None = None,
    progress: Progress = ignore_progress,
) -> NDArray[np.float32]:
    """Return the features of slices, ``[N, D]``.

    Args:
        extractor: Extractor of the features.
        pool: Slices.
        rows: Indices of the slices; None for all.
        progress: Called with (stage, done, total, note) as work proceeds.
    """
    rows = np.arange(len(pool)) if rows is None else rows
    parts = []
    for start in range(0, len(rows), _BATCH):
        batch = pool.batch(rows[start : start + _BATCH])
        if extractor.size not in (None, batch.shape[1]):
            x = torch.from_numpy(batch)[:, None]
            size = (extractor.size, extractor.size)
            batch = functional.interpolate(x, size, mode="bilinear", antialias=True)[:, 0].numpy()
        parts.append(extractor.features(batch))
        done = min(start + _BATCH, len(rows))
        progress("Extracting features", done, len(rows), extractor.name)
    return np.concatenate(parts)
