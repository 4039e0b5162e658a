"""Tiny networks, one for each kind that a bundle names, and pictures for them."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn
from torch.nn import functional

from medvae.networks import (
    VGG11BN,
    ConvDecoder,
    EfficientNet,
    FullyConnectedLatent,
    GrayToColor,
    PlainEncoder,
    ResidualDecoder,
    ResidualEncoder,
    ResNet152,
    SliceVAE,
    SpatialLatent,
    VectorLatent,
)

TINY_DECODER = ConvDecoder((16, 8, 8, 8, 8))


def _efficientnet() -> SliceVAE:
    return SliceVAE(GrayToColor(), EfficientNet("b0"), VectorLatent(16, 8), TINY_DECODER, 64)


def _efficientnet_spatial() -> SliceVAE:
    encoder = EfficientNet("b0", stride=8)
    return SliceVAE(GrayToColor(3), encoder, SpatialLatent(4), ConvDecoder((16, 8, 8)), 64)


def _resnet152() -> SliceVAE:
    latent = FullyConnectedLatent(16, (32, 24), pool=True)
    return SliceVAE(GrayToColor(), ResNet152(), latent, TINY_DECODER, 32)


def _vgg11() -> SliceVAE:
    latent = FullyConnectedLatent(16, (32, 24))
    return SliceVAE(GrayToColor(), VGG11BN(), latent, TINY_DECODER, 32, out_channels=3)


def _residual() -> SliceVAE:
    encoder, decoder = ResidualEncoder((4, 8, 8)), ResidualDecoder((8, 8, 4))
    return SliceVAE(GrayToColor(), encoder, SpatialLatent(4), decoder, 32)


def plain_unit_variance() -> SliceVAE:
    latent = VectorLatent(16, unit_variance=True)
    return SliceVAE(GrayToColor(), PlainEncoder(), latent, ConvDecoder((32, 16)), 28)


ModelT = TypeVar("ModelT", bound=nn.Module)

BUILDERS = {
    "efficientnet": _efficientnet,
    "efficientnet-spatial": _efficientnet_spatial,
    "resnet152": _resnet152,
    "vgg11": _vgg11,
    "residual": _residual,
    "plain-unit-variance": plain_unit_variance,
}


def settle(model: ModelT, examples: torch.Tensor) -> ModelT:
    """Return the model in eval mode, its batch norms as training would leave them.

    Args:
        model: network with fresh batch norms, for which folding them would do next to nothing.
        examples: pictures that their statistics are taken from, `[N, C, H, W]`.
    """
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Half of the examples' statistics: all of them would blow up the rounding of features
            # that hardly differ between so few examples, none would let deep ones overflow.
            module.momentum = 0.5
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    with torch.no_grad():
        model.train()(examples)
    return model.eval()


def slices_for(model: SliceVAE, count: int = 2) -> torch.Tensor:
    """Return smooth pictures `[count, 1, H, W]` of the size that a model takes."""
    return pictures(count, 1, model.image_size)


def pictures(count: int, channels: int, side: int) -> torch.Tensor:
    """Return smooth pictures `[count, channels, side, side]` that differ from each other."""
    return functional.interpolate(torch.rand(count, channels, 4, 4), side, mode="bilinear")
