"""Metrics of reconstruction quality, for images `[N, 1, H, W]` with values from 0 to 1."""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch
from monai.metrics.regression import compute_ssim_and_cs
from torch import Tensor

from medvae.networks import Codec, SliceVAE, active_units
from medvae.transforms import RandGaussianCorruption, RandMaskCorruption

__all__ = [
    "NOISE",
    "Degraded",
    "degrade",
    "held_out_figures",
    "pooled_variance_explained",
    "psnr",
    "restore",
    "ssim",
    "variance_explained",
]

NOISE = 0.05
"""Standard deviation of the mild Gaussian noise in a degraded image."""

_SHARE_LEFT = 0.4
_BLOCKS = (1, 8)
_BATCH = 16
_SMALLEST_ERROR = 1e-10
_WINDOW, _SPREAD = 11, 1.5


class Degraded(NamedTuple):
    """Noisy images `[N, 1, H, W]`, whose missing pixels are 0; `left` is true for all others."""

    image: Tensor
    left: Tensor


def psnr(pictures: Tensor, clean: Tensor) -> Tensor:
    """Return the peak signal-to-noise ratio of each image in dB, `[N]`.

    It is limited to 100 dB, so that a perfect image does not make a mean infinite.

    Args:
        pictures: Images `[N, 1, H, W]`.
        clean: Reference images, of the same shape.
    """
    mean_error = _square_error(pictures, clean) / clean[0].numel()
    return -10 * mean_error.clamp(min=_SMALLEST_ERROR).log10()


def ssim(pictures: Tensor, clean: Tensor) -> Tensor:
    """Return the structural similarity of each image, `[N]`, with Wang's Gaussian window (2004).

    Args:
        pictures: Images `[N, 1, H, W]` of at least 11x11 pixels.
        clean: Reference images, of the same shape.
    """
    # Images stacked as channels are filtered at once, six times as fast as one after the other.
    stacked = pictures.transpose(0, 1), clean.transpose(0, 1)
    similarity, _ = compute_ssim_and_cs(
        *stacked, 2, kernel_size=(_WINDOW,) * 2, kernel_sigma=(_SPREAD,) * 2
    )
    return similarity.flatten(2).double().mean(2)[0]


def variance_explained(pictures: Tensor, clean: Tensor) -> Tensor:
    """Return the share of each clean image's variance that is explained, `[N]`.

    It is 1 - sum (clean - image)^2 / sum (clean - mean of clean)^2 over the pixels: 1 for a
    perfect image, 0 for the clean image's mean everywhere, and negative for anything worse. A
    constant clean image has no variance: the share is 1 for an exact match, and 0 otherwise.

    Args:
        pictures: Images `[N, 1, H, W]`.
        clean: Reference images, of the same shape.
    """
    return _share_explained(_square_error(pictures, clean), _spread(clean))


def pooled_variance_explained(pictures: Tensor, clean: Tensor) -> float:
    """Return the share of the variance of all clean images that is explained.

    Both sums of :func:`variance_explained` run over all slices, each about its own mean. A mean
    of the slices' shares would be dominated by the nearly empty slices at the end of a series,
    whose variance is close to 0.

    Args:
        pictures: Images `[N, 1, H, W]`.
        clean: Reference images, of the same shape.
    """
    error, spread = _square_error(pictures, clean).sum(), _spread(clean).sum()
    return float(_share_explained(error, spread))


def degrade(images: Tensor, share: float, block: int = 1, first: int = 0) -> Degraded:
    """Add noise to slices and keep a share of their pixels, identically at every call.

    The random draws for a slice depend only on its index: a smaller share keeps a subset of the
    pixels that a larger one keeps, with the same noise.

    Args:
        images: Slices `[N, 1, H, W]`.
        share: Share of the pixels that is kept, from 0 to 1.
        block: Side of the square blocks that are kept or removed; 1 for single pixels.
        first: Index of the first slice; the indices of the others follow.
    """
    noise, mask = RandGaussianCorruption(NOISE), RandMaskCorruption(share, block)
    pictures, masks = [], []
    for index, image in enumerate(images, first):
        draws = np.random.RandomState(index)
        noise.set_random_state(state=draws)
        mask.set_random_state(state=draws)
        noisy = noise(image)
        left = mask(torch.ones_like(image))
        pictures.append((noisy * left).as_subclass(Tensor))
        masks.append(left.as_subclass(Tensor) > 0)
    return Degraded(torch.stack(pictures), torch.stack(masks))


def restore(model: SliceVAE, pictures: Tensor) -> Tensor:
    """Return the model's reconstructions of images in eval mode, `[N, 1, H, W]` on the CPU.

    Args:
        model: Model, which is not changed.
        pictures: Images `[N, 1, H, W]`, degraded or not, 0 where a pixel is missing.
    """
    return _autoencode(_codec(model), pictures)[0]


def held_out_figures(model: SliceVAE, images: Tensor) -> dict[str, float]:
    """Measure a model on slices that it was not trained on.

    Args:
        model: Model, which is not changed, on the device on which to measure it.
        images: Clean slices `[N, 1, H, W]`.

    Returns:
        `psnr` and `ssim`, means over the slices; `variance_explained`, pooled; `restoration_40`,
        the pooled share of the clean slices' variance that is explained with 40 % of the pixels
        kept, averaged over single pixels and 8x8 blocks; `active_units`; `images_per_second`,
        encoded and decoded in float32. All but the last are the same at every call.

    Raises:
        ValueError: If there are no slices, or they have another shape.
    """
    if images.dim() != 4 or images.shape[1] != 1 or not len(images):
        raise ValueError(f"images must be [N, 1, H, W], but are {list(images.shape)}")
    images = images.as_subclass(Tensor).cpu()
    sums, means, seconds = [], [], 0.0
    codec = _codec(model)
    _autoencode(codec, images[:_BATCH])  # The first call includes one-time set-up.
    for first in range(0, len(images), _BATCH):
        clean = images[first : first + _BATCH]
        start = time.perf_counter()
        pictures, mu = _autoencode(codec, clean)
        seconds += time.perf_counter() - start
        means.append(mu)
        sums.append(_sums(codec, clean, pictures, first))
    quality, similarity, spread, error, *restored = torch.cat(sums, dim=1).sum(1)
    shares = torch.stack([_share_explained(left, spread) for left in restored])
    return {
        "psnr": float(quality) / len(images),
        "ssim": float(similarity) / len(images),
        "variance_explained": float(_share_explained(error, spread)),
        "restoration_40": float(shares.mean()),
        "active_units": float(active_units(torch.cat(means))),
        "images_per_second": len(images) / seconds,
    }


def _sums(codec: Codec, clean: Tensor, pictures: Tensor, first: int) -> Tensor:
    """Return PSNR, SSIM, spread, error, and the error after restoration per block, `[4 + 2, N]`."""
    restored = (
        _autoencode(codec, degrade(clean, _SHARE_LEFT, block, first).image)[0] for block in _BLOCKS
    )
    errors = [_square_error(attempt, clean) for attempt in (pictures, *restored)]
    return torch.stack([psnr(pictures, clean), ssim(pictures, clean), _spread(clean), *errors])


def _codec(model: SliceVAE) -> Codec:
    return Codec(model, next(model.parameters()).device, torch.float32)


def _autoencode(codec: Codec, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Return reconstructions `[N, 1, H, W]` and latent means of images, float32 on the CPU."""
    mu, _ = codec.encode(pictures[:, 0].cpu().numpy())
    return codec.decode(mu).cpu(), mu


def _square_error(pictures: Tensor, clean: Tensor) -> Tensor:
    """Return the sum of squared errors of each image, `[N]`."""
    if pictures.shape != clean.shape:
        raise ValueError(
            f"pictures must be {list(clean.shape)}, as the clean ones, "
            f"but are {list(pictures.shape)}"
        )
    return (pictures.double() - clean.double()).square().flatten(1).sum(1)


def _spread(clean: Tensor) -> Tensor:
    """Return the sum of squares of each image about its mean, `[N]`; exactly 0 if constant."""
    pixels = clean.double().flatten(1)
    spread = (pixels - pixels.mean(1, keepdim=True)).square().sum(1)
    return spread * (pixels.amax(1) > pixels.amin(1))


def _share_explained(error: Tensor, spread: Tensor) -> Tensor:
    """Return 1 - error / spread; where the spread is 0, return 1 for no error and 0 otherwise."""
    return torch.where(spread > 0, 1 - error / spread.where(spread > 0, 1.0), (error == 0).double())
