"""Encoders that start from pretrained weights."""

from __future__ import annotations

import re
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from monai.networks.nets.efficientnet import EfficientNetBNFeatures
from monai.networks.nets.resnet import ResNetFeatures

from medvae.errors import ReadError
from medvae.networks import VGG11BN, EfficientNet, ResNet152
from tiny_networks import pictures, settle


@pytest.fixture
def picture() -> torch.Tensor:
    torch.manual_seed(0)
    return pictures(2, 3, 64)


@pytest.fixture
def monai_b0() -> torch.nn.Module:
    torch.manual_seed(0)
    monai = EfficientNetBNFeatures("efficientnet-b0", pretrained=False)
    return settle(monai, pictures(8, 3, 64))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which torch looks for weights, on a machine without a network."""

    def offline(url: str, *_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return tmp_path / "checkpoints"


def test_efficientnet_computes_what_monai_does(
    monai_b0: torch.nn.Module, picture: torch.Tensor, tmp_path: Path
) -> None:
    torch.save(monai_b0.state_dict(), tmp_path / "b0.pth")
    encoder = EfficientNet("b0", pretrained=str(tmp_path / "b0.pth")).build().eval()
    torch.testing.assert_close(encoder(picture), monai_b0(picture)[-1])


def test_imagenet_file_in_the_hub_folder_is_taken(
    monai_b0: torch.nn.Module, picture: torch.Tensor, hub: Path
) -> None:
    published = {
        re.sub(r"^_blocks\.\d+\.", "_blocks.", name): value
        for name, value in monai_b0.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert "_blocks.15._project_conv.weight" in published
    hub.mkdir()
    torch.save(published, hub / "efficientnet-b0-355c32eb.pth")
    encoder = EfficientNet("b0", pretrained=True).build().eval()
    torch.testing.assert_close(encoder(picture), monai_b0(picture)[-1])


@pytest.mark.slow
def test_resnet_takes_torchvision_names(picture: torch.Tensor, tmp_path: Path) -> None:
    torch.manual_seed(0)
    monai = ResNetFeatures("resnet152", False, spatial_dims=2, in_channels=3).eval()
    weights = monai.state_dict()
    assert "layer3.35.conv3.weight" in weights
    path = tmp_path / "resnet152.safetensors"
    safetensors.torch.save_file(weights | {"fc.weight": torch.zeros(1000, 2048)}, path)
    encoder = ResNet152(pretrained=str(path)).build().eval()
    torch.testing.assert_close(encoder(picture), monai(picture)[-1])


def test_vgg_takes_torchvision_names(tmp_path: Path) -> None:
    source = VGG11BN().build()
    weights = source.state_dict()
    convolutions = [0, 4, 8, 11, 15, 18, 22, 25]
    assert [n for n, v in weights.items() if v.dim() == 4] == [
        f"features.{index}.weight" for index in convolutions
    ]
    classifier = {"classifier.0.weight": torch.zeros(4, 4)}
    torch.save(weights | classifier, tmp_path / "vgg11_bn.pth")
    encoder = VGG11BN(pretrained=str(tmp_path / "vgg11_bn.pth")).build()
    assert torch.equal(encoder.state_dict()["features.25.weight"], weights["features.25.weight"])


@pytest.mark.parametrize(
    ("encoder", "file"),
    [
        (EfficientNet("b1", pretrained=True), "efficientnet-b1-f1951068.pth"),
        (ResNet152(pretrained=True), "resnet152-394f9c45.pth"),
        (VGG11BN(pretrained=True), "vgg11_bn-6002323d.pth"),
    ],
)
def test_offline_says_where_to_put_the_file(encoder: Any, file: str, hub: Path) -> None:
    with pytest.raises(ReadError, match="cannot download https://") as caught:
        encoder.build()
    assert f"save the file as {hub / file}" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_file_that_does_not_fit_is_refused(monai_b0: torch.nn.Module, tmp_path: Path) -> None:
    path = tmp_path / "b0.pth"
    torch.save(monai_b0.state_dict(), path)
    with pytest.raises(ReadError, match=r"does not fit the network: _blocks\.1\._depthwise"):
        EfficientNet("b1", pretrained=str(path)).build()


def test_code_in_a_weight_file_does_not_run(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "owned",)

    torch.save({"_conv_stem.weight": Attack()}, tmp_path / "bad.pth")
    with pytest.raises(ReadError, match="not a weight file that can be read safely"):
        EfficientNet("b0", pretrained=str(tmp_path / "bad.pth")).build()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("content", [[torch.zeros(1)], {1: torch.zeros(1)}, {"epoch": 3}])
def test_other_content_is_no_weight_file(content: object, tmp_path: Path) -> None:
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ReadError, match="not a state dict"):
        VGG11BN(pretrained=str(tmp_path / "other.pth")).build()
