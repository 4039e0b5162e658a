"""The variational autoencoder for slices, and the parts of which it is composed.

A part is described by a frozen dataclass of names and arguments, without weights, so that a MONAI
config can name it by ``_target_``, two parts can be compared, and :meth:`NetworkPart.describe`
returns it as plain JSON, from which it can be recreated without running code from a file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn

from medvae.errors import UsageProblem

Shape = tuple[int, int, int]
"""Shape of a feature map: (channels, rows, columns)."""


@dataclass(frozen=True)
class NetworkPart:
    """One part of a network: its name and its arguments."""

    def __post_init__(self) -> None:
        """Make the lists of a config tuples, as they are in the defaults."""
        for name, value in vars(self).items():
            if isinstance(value, list):
                object.__setattr__(self, name, tuple(value))

    def describe(self) -> dict[str, Any]:
        """Return the part as plain JSON: its name under ``part`` and its arguments.

        The origin of pretrained weights is left out, as it is not a property of the network.
        """
        arguments = {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
            if name != "pretrained"
        }
        return {"part": type(self).__name__, **arguments}


class Features(nn.Module):
    """Module that maps images `[N, 3, H, W]` to `[N, out_channels, H / stride, W / stride]`."""

    def __init__(self, out_channels: int, stride: int) -> None:
        super().__init__()
        self.out_channels = out_channels
        self.stride = stride


class LatentHead(nn.Module):
    """Module that maps feature maps to posteriors, and latents to feature maps.

    Args:
        inward: Layers that map features to `mu`, or to `mu` and `logvar` along dimension 1.
        outward: Layers that map latents to the input of the decoder.
        shape: Shape of one latent, `(size,)` or `(channels, rows, columns)`.
        unit_variance: Whether the posterior's variance is 1 and `inward` returns only `mu`.
    """

    def __init__(
        self,
        inward: nn.Sequential,
        outward: nn.Sequential,
        shape: tuple[int, ...],
        unit_variance: bool,
    ) -> None:
        super().__init__()
        self.inward = inward
        self.outward = outward
        self.shape = shape
        self.unit_variance = unit_variance

    def posterior(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Return `mu` and `logvar`, both `[N, *shape]` in float32, for feature maps."""
        # Always float32, whatever the encoder ran in: distances between neighbours are small.
        values = self.inward(features.float()).float()
        if self.unit_variance:
            return values, values.new_zeros(values.shape)
        mu, logvar = values.chunk(2, dim=1)
        # A variance far above the prior's has no meaning, and the exponential would overflow.
        return mu, logvar.clamp(-10.0, 4.0)


class Decoder(nn.Module):
    """Module that maps `[N, *in_shape]` to images `[N, out_channels, H, W]` in 0 to 1.

    Args:
        body: All layers but the last convolution.
        out: The last convolution.
        in_shape: Shape of the body's input.
        shuffle: Pixels along each side that each output position of `out` becomes.
    """

    def __init__(
        self, body: nn.Sequential, out: nn.Conv2d, in_shape: Shape, shuffle: int = 1
    ) -> None:
        super().__init__()
        self.body = body
        self.out = out
        self.in_shape = in_shape
        self.shuffle = nn.PixelShuffle(shuffle)

    def forward(self, x: Tensor) -> Tensor:
        pictures: Tensor = self.shuffle(self.out(self.body(x.to(self.out.weight.dtype))))
        return pictures.float().sigmoid()


class StemPart(NetworkPart, ABC):
    """Part that converts one channel to the three that an encoder expects."""

    @abstractmethod
    def build(self) -> nn.Conv2d:
        """Return a convolution that maps `[N, 1, H, W]` to `[N, 3, H, W]`."""


class EncoderPart(NetworkPart, ABC):
    """Part that computes features from images."""

    @abstractmethod
    def build(self) -> Features:
        """Return the module, with random or pretrained weights."""


class LatentPart(NetworkPart, ABC):
    """Part that computes latents from features, and feature maps from latents."""

    @abstractmethod
    def build(self, features: Shape, decoder: Shape) -> LatentHead:
        """Return the module for the shapes of the encoder's features and the decoder's input."""


class DecoderPart(NetworkPart, ABC):
    """Part that computes images from feature maps."""

    @abstractmethod
    def build(self, image_size: int, out_channels: int) -> Decoder:
        """Return a module whose output is `[N, out_channels, image_size, image_size]`."""


@dataclass(frozen=True)
class GrayToColor(StemPart):
    """The stem: one convolution from 1 channel to the 3 that an ImageNet encoder expects.

    Initially it normalises a grey image in 0 to 1 by ImageNet's mean and standard deviation.

    Args:
        kernel_size: Kernel size of the convolution, odd.
    """

    kernel_size: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kernel_size < 1 or self.kernel_size % 2 == 0:
            raise UsageProblem(f"kernel_size of GrayToColor must be odd, but is {self.kernel_size}")

    def build(self) -> nn.Conv2d:
        stem = nn.Conv2d(1, 3, self.kernel_size, padding=self.kernel_size // 2)
        middle = self.kernel_size // 2
        nn.init.zeros_(stem.weight)
        bias = cast(Tensor, stem.bias)
        for channel, (mean, deviation) in enumerate(
            zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
        ):
            nn.init.constant_(stem.weight[channel, :, middle, middle], 1 / deviation)
            nn.init.constant_(bias[channel], -mean / deviation)
        return stem


class Reconstruction(NamedTuple):
    """Images `[N, C, H, W]` and their posterior `[N, *latent_shape]`, as a loss takes them."""

    image: Tensor
    mu: Tensor
    logvar: Tensor


class SliceVAE(nn.Module):
    """Variational autoencoder for square slices `[N, 1, H, W]` with values in 0 to 1.

    A call returns one tensor, the reconstruction `[N, out_channels, H, W]`. In eval mode the
    latent is the posterior's mean, so that the same slice always gives the same reconstruction.

    Args:
        stem: Part that converts one channel to three.
        encoder: Part that computes features from these channels.
        latent: Part that computes the posterior from the features.
        decoder: Part that computes images from latents.
        image_size: Side length of the images in pixels.
        out_channels: Number of channels of the reconstruction, 1 or 3.

    Attributes:
        latent_shape: Shape of one latent, `(size,)` or `(channels, rows, columns)`.

    Raises:
        UsageProblem: The parts do not fit together.
    """

    def __init__(
        self,
        stem: StemPart,
        encoder: EncoderPart,
        latent: LatentPart,
        decoder: DecoderPart,
        image_size: int = 224,
        out_channels: int = 1,
    ) -> None:
        super().__init__()
        if out_channels not in (1, 3):
            raise UsageProblem(f"out_channels must be 1 or 3, but is {out_channels}")
        self._parts = {"stem": stem, "encoder": encoder, "latent": latent, "decoder": decoder}
        self.image_size = image_size
        self.out_channels = out_channels
        self.stem = stem.build()
        self.encoder = encoder.build()
        if image_size < 1 or image_size % self.encoder.stride:
            raise UsageProblem(
                f"image_size must be a multiple of {self.encoder.stride} for "
                f"{type(encoder).__name__}, but is {image_size}"
            )
        side = image_size // self.encoder.stride
        self.decoder = decoder.build(image_size, out_channels)
        features = (self.encoder.out_channels, side, side)
        self.latent = latent.build(features, self.decoder.in_shape)
        self.latent_shape = self.latent.shape

    def describe(self) -> dict[str, Any]:
        """Return the network as plain JSON, from which `build` can recreate it."""
        parts = {role: part.describe() for role, part in self._parts.items()}
        return {"image_size": self.image_size, "out_channels": self.out_channels, **parts}

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return `mu` and `logvar`, both `[N, *latent_shape]`, for slices `[N, 1, H, W]`."""
        return self.latent.posterior(self.features(x))

    def features(self, x: Tensor) -> Tensor:
        """Return the feature maps of slices `[N, 1, H, W]` that the latent is computed from."""
        maps: Tensor = self.encoder(self.stem(x.to(self.stem.weight.dtype)))
        return maps

    def sample(self, mu: Tensor, logvar: Tensor) -> Tensor:
        """Return latents `[N, *latent_shape]`: sampled in training mode, `mu` in eval mode."""
        if self.training:
            return mu + torch.randn_like(mu) * (0.5 * logvar).exp()
        return mu

    def decode(self, z: Tensor) -> Tensor:
        """Return images `[N, out_channels, H, W]` in 0 to 1 for latents `[N, *latent_shape]`."""
        pictures: Tensor = self.decoder(self.latent.outward(z))
        return pictures

    def forward(self, x: Tensor) -> Tensor:
        mu, logvar = self.encode(x)
        return self.decode(self.sample(mu, logvar))

    def reconstruct(self, x: Tensor) -> Reconstruction:
        """Return the reconstruction of slices `[N, 1, H, W]` together with their posterior."""
        mu, logvar = self.encode(x)
        return Reconstruction(self.decode(self.sample(mu, logvar)), mu, logvar)
