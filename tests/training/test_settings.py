"""Variants and settings: what they reach in a bundle's config, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.bundle import ConfigParser

from medvae.errors import MedvaeError, UsageProblem
from medvae.models import open_model
from medvae.training import prepare_run, train
from outcomes import monai_bundle

pytestmark = pytest.mark.filterwarnings("ignore")


def prepared(out: Path, **chosen: Any) -> ConfigParser:
    """Return the config of a run that is ready to start."""
    prepare_run("slice_vae", out, **chosen)
    return ConfigParser(json.loads((out / "configs" / "train.json").read_text()))


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("patience", 3),
        ("loss#kl_weight", 0.1),
        ("loss::free_bits", 0.1),
        ("network_def#out_channels", 3),
        ("network_def#latent#unit_variance", True),
        ("optimizer#betas", [0.9, 0.99]),
        ("optimizer#_target_", "torch.optim.AdamW"),
        ("train#dataloader#pin_memory", True),  # of torch's class, from which MONAI's inherits
        ("train#trainer#amp", False),
        ("validate#key_metric#psnr#reduction", "mean"),
        ("progress#colour", "green"),  # passed on by ignite
        ("network_def#encoder", {"_target_": "medvae.networks.PlainEncoder", "channels": [8]}),
    ],
)
def test_a_setting_reaches_any_parameter(tmp_path: Path, key: str, value: Any) -> None:
    config = prepared(tmp_path / "run", settings={key: value})
    assert config[key] == value


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("epoch", 3, "settings: epoch: the config has no such key; did you mean 'epochs'?"),
        (
            "loss#kl_weigth",
            0.1,
            "settings: loss::kl_weigth: medvae.networks.CalibratedLoss has no such parameter; "
            "did you mean 'kl_weight'?",
        ),
        (
            "optimizer#beta",
            0.9,
            "settings: optimizer::beta: torch.optim.Adam has no such parameter; "
            "did you mean 'betas'?",
        ),
        (
            "train#dataloader#pin_memry",
            True,
            "settings: train::dataloader::pin_memry: DataLoader has no such parameter; "
            "did you mean 'pin_memory'?",
        ),
        (
            "train#handlers#1#x",
            1,
            "settings: train::handlers::1::x: medvae.training.NanGuard has no such parameter; "
            "it takes none",
        ),
        (
            "network_def#encoder",
            {"_target_": "medvae.networks.PlainEncoder", "chanels": [8]},
            "settings: network_def::encoder::chanels: medvae.networks.PlainEncoder has no such "
            "parameter; did you mean 'channels'?",
        ),
        (
            "loss#_target_",
            "medvae.networks.Published",
            "settings: loss: there is no class 'medvae.networks.Published'; choose from "
            "medvae.networks.CalibratedLoss, medvae.networks.PublishedLoss",
        ),
        (
            "optimizer#_target_",
            "torch.optim.Adamant",
            "settings: optimizer: there is no class 'torch.optim.Adamant'; check its full name",
        ),
    ],
)
def test_what_does_not_exist_is_refused(tmp_path: Path, key: str, value: Any, said: str) -> None:
    with pytest.raises(UsageProblem) as caught:
        prepare_run("slice_vae", tmp_path / "run", settings={key: value})
    assert str(caught.value) == said
    assert not (tmp_path / "run").exists()


def test_a_value_that_its_class_refuses_is_told_in_one_line(pictures: Path, tmp_path: Path) -> None:
    wrong = {"optimizer#betas": [0.9, 2.0]}
    with pytest.raises(MedvaeError) as caught:
        train(pictures, "slice_vae", tmp_path / "run", variant="plain", settings=wrong)
    assert str(caught.value) == (
        "torch.optim.Adam: Invalid beta parameter at index 1: 2.0; check its settings"
    )


def test_settings_are_trained_with(pictures: Path, tmp_path: Path) -> None:
    settings = {"network_def#out_channels": 3, "optimizer#betas": [0.8, 0.9], "epochs": 1}
    train(
        pictures,
        "slice_vae",
        tmp_path / "run",
        variant="plain",
        epochs=9,  # settings take precedence
        batch_size=8,
        amp=False,
        device="cpu",
        settings=settings,
    )
    assert open_model(tmp_path / "run").network.out_channels == 3
    last = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)
    assert last["epoch"] == 1
    assert last["optimizer"]["param_groups"][0]["betas"] == (0.8, 0.9)
    metadata = json.loads((tmp_path / "run" / "configs" / "metadata.json").read_text())
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 3


class TestVariants:
    @pytest.mark.slow
    def test_several_are_merged_trained_and_recorded(self, pictures: Path, tmp_path: Path) -> None:
        out, both = tmp_path / "run", ["residual", "unit_variance"]
        settings = {"image_size": 32, "network_def#encoder#blocks": 1}
        chosen: dict[str, Any] = {"epochs": 1, "batch_size": 12, "amp": False, "device": "cpu"}
        train(pictures, "slice_vae", out, variant=both, settings=settings, **chosen)
        described = open_model(out).network.describe()
        assert described["encoder"]["part"] == "ResidualEncoder"
        assert described["latent"] == {
            "part": "SpatialLatent",
            "channels": 16,
            "unit_variance": True,
        }
        config = json.loads((out / "configs" / "train.json").read_text())
        assert config["variants"] == both
        train(pictures, "slice_vae", out, variant=both, resume=True)
        with pytest.raises(UsageProblem) as caught:
            train(pictures, "slice_vae", out, variant="residual", resume=True)
        assert str(caught.value) == (
            f"variant: the run in {out} was started with residual, unit_variance; pass the same "
            "or none"
        )

    def test_the_later_one_wins_and_says_so(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        config = prepared(tmp_path / "run", variant=["unit_variance", "spatial", "residual"])
        assert config["network_def::latent"] == {"_target_": "medvae.networks.SpatialLatent"}
        assert caplog.messages == [
            "variant 'unit_variance': network_def::latent::unit_variance is replaced by a variant "
            "that comes later",
            "variant 'spatial': network_def::encoder::stride is replaced by a variant that comes "
            "later",
            "variant 'spatial': network_def::latent is replaced by a variant that comes later",
            "variant 'spatial': network_def::decoder is replaced by a variant that comes later",
        ]

    def test_monais_command_reads_several_too(self, tmp_path: Path) -> None:
        prepare_run("slice_vae", tmp_path / "run", variant=["residual", "unit_variance"])
        configs = Path(__file__).parents[2] / "bundles" / "slice_vae" / "configs"
        parser = ConfigParser()
        names = ("train", "residual", "unit_variance")
        parser.read_config([str(configs / f"{name}.json") for name in names])
        written = json.loads((tmp_path / "run" / "configs" / "train.json").read_text())
        assert written["network_def"] == parser["network_def"]

    def test_an_unknown_one_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match=r"there is no 'spacial' in .*; choose from plain, "):
            prepare_run("slice_vae", tmp_path / "run", variant=["residual", "spacial"])


@pytest.mark.slow
def test_the_config_of_a_run_trains_the_same_by_monais_command(
    pictures: Path, tmp_path: Path
) -> None:
    run, chosen = tmp_path / "run", {"epochs": 1, "batch_size": 8, "amp": False, "device": "cpu"}
    settings = {**chosen, "loss#kl_weight": 0.1, "optimizer#betas": [0.8, 0.9]}
    prepare_run("slice_vae", run, variant=["plain", "unit_variance"], settings=settings)
    options = {
        "config_file": str(run / "configs" / "train.json"),
        "bundle_root": str(run),
        "dataset_dir": str(pictures),
    }
    arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
    monai_bundle("run", *arguments)
    other = tmp_path / "other"
    train(pictures, "slice_vae", other, variant=["plain", "unit_variance"], settings=settings)
    weights = [(folder / "models" / "model.safetensors").read_bytes() for folder in (run, other)]
    assert weights[0] == weights[1]
