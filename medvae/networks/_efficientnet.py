"""EfficientNet encoders built from MONAI's blocks, with the names of the ImageNet weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from monai.networks.nets.efficientnet import EfficientNetBNFeatures, url_map
from torch import Tensor, nn
from torch.nn import functional

from medvae.errors import UsageProblem
from medvae.networks._codec import merge_padding
from medvae.networks._pretrained import load_pretrained
from medvae.networks._vae import EncoderPart, Features

_MODELS = ("b0", "b1", "b2", "b3", "b4", "b5", "b6", "b7")
_LEVELS = {32: 1, 16: 2, 8: 3}
"""Number of feature maps to merge, by stride."""
_MERGED_CHANNELS = 128


@dataclass(frozen=True)
class EfficientNet(EncoderPart):
    """EfficientNet features.

    Args:
        model: Name of the variant, `b0` to `b7`.
        stride: Stride of the features in pixels. With 32, the network's last features are used;
            with 8 or 16, for a spatial latent, deeper features are added to shallower ones
            (128 channels).
        drop_connect: Fraction of the last block's outputs dropped in training; earlier blocks
            drop less.
        pretrained: True for ImageNet weights, or the path of a weight file in MONAI's layout
            or that of the ImageNet weights.
    """

    model: str = "b1"
    stride: int = 32
    drop_connect: float = 0.2
    pretrained: bool | str = False

    def __post_init__(self) -> None:
        if self.model not in _MODELS:
            models = ", ".join(_MODELS)
            raise UsageProblem(f"model of EfficientNet must be one of {models}, not {self.model}")
        if self.stride not in _LEVELS:
            raise UsageProblem(f"stride of EfficientNet must be 8, 16 or 32, not {self.stride}")

    def build(self) -> Features:
        name = f"efficientnet-{self.model}"
        features = _EfficientNetFeatures(name, self.stride, self.drop_connect)
        load_pretrained(features.backbone, self.pretrained, url_map[name])
        return features


class _Backbone(nn.Module):
    """Convolutional stages of MONAI's EfficientNet, whose last `levels` feature maps are returned.

    Attributes start with an underscore because the ImageNet weights have these names.
    """

    def __init__(self, name: str, levels: int, drop_connect: float) -> None:
        super().__init__()
        net = EfficientNetBNFeatures(name, pretrained=False, spatial_dims=2, in_channels=3)
        self._conv_stem_padding = net._conv_stem_padding
        self._conv_stem = net._conv_stem
        self._bn0 = net._bn0
        # Torch's SiLU uses as little memory as MONAI's memory-efficient swish and can be exported.
        self._swish = nn.SiLU()
        stages: list[list[Any]] = [list(stage.children()) for stage in net._blocks]
        blocks = [block for stage in stages for block in stage]
        for index, block in enumerate(blocks):
            block._swish = nn.SiLU()
            block.drop_connect_rate = drop_connect * index / len(blocks)
        self._blocks = nn.Sequential(*blocks)
        merge_padding(self)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                # MONAI's 0.01 suits weeks on ImageNet: in a training of a few thousand steps, the
                # running statistics lag so far behind that held-out slices are much worse.
                module.momentum = 0.1
        ends = net.extract_stacks[-levels:]
        self.level_ends = [sum(len(stage) for stage in stages[:end]) - 1 for end in ends]
        self.level_channels: list[int] = [blocks[end].out_channels for end in self.level_ends]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the feature maps, shallowest first."""
        x = self._swish(self._bn0(self._conv_stem(self._conv_stem_padding(x))))
        levels: list[Tensor] = []
        for index, block in enumerate(self._blocks):
            x = block(x)
            if index in self.level_ends:
                levels.append(x)
        return levels


class _TopDown(nn.Module):
    """Sum of feature maps, shallowest first and each half as large: `[N, 128, h, w]`."""

    def __init__(self, channels: list[int]) -> None:
        super().__init__()
        width = _MERGED_CHANNELS
        self.laterals = nn.ModuleList(nn.Conv2d(c, width, 1) for c in reversed(channels))
        self.smooth = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.SiLU()
        )

    def forward(self, levels: list[Tensor]) -> Tensor:
        merged = self.laterals[0](levels[-1])
        for index, lateral in enumerate(self.laterals):
            if index > 0:
                enlarged = functional.interpolate(merged, scale_factor=2.0, mode="nearest")
                merged = enlarged + lateral(levels[-1 - index])
        smooth: Tensor = self.smooth(merged)
        return smooth


class _EfficientNetFeatures(Features):
    """EfficientNet's last features, or the merged features of several levels."""

    def __init__(self, name: str, stride: int, drop_connect: float) -> None:
        backbone = _Backbone(name, _LEVELS[stride], drop_connect)
        channels = backbone.level_channels
        super().__init__(_MERGED_CHANNELS if len(channels) > 1 else channels[0], stride)
        self.backbone = backbone
        self.top_down = _TopDown(channels) if len(channels) > 1 else None

    def forward(self, x: Tensor) -> Tensor:
        levels = self.backbone(x)
        features: Tensor = levels[-1] if self.top_down is None else self.top_down(levels)
        return features
