"""The autoencoder: what it returns, how many parameters it has, and what trains."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from monai.bundle.config_parser import ConfigParser

from medvae.errors import UsageProblem
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
from tiny_networks import slices_for

EFFICIENTNET_TOTALS = {
    "b0": (5_288_548, 320, 1280),
    "b1": (7_794_184, 320, 1280),
    "b2": (9_109_994, 352, 1408),
    "b3": (12_233_232, 384, 1536),
    "b4": (19_341_616, 448, 1792),
    "b5": (30_389_784, 512, 2048),
    "b6": (43_040_704, 576, 2304),
    "b7": (66_347_960, 640, 2560),
}
"""Published parameters of the classifier, channels before and after its last convolution."""


def count(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(*parts: Any, **arguments: Any) -> SliceVAE:
    """Return a network of full size without its memory."""
    with torch.device("meta"):
        return SliceVAE(GrayToColor(), *parts, **arguments)


def latent_of(model: SliceVAE) -> torch.Tensor:
    with torch.device("meta"):
        return model.eval().encode(slices_for(model))[0]


def test_returns_one_tensor_in_zero_to_one(variant: SliceVAE) -> None:
    x = slices_for(variant)
    y = variant(x)
    assert y.shape == (2, variant.out_channels, *x.shape[2:])
    assert y.dtype == torch.float32
    assert y.min() >= 0
    assert y.max() <= 1


def test_latent_is_the_mean_in_eval_mode(variant: SliceVAE) -> None:
    variant.eval()
    mu, logvar = variant.encode(slices_for(variant))
    assert mu.shape == logvar.shape == (2, *variant.latent_shape)
    assert torch.equal(variant.sample(mu, logvar), mu)


def test_latent_is_drawn_from_the_posterior_in_training(plain: SliceVAE) -> None:
    torch.manual_seed(0)
    mu, logvar = torch.full((20_000, 1), 3.0), torch.full((20_000, 1), 2 * math.log(0.5))
    z = plain.train().sample(mu, logvar)
    assert z.mean().item() == pytest.approx(3.0, abs=0.02)
    assert z.std().item() == pytest.approx(0.5, abs=0.01)


def test_call_and_reconstruct_agree(variant: SliceVAE) -> None:
    variant.eval()
    x = slices_for(variant)
    reconstruction = variant.reconstruct(x)
    mu, logvar = variant.encode(x)
    assert torch.equal(reconstruction.image, variant(x))
    assert torch.equal(reconstruction.image, variant.decode(mu))
    assert torch.equal(reconstruction.mu, mu)
    assert torch.equal(reconstruction.logvar, logvar)


def test_every_parameter_gets_a_gradient(variant: SliceVAE) -> None:
    prediction = variant.reconstruct(slices_for(variant))
    (prediction.image.square().sum() + prediction.mu.sum() + prediction.logvar.sum()).backward()
    gradients = {name: parameter.grad for name, parameter in variant.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None] == []
    # Batch norm takes the bias of a convolution before it out again, as in VGG.
    idle = [name for name, gradient in gradients.items() if not gradient.any()]
    assert [n for n in idle if not (n.startswith("encoder.features") and n.endswith("bias"))] == []


def test_unit_variance_is_one(plain: SliceVAE) -> None:
    _, logvar = plain.encode(slices_for(plain))
    assert not logvar.any()


@pytest.mark.parametrize("model", EFFICIENTNET_TOTALS)
def test_efficientnet_has_the_published_size(model: str) -> None:
    total, channels, head = EFFICIENTNET_TOTALS[model]
    network = on_meta(EfficientNet(model), VectorLatent(), ConvDecoder())
    classifier = channels * head + 2 * head + head * 1000 + 1000
    assert count(network.encoder) == total - classifier
    assert latent_of(network).shape == (2, 512)


@pytest.mark.parametrize(("stride", "side"), [(8, 28), (16, 14), (32, 7)])
def test_efficientnet_makes_features_at_the_stride(stride: int, side: int) -> None:
    decoder = ConvDecoder((64, 48, 32, 24, 16)[: int(math.log2(stride))])
    network = on_meta(EfficientNet("b1", stride=stride), SpatialLatent(8), decoder)
    assert network.latent_shape == (8, side, side)
    assert latent_of(network).shape == (2, 8, side, side)


@pytest.mark.parametrize(
    ("encoder", "pool", "features", "inputs"),
    [(ResNet152(), True, 58_143_808, 2048), (VGG11BN(), False, 9_225_984, 25_088)],
    ids=["resnet152", "vgg11"],
)
def test_fully_connected_vae_has_the_published_layers(
    encoder: ResNet152 | VGG11BN, pool: bool, features: int, inputs: int
) -> None:
    network = on_meta(encoder, FullyConnectedLatent(pool=pool), ConvDecoder())
    linear = [m for m in network.latent.modules() if isinstance(m, torch.nn.Linear)]
    sizes = [(m.in_features, m.out_features) for m in linear]
    assert count(network.encoder) == features
    assert sizes[:3] == [(inputs, 4096), (4096, 2048), (2048, 2 * 512)]
    assert sizes[3:] == [(512, 2048), (2048, 4096), (4096, 256 * 7 * 7)]
    assert latent_of(network).shape == (2, 512)


@pytest.mark.parametrize(("channels", "hidden"), [(16, 4096), (32, 8192), (64, 16384)])
def test_residual_network_has_the_published_hidden_sizes(channels: int, hidden: int) -> None:
    network = on_meta(ResidualEncoder(), SpatialLatent(channels), ResidualDecoder(), image_size=256)
    assert network.latent_shape == (channels, 16, 16)
    assert latent_of(network)[0].numel() == hidden
    shapes = [m.weight.shape for m in network.encoder.modules() if hasattr(m, "kernel_size")]
    assert shapes[:3] == [(32, 3, 7, 7), (64, 32, 4, 4), (128, 64, 4, 4)]
    assert shapes[3:11] == [(128, 128, 3, 3)] * 8


def test_plain_network_takes_28_by_28() -> None:
    network = on_meta(PlainEncoder(), VectorLatent(), ConvDecoder((64, 32)), image_size=28)
    assert count(network.encoder) == 3 * 32 * 9 + 2 * 32 + 32 * 64 * 9 + 2 * 64
    assert latent_of(network).shape == (2, 512)


def test_monai_config_names_the_parts() -> None:
    parser = ConfigParser(
        {
            "network_def": {
                "_target_": "medvae.networks.SliceVAE",
                "stem": {"_target_": "medvae.networks.GrayToColor"},
                "encoder": {"_target_": "medvae.networks.PlainEncoder", "channels": [8, 16]},
                "latent": {"_target_": "medvae.networks.VectorLatent", "size": 4},
                "decoder": {"_target_": "medvae.networks.ConvDecoder", "channels": [16, 8]},
                "image_size": 28,
            }
        }
    )
    network = parser.get_parsed_content("network_def")
    expected = SliceVAE(
        GrayToColor(), PlainEncoder((8, 16)), VectorLatent(4), ConvDecoder((16, 8)), 28
    )
    assert network.describe() == expected.describe()
    assert network.latent_shape == (4,)


def test_stem_starts_as_imagenet_normalisation() -> None:
    color = GrayToColor(3).build()(torch.full((1, 1, 5, 5), 0.5))[0, :, 2, 2]
    expected = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225]
    assert color.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EfficientNet("b9"), "model of EfficientNet must be one of b0, b1"),
        (lambda: EfficientNet(stride=4), "stride of EfficientNet must be 8, 16 or 32, not 4"),
        (lambda: GrayToColor(2), "kernel_size of GrayToColor must be odd, but is 2"),
        (
            lambda: on_meta(PlainEncoder(), VectorLatent(), ConvDecoder((8,)), image_size=30),
            "image_size must be a multiple of 4 for PlainEncoder, but is 30",
        ),
        (
            lambda: on_meta(PlainEncoder(), VectorLatent(), ConvDecoder(), image_size=28),
            "image_size must be a multiple of 32 for a decoder with 5 doublings, but is 28",
        ),
        (
            lambda: on_meta(PlainEncoder(), SpatialLatent(), ConvDecoder((8,)), image_size=28),
            "must start where the encoder ends, at 7x7, but starts at 14x14",
        ),
        (
            lambda: on_meta(PlainEncoder(), VectorLatent(), ConvDecoder((8,)), 28, 2),
            "out_channels must be 1 or 3, but is 2",
        ),
    ],
)
def test_parts_that_cannot_be_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageProblem, match=message):
        make()
