"""Measure how fast slices are encoded, compared with MONAI's unmodified EfficientNet.

Run it with ``python examples/benchmarks/encoder_speed.py``. All ways run in turn on the
same slices and weights, and each is reported by its fastest turn, because other work on the machine
can only slow a turn down.
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from functools import partial

import torch
from monai.networks.nets.efficientnet import EfficientNetBNFeatures
from torch import Tensor, nn
from torch.nn import functional

from medvae.networks import (
    ConvDecoder,
    EfficientNet,
    GrayToColor,
    SliceVAE,
    VectorLatent,
    inference_copy,
)

Encode = Callable[[Tensor], Tensor]


class LastFeatures(nn.Module):
    """The unmodified EfficientNet of MONAI, reduced to the last of its feature maps."""

    def __init__(self, backbone: EfficientNetBNFeatures) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.backbone(x)[-1]
        return last


def smooth_pictures(count: int, channels: int) -> Tensor:
    """Return smooth pictures `[count, channels, 224, 224]` that vary like slices."""
    return functional.interpolate(torch.rand(count, channels, 7, 7), 224, mode="bilinear")


def settle_batch_norms(backbone: nn.Module) -> None:
    """Set the batch norms so that features neither vanish nor overflow."""
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
            nn.init.uniform_(module.weight, 0.8, 1.2)
            nn.init.uniform_(module.bias, -0.2, 0.2)
    backbone.train()(smooth_pictures(4, 3))


def ways_to_encode(model: str) -> dict[str, Encode]:
    """Return, by name, the ways to encode slices `[N, 1, 224, 224]` into latents `[N, 512]`."""
    backbone = EfficientNetBNFeatures(f"efficientnet-{model}", pretrained=False)
    settle_batch_norms(backbone)
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(backbone.state_dict(), file.name)
        encoder = EfficientNet(model, pretrained=file.name)
        network = SliceVAE(GrayToColor(), encoder, VectorLatent(), ConvDecoder()).eval()
    monai = copy.deepcopy(network)
    monai.add_module("encoder", LastFeatures(backbone).eval())
    monai_bf16 = copy.deepcopy(monai)
    for part in (monai_bf16.stem, monai_bf16.encoder):
        part.to(torch.bfloat16)
    networks = {
        "MONAI, float32": monai,
        "medvae, float32": inference_copy(network),
        "MONAI, bfloat16": monai_bf16,
        "medvae, bfloat16": inference_copy(network, torch.bfloat16),
    }
    return {name: partial(latents, network) for name, network in networks.items()}


def latents(network: SliceVAE, slices: Tensor) -> Tensor:
    """Return the posterior means `[N, 512]` of slices."""
    return network.encode(slices)[0]


def fastest_turns(ways: dict[str, Encode], slices: Tensor, rounds: int) -> dict[str, float]:
    """Return the duration of the fastest turn of each way, in seconds."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(rounds):
        for name, encode in ways.items():
            start = time.perf_counter()
            encode(slices)
            seconds[name] = min(seconds[name], time.perf_counter() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="b1", help="EfficientNet, b0 to b7 (default: b1)")
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.manual_seed(0)
    slices = smooth_pictures(options.batch_size, 1)
    with torch.inference_mode():
        ways = ways_to_encode(options.model)
        reference = ways["MONAI, float32"](slices)
        off = {name: (way(slices) - reference).abs().max() for name, way in ways.items()}
        seconds = fastest_turns(ways, slices, options.rounds)
    print(f"EfficientNet-{options.model}, {torch.get_num_threads()} threads, {len(slices)} slices")
    for name, spent in seconds.items():
        precision = name.split(", ")[1]
        ratio = seconds[f"MONAI, {precision}"] / spent
        print(
            f"{name:17} {len(slices) / spent:7.1f} slices/s  {ratio:5.2f} times MONAI in "
            f"{precision}; latents, of {reference.abs().max():.1f} at most, off by {off[name]:.0e}"
        )


if __name__ == "__main__":
    main()
