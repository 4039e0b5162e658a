"""Latents: a vector, a vector between fully connected layers, or a spatial map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn

from medvae.errors import UsageProblem
from medvae.networks._vae import LatentHead, LatentPart, Shape


@dataclass(frozen=True)
class VectorLatent(LatentPart):
    """Vector latent with one linear layer on either side.

    Args:
        size: Number of values in the vector.
        squeeze: Channels to which a 1x1 convolution reduces the features before flattening.
        unit_variance: Whether the posterior has variance 1 instead of a learned variance.
    """

    size: int = 512
    squeeze: int = 128
    unit_variance: bool = False

    def build(self, features: Shape, decoder: Shape) -> LatentHead:
        channels, rows, columns = features
        inward = nn.Sequential(
            nn.Conv2d(channels, self.squeeze, 1),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(self.squeeze * rows * columns, _outputs(self.size, self.unit_variance)),
        )
        outward = nn.Sequential(nn.Linear(self.size, math.prod(decoder)), _ToMap(decoder))
        return LatentHead(inward, outward, (self.size,), self.unit_variance)


@dataclass(frozen=True)
class FullyConnectedLatent(LatentPart):
    """Published fully connected VAE on features: 4096-2048-2x512-2048-4096.

    Args:
        size: Number of values in the vector.
        hidden: Units of the layers before the vector; the layers after it have the reverse order.
        pool: Whether to use each channel's mean instead of all its values, as in ResNet's
            classifier.
        unit_variance: Whether the posterior has variance 1 instead of a learned variance.
    """

    size: int = 512
    hidden: tuple[int, ...] = (4096, 2048)
    pool: bool = False
    unit_variance: bool = False

    def build(self, features: Shape, decoder: Shape) -> LatentHead:
        inputs = features[0] if self.pool else math.prod(features)
        pool = [nn.AdaptiveAvgPool2d(1)] if self.pool else []
        inward = nn.Sequential(
            *pool,
            nn.Flatten(),
            *_activated(inputs, *self.hidden),
            nn.Linear((inputs, *self.hidden)[-1], _outputs(self.size, self.unit_variance)),
        )
        outward = nn.Sequential(
            *_activated(self.size, *reversed(self.hidden)),
            nn.Linear((self.size, *reversed(self.hidden))[-1], math.prod(decoder)),
            _ToMap(decoder),
        )
        return LatentHead(inward, outward, (self.size,), self.unit_variance)


@dataclass(frozen=True)
class SpatialLatent(LatentPart):
    """Latent map as large as the encoder's feature map, which preserves positions.

    Args:
        channels: Channels of the map.
        unit_variance: Whether the posterior has variance 1 instead of a learned variance.
    """

    channels: int = 16
    unit_variance: bool = False

    def build(self, features: Shape, decoder: Shape) -> LatentHead:
        if features[1:] != decoder[1:]:
            raise UsageProblem(
                f"the decoder must start where the encoder ends, at {features[1]}x{features[2]}, "
                f"but starts at {decoder[1]}x{decoder[2]}; use more or fewer doublings"
            )
        outputs = _outputs(self.channels, self.unit_variance)
        inward = nn.Sequential(nn.Conv2d(features[0], outputs, 1))
        outward = nn.Sequential(nn.Conv2d(self.channels, decoder[0], 3, padding=1))
        shape = (self.channels, *features[1:])
        return LatentHead(inward, outward, shape, self.unit_variance)


class _ToMap(nn.Module):
    """Reshaping of `[N, channels * rows * columns]` to maps; TorchScript has no `nn.Unflatten`."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.channels, self.rows, self.columns = shape

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(-1, self.channels, self.rows, self.columns)


def _outputs(size: int, unit_variance: bool) -> int:
    """Return the number of values that a head outputs for `size` latent values."""
    return size if unit_variance else 2 * size


def _activated(*units: int) -> list[nn.Module]:
    """Return linear layers between the given numbers of units, each followed by an activation."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(units):
        layers += [nn.Linear(inputs, outputs), nn.SiLU()]
    return layers
