"""The variational autoencoder for slices, composed of parts."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from medvae.errors import UsageProblem
from medvae.networks._parts import DecoderPart, EncoderPart, LatentPart, StemPart


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
        pictures: Tensor = self.decoder(self.latent.expand(z))
        return pictures

    def forward(self, x: Tensor) -> Tensor:
        mu, logvar = self.encode(x)
        return self.decode(self.sample(mu, logvar))

    def reconstruct(self, x: Tensor) -> Reconstruction:
        """Return the reconstruction of slices `[N, 1, H, W]` together with their posterior."""
        mu, logvar = self.encode(x)
        return Reconstruction(self.decode(self.sample(mu, logvar)), mu, logvar)
