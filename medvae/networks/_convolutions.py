"""Encoders other than EfficientNet, and convolutional decoders that mirror the encoders."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from monai.networks.nets.resnet import ResNetFeatures
from torch import Tensor, nn

from medvae.errors import UsageProblem
from medvae.networks._pretrained import load_pretrained
from medvae.networks._vae import Decoder, DecoderPart, EncoderPart, Features

_RESNET152_WEIGHTS = "https://download.pytorch.org/models/resnet152-394f9c45.pth"
_VGG11BN_WEIGHTS = "https://download.pytorch.org/models/vgg11_bn-6002323d.pth"


class _ResNetFeatures(Features):
    """MONAI's ResNet-152 in two dimensions, returning only the last feature map."""

    def __init__(self) -> None:
        super().__init__(out_channels=2048, stride=32)
        self.backbone = ResNetFeatures("resnet152", False, spatial_dims=2, in_channels=3)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.backbone(x)[-1]
        return last


class _SequentialFeatures(Features):
    """Features computed by a sequence of layers."""

    def __init__(self, features: nn.Sequential, out_channels: int, stride: int) -> None:
        super().__init__(out_channels, stride)
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.features(x)
        return y


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a shortcut; maps `[N, channels, H, W]` to the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.layers(x)
        return y


@dataclass(frozen=True)
class ResNet152(EncoderPart):
    """ResNet-152 features: 2048 channels at stride 32.

    Args:
        pretrained: True for ImageNet weights, or the path of a weight file in torchvision's layout.
    """

    pretrained: bool | str = False

    def build(self) -> Features:
        features = _ResNetFeatures()
        load_pretrained(features.backbone, self.pretrained, _RESNET152_WEIGHTS)
        return features


@dataclass(frozen=True)
class VGG11BN(EncoderPart):
    """Features of VGG-11 with batch norm: 512 channels at stride 32.

    Args:
        pretrained: True for ImageNet weights, or the path of a weight file in torchvision's layout.
    """

    pretrained: bool | str = False

    def build(self) -> Features:
        layers: list[nn.Module] = []
        channels = 3
        for stage in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
            for width in stage:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width)]
                layers += [nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        features = _SequentialFeatures(nn.Sequential(*layers), channels, stride=32)
        load_pretrained(features, self.pretrained, _VGG11BN_WEIGHTS)
        return features


@dataclass(frozen=True)
class ResidualEncoder(EncoderPart):
    """Encoder as in UNIT: a 7x7 convolution, 4x4 convolutions of stride 2, residual blocks.

    With a `SpatialLatent` of 16, 32 or 64 channels, an image of 256x256 pixels has the published
    hidden sizes of 4096, 8192 and 16384. Batch norm replaces UNIT's instance norm, which would
    remove the brightness of a slice from its latent.

    Args:
        channels: Channels of the 7x7 convolution and of each 4x4 convolution that follows it.
        blocks: Number of residual blocks after these convolutions.
        halvings: Number of 4x4 convolutions of stride 2 after the blocks, of unchanged width.
    """

    channels: tuple[int, ...] = (32, 64, 128)
    blocks: int = 4
    halvings: int = 2

    def build(self) -> Features:
        first, last = self.channels[0], self.channels[-1]
        layers = convolution(3, first, kernel_size=7)
        for inputs, outputs in pairwise(self.channels):
            layers += convolution(inputs, outputs, kernel_size=4, stride=2)
        layers += [ResidualBlock(last) for _ in range(self.blocks)]
        for _ in range(self.halvings):
            layers += convolution(last, last, kernel_size=4, stride=2)
        stride = 2 ** (len(self.channels) - 1 + self.halvings)
        return _SequentialFeatures(nn.Sequential(*layers), last, stride)


@dataclass(frozen=True)
class PlainEncoder(EncoderPart):
    """Small encoder of 3x3 convolutions with stride 2, for images of, e.g., 28x28 pixels.

    Args:
        channels: Channels of each convolution.
    """

    channels: tuple[int, ...] = (32, 64)

    def build(self) -> Features:
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise((3, *self.channels)):
            layers += convolution(inputs, outputs, kernel_size=3, stride=2)
        stride = 2 ** len(self.channels)
        return _SequentialFeatures(nn.Sequential(*layers), self.channels[-1], stride)


def convolution(inputs: int, outputs: int, kernel_size: int, stride: int = 1) -> list[nn.Module]:
    """Return a convolution that keeps or halves the sides, then batch norm and activation."""
    padding = (kernel_size - 1) // 2
    layer = nn.Conv2d(inputs, outputs, kernel_size, stride, padding, bias=False)
    return [layer, nn.BatchNorm2d(outputs), nn.SiLU()]


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
