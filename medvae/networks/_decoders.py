"""Convolutional decoders that mirror the encoders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import nn

from medvae.errors import UsageProblem
from medvae.networks._encoders import ResidualBlock, convolution
from medvae.networks._parts import Decoder, DecoderPart


@dataclass(frozen=True)
class ConvDecoder(DecoderPart):
    """Decoder that doubles the sides repeatedly, with two 3x3 convolutions after each doubling.

    The output convolution performs the last doubling by computing the four pixels of each 2x2
    square at once, which mirrors an encoder whose first convolution has stride 2. Layers at full
    resolution would take half of the time of a whole training step.

    Args:
        channels: Channels at the start and after each doubling but the last.
    """

    channels: tuple[int, ...] = (256, 192, 128, 64, 48)

    def build(self, image_size: int, out_channels: int) -> Decoder:
        side = _start(image_size, len(self.channels))
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(self.channels):
            layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
            layers += convolution(inputs, outputs, kernel_size=3)
            layers += convolution(outputs, outputs, kernel_size=3)
        out = nn.Conv2d(self.channels[-1], 4 * out_channels, 3, padding=1)
        # The four pixels start with equal weights, so that no 2x2 pattern has to be unlearnt.
        for parameter in out.parameters():
            parameter.data = parameter.data[::4].repeat_interleave(4, dim=0)
        return Decoder(nn.Sequential(*layers), out, (self.channels[0], side, side), shuffle=2)


@dataclass(frozen=True)
class ResidualDecoder(DecoderPart):
    """Mirror of `ResidualEncoder`: residual blocks, doublings and a 7x7 convolution.

    Args:
        channels: Channels of the blocks, and after each doubling that follows them.
        blocks: Number of residual blocks.
        doublings: Number of doublings before the blocks, of unchanged width.
    """

    channels: tuple[int, ...] = (128, 64, 32)
    blocks: int = 4
    doublings: int = 2

    def build(self, image_size: int, out_channels: int) -> Decoder:
        side = _start(image_size, self.doublings + len(self.channels) - 1)
        first = self.channels[0]
        layers: list[nn.Module] = []
        for _ in range(self.doublings):
            layers += _doubling(first, first)
        layers += [ResidualBlock(first) for _ in range(self.blocks)]
        for inputs, outputs in pairwise(self.channels):
            layers += _doubling(inputs, outputs)
        out = nn.Conv2d(self.channels[-1], out_channels, 7, padding=3)
        return Decoder(nn.Sequential(*layers), out, (first, side, side))


def _start(image_size: int, doublings: int) -> int:
    """Return the side that becomes `image_size` after the given number of doublings."""
    growth = 1 << doublings
    if image_size % growth:
        raise UsageProblem(
            f"image_size must be a multiple of {growth} for a decoder with {doublings} "
            f"doublings, but is {image_size}"
        )
    return image_size // growth


def _doubling(inputs: int, outputs: int) -> list[nn.Module]:
    """Return layers that double the sides and then apply a 5x5 convolution."""
    upsample = nn.Upsample(scale_factor=2, mode="nearest")
    return [upsample, *convolution(inputs, outputs, kernel_size=5)]
