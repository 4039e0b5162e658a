"""An encoder of someone's own: a class, and one line that registers it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import Tensor, nn

from medvae.errors import ReadError
from medvae.models import open_model
from medvae.networks import PARTS, EncoderPart, Features, load_model, parts_for
from medvae_cli.main import cli


class ToyFeatures(Features):
    """One convolution of stride 4."""

    def __init__(self, width: int) -> None:
        super().__init__(out_channels=width, stride=4)
        self.layer = nn.Conv2d(3, width, 4, stride=4)

    def forward(self, x: Tensor) -> Tensor:
        features: Tensor = self.layer(x).relu()
        return features


@dataclass(frozen=True)
class ToyEncoder(EncoderPart):
    """The smallest encoder that can be trained."""

    width: int = 8

    def build(self) -> Features:
        return ToyFeatures(self.width)


@pytest.fixture
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PARTS, "ToyEncoder", ToyEncoder)


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three patients with four slices each."""
    folder = tmp_path_factory.mktemp("slices")
    random = np.random.default_rng(0)
    for number in range(12):
        path = folder / f"p{number // 4}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(random.integers(0, 256, (28, 28), dtype="uint8")).save(path)
    return folder


def trained(slices: Path, out: Path) -> Path:
    """Train the variant ``plain`` with the toy encoder for an epoch."""
    encoder = json.dumps({"_target_": f"{__name__}.ToyEncoder", "width": 6})
    settings = ("--epochs", "1", "--batch-size", "4", "--no-amp", "--device", "cpu")
    chosen = ("--variant", "plain", "--set", f"network_def#encoder={encoder}")
    arguments = ["train", str(slices), "--out", str(out), *settings, *chosen]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 0, result.output
    return out


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_registered")
def test_it_trains_and_loads(slices: Path, tmp_path: Path) -> None:
    network = open_model(trained(slices, tmp_path / "run")).network
    assert network.describe()["encoder"] == {"part": "ToyEncoder", "width": 6}
    assert network(torch.rand(2, 1, 28, 28)).shape == (2, 1, 28, 28)


@pytest.mark.filterwarnings("ignore")
def test_a_program_that_does_not_register_it_is_told_what_there_is(
    slices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as registered:
        registered.setitem(PARTS, "ToyEncoder", ToyEncoder)
        run = trained(slices, tmp_path / "run")
    with pytest.raises(ReadError, match="unknown part 'ToyEncoder'; choose from EfficientNet, "):
        load_model(run / "models")


def test_the_registry_knows_the_role_of_each_part() -> None:
    roles = {
        role: set(parts_for(role)) for role in ("stem", "encoder", "latent", "decoder", "loss")
    }
    assert set().union(*roles.values()) == set(PARTS)
    assert sum(map(len, roles.values())) == len(PARTS)
    assert roles["loss"] == {"CalibratedLoss", "PublishedLoss"}
