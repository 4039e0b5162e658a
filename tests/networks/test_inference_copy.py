"""The fast copy of a network: the same function, nothing of it trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from monai.networks.nets.efficientnet import EfficientNetBNFeatures
from torch import nn

from medvae.networks import (
    ConvDecoder,
    EfficientNet,
    GrayToColor,
    SliceVAE,
    VectorLatent,
    inference_copy,
)
from tiny_networks import pictures, settle, slices_for


def difference(values: torch.Tensor, expected: torch.Tensor) -> float:
    """Return how far values are off, as a share of the spread of what is expected."""
    return ((values - expected).norm() / (expected - expected.mean()).norm()).item()


def features(model: SliceVAE, x: torch.Tensor) -> torch.Tensor:
    """Return what the encoder makes of slices, in float32."""
    made: torch.Tensor = model.encoder(model.stem(x.to(model.stem.weight.dtype)))
    return made.detach().float()


def test_encodes_and_decodes_the_same(trained_variant: SliceVAE) -> None:
    x = slices_for(trained_variant)
    fast = inference_copy(trained_variant)
    assert difference(features(fast, x), features(trained_variant, x)) < 1e-4
    for values, expected in zip(fast.encode(x), trained_variant.encode(x), strict=True):
        torch.testing.assert_close(values, expected, atol=1e-4, rtol=0)
    assert difference(fast(x), trained_variant(x)) < 1e-3


def test_bfloat16_stays_near_and_returns_float32(trained_variant: SliceVAE) -> None:
    x = slices_for(trained_variant)
    fast = inference_copy(trained_variant, torch.bfloat16)
    assert difference(features(fast, x), features(trained_variant, x)) < 0.05
    assert fast.encode(x)[0].dtype == fast(x).dtype == torch.float32
    torch.testing.assert_close(fast(x), trained_variant(x), atol=0.01, rtol=0)


@pytest.mark.parametrize("model", ["b0", "b2"])
def test_efficientnet_stays_within_a_thousandth_of_monai(model: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    monai = EfficientNetBNFeatures(f"efficientnet-{model}", pretrained=False)
    settle(monai, pictures(8, 3, 96))
    torch.save(monai.state_dict(), tmp_path / "weights.pth")
    encoder = EfficientNet(model, pretrained=str(tmp_path / "weights.pth"))
    network = SliceVAE(GrayToColor(), encoder, VectorLatent(4, 4), ConvDecoder((8,) * 5), 96)
    x = pictures(2, 3, 96)
    torch.testing.assert_close(inference_copy(network).encoder(x), monai(x)[-1], atol=1e-3, rtol=0)


def test_leaves_the_network_as_it_was(trained_variant: SliceVAE) -> None:
    before = {name: value.clone() for name, value in trained_variant.state_dict().items()}
    inference_copy(trained_variant, torch.bfloat16)
    after = trained_variant.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert all(parameter.requires_grad for parameter in trained_variant.parameters())


def test_has_no_batch_norm_and_no_padding_of_its_own(trained_variant: SliceVAE) -> None:
    fast = inference_copy(trained_variant)
    left = [m for m in fast.modules() if isinstance(m, nn.BatchNorm2d | nn.ConstantPad2d)]
    assert left == []
    assert not any(parameter.requires_grad for parameter in fast.parameters())
