"""Extractors: what turns pictures into features that statistics can compare."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from medvae.audit._estimate import Pool
from medvae.errors import UsageProblem
from medvae.networks import (
    VGG11BN,
    ConvDecoder,
    EfficientNet,
    GrayToColor,
    ResNet152,
    SliceVAE,
    VectorLatent,
    device_named,
    fastest_dtype,
    inference_copy,
)

__all__ = ["PIXELS", "Extractor", "encoder", "extract", "from_files"]

Progress = Callable[[int, int], None]

_BATCH = 16
_IMAGENET_SIZE = 224
_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Means and standard deviations of the colours that ImageNet networks were trained with."""

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
    """Turns pictures into features.

    Attributes:
        name: ``encoder``, ``pixels``, or that of a network.
        size: side of the pictures that it takes; None where any will do.
        features: of a batch ``[B, size, size]`` in [0, 1], as ``[B, D]``. What it says of a
            picture does not depend on the others.
    """

    name: str
    size: int | None
    features: Callable[[NDArray[np.float32]], NDArray[np.float32]]


def _pixels(batch: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 16x16 mean levels, and how levels, steps and curvatures are distributed."""
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
    """Return which share of the values of each picture lies between two edges, ``[B, edges - 1]``.

    What is beyond the last edge counts to the bin before it.
    """
    bins = np.digitize(values, edges[1:-1]).reshape(len(values), -1)
    return np.stack([np.bincount(row, minlength=len(edges) - 1) for row in bins]) / bins.shape[1]


PIXELS = Extractor("pixels", None, _pixels)
"""Needs no network: 304 features, of which the last 32 say how sharp and how noisy a slice is."""


def encoder(
    model: SliceVAE, device: torch.device | str = "cpu", *, whole: bool = False
) -> Extractor:
    """Make features of a model's own encoder: the posterior mean.

    Args:
        model: on the CPU; it stays as it is.
        device: to compute on.
        whole: return every unit of a spatial latent, ``[B, D]`` channel by channel, as the latent
            view and decoding need it; else its means in 4x4 fields of each channel. Of a vector
            latent both are the same.
    """
    device = device_named(device)
    fast = inference_copy(model, fastest_dtype(device)).to(device)
    side = model.latent_shape[-1] if len(model.latent_shape) == 3 else 0

    def compute(x: Tensor) -> Tensor:
        mu, _ = fast.encode(x)
        return mu if whole or side <= _FIELDS else functional.adaptive_avg_pool2d(mu, _FIELDS)

    return Extractor("encoder", model.image_size, partial(_in_batches, compute, device))


def from_files(specs: Iterable[str], device: torch.device | str = "cpu") -> tuple[Extractor, ...]:
    """Make extractors of weight files, such as those that were trained on ImageNet.

    Args:
        specs: each as ``NAME=FILE``: efficientnet (which is efficientnet-b1), efficientnet-b0 to
            -b7, resnet152 and vgg11-bn, with state dicts that `torch.save` or safetensors wrote.
        device: to compute on.

    Raises:
        UsageProblem: a name is unknown, or given twice.
        ReadError: a file is missing, damaged, or of another network.
    """
    files: dict[str, str] = {}
    for spec in specs:
        name, _, file = spec.partition("=")
        if name not in _NETWORKS or not file:
            known = ", ".join(_NETWORKS)
            raise UsageProblem(f"extractor {spec!r}: give NAME=FILE, with a name of {known}")
        if name in files:
            raise UsageProblem(f"extractor {spec!r}: {name} is given twice")
        files[name] = file
    device = device_named(device)
    return tuple(_from_file(name, file, device) for name, file in files.items())


def _from_file(name: str, file: str, device: torch.device) -> Extractor:
    part = replace(_NETWORKS[name], pretrained=file)
    # Whole models alone are rewritten for inference; of this one nothing but the encoder is used.
    model = SliceVAE(GrayToColor(), part, VectorLatent(1, 1), ConvDecoder((1,) * 5), _IMAGENET_SIZE)
    dtype = fastest_dtype(device)
    fast = inference_copy(model.eval(), dtype).encoder.to(device)
    mean, spread = (torch.tensor(of, device=device).view(1, 3, 1, 1) for of in _IMAGENET)

    def compute(x: Tensor) -> Tensor:
        maps: Tensor = fast(((x - mean) / spread).to(dtype))
        return maps.float().mean((2, 3))

    return Extractor(name, _IMAGENET_SIZE, partial(_in_batches, compute, device))


@torch.inference_mode()
def _in_batches(
    compute: Callable[[Tensor], Tensor], device: torch.device, batch: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Compute on batches of one size: how a product is rounded depends on it."""
    parts = []
    for start in range(0, len(batch), _BATCH):
        x = torch.from_numpy(np.ascontiguousarray(batch[start : start + _BATCH]))[:, None]
        filled = torch.cat((x, x[-1:].expand(_BATCH - len(x), *x.shape[1:])))
        filled = filled.to(device).contiguous(memory_format=torch.channels_last)
        parts.append(compute(filled)[: len(x)].flatten(1).float().cpu().numpy())
    return np.concatenate(parts)


def extract(
    extractor: Extractor, pool: Pool, progress: Progress | None = None
) -> NDArray[np.float32]:
    """Return the features of all slices, ``[N, D]``.

    Args:
        extractor: makes them.
        pool: the slices.
        progress: is told how many are done.
    """
    parts = []
    for start in range(0, len(pool), _BATCH):
        batch = pool.batch(slice(start, start + _BATCH))
        if extractor.size not in (None, batch.shape[1]):
            x = torch.from_numpy(batch)[:, None]
            size = (extractor.size, extractor.size)
            batch = functional.interpolate(x, size, mode="bilinear", antialias=True)[:, 0].numpy()
        parts.append(extractor.features(batch))
        if progress is not None:
            progress(min(start + _BATCH, len(pool)), len(pool))
    return np.concatenate(parts)
