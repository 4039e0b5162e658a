"""``medvae train`` as its users see it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from monai.networks.nets.efficientnet import EfficientNetBNFeatures
from PIL import Image

from medvae.models import open_model
from medvae_cli.main import cli


def medvae_train(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["train", *map(str, arguments)])


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    random = np.random.default_rng(0)
    for patient in range(3):
        (folder / f"p{patient}").mkdir(parents=True)
        for index in range(4):
            pixels = random.integers(0, 256, (28, 28), dtype="uint8")
            Image.fromarray(pixels).save(folder / f"p{patient}" / f"{index}.png")
    return folder


@pytest.mark.filterwarnings("ignore")
def test_trains_and_says_what_it_reaches(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("--variant", "plain", "--epochs", "1", "--batch-size", "4", "--no-amp")
    settings = ("--device", "cpu", "--modality", "MR", "--set", "patience=3")
    result = medvae_train(pictures, "--out", out, *arguments, *settings)
    assert result.exit_code == 0, result.output
    assert "psnr: " in result.stdout
    assert f"the run is a bundle: {out}" in result.stdout
    config = json.loads((out / "configs" / "train.json").read_text())
    assert (config["patience"], config["amp"], config["batch_size"]) == (3, False, 4)
    metadata = json.loads((out / "configs" / "metadata.json").read_text())
    assert metadata["medvae"]["modalities"] == ["MR"]


@pytest.mark.filterwarnings("ignore")
def test_pictures_of_ct_are_mapped_over_their_full_range(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    arguments = ("--variant", "plain", "--epochs", "1", "--batch-size", "4", "--device", "cpu")
    result = medvae_train(pictures, "--out", out, *arguments, "--modality", "CT")
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stderr.splitlines() if "HU" in line)
    assert line == (
        "Warning: CT slices with 8-bit values cannot be in HU: their intensity map is "
        "window:127.5,255, their full range, instead of the soft-tissue window"
    )
    assert open_model(out).intensity == "window:127.5,255"
    config = json.loads((out / "configs" / "inference.json").read_text())
    assert config["intensity"] == "window:127.5,255"
    view = CliRunner().invoke(
        cli, ["latent", str(pictures), "--model", str(out), "--out", str(tmp_path / "latent")]
    )
    assert view.exit_code == 0, view.output
    assert "HU" not in view.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "Missing option '--out'"),
        (("--out", "run", "--set", "epochs"), "'epochs' is not of the form key=value"),
        (("--out", "run", "--set", "epoch=3"), "--set: epoch: the config has no such key; did you"),
        (("--out", "run", "--set", "epoch=3"), "did you mean 'epochs'?"),
        (("--out", "run", "--set", "loss#kl=3"), "did you mean 'kl_weight'?"),
        (("--out", "run", "--epochs", "0"), "0 is not in the range"),
        (("--out", "run", "--bundle", "nothing"), "there is no such bundle"),
        (("--out", "run", "--variant", "spacial"), "--variant: there is no 'spacial' in"),
        (("--out", "run", "--resume"), "run: holds no run to resume"),
    ],
)
def test_wrong_usage(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(pictures.parent)
    result = medvae_train(pictures, *arguments)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.split())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_variants_are_merged_and_parameters_are_set(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    variants = ("--variant", "plain", "--variant", "unit_variance", "--variant", "published")
    arguments = ("--epochs", "1", "--batch-size", "4", "--no-amp", "--device", "cpu")
    settings = ("--set", "loss#kl_weight=0.5", "--set", "optimizer#betas=[0.9,0.99]")
    result = medvae_train(pictures, "--out", out, *variants, *arguments, *settings)
    assert result.exit_code == 0, result.output
    config = json.loads((out / "configs" / "train.json").read_text())
    assert config["variants"] == ["plain", "unit_variance", "published"]
    assert config["loss"] == {"_target_": "medvae.networks.PublishedLoss", "kl_weight": 0.5}
    assert config["optimizer"]["betas"] == [0.9, 0.99]
    assert open_model(out).network.describe()["latent"]["unit_variance"] is True


@pytest.mark.filterwarnings("ignore")
def test_weights_of_another_encoder(pictures: Path, tmp_path: Path) -> None:
    weights = tmp_path / "b0.pth"
    torch.save(EfficientNetBNFeatures("efficientnet-b0", pretrained=False).state_dict(), weights)
    pretrained = f"network_def::encoder::pretrained={weights}"
    arguments = ("--batch-size", "4", "--set", pretrained)  # fits in the memory of any machine
    result = medvae_train(pictures, "--out", tmp_path / "run", *arguments)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: {weights}: does not fit the network: _blocks.")
    assert result.stderr.endswith("; use weights of the same encoder\n")
    assert result.stderr.count("\n") == 1


def test_tracking_without_its_packages(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    result = medvae_train(pictures, "--out", tmp_path / "run", "--tracking", "mlflow")
    assert result.exit_code == 2
    assert "MLflow is not installed: pip install 'monai-medvae[mlflow]'" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")
def test_nothing_to_read(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("hello")
    result = medvae_train(tmp_path / "data", "--out", tmp_path / "run", "--variant", "plain")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {tmp_path / 'data'}: holds no slice that can be read; choose other files\n"
    )


@pytest.mark.filterwarnings("ignore")
def test_label_problems_are_told_and_masks_are_not_trained_on(
    pictures: Path, tmp_path: Path
) -> None:
    drawn = pictures / "drawn"
    for path in sorted(pictures.rglob("*.png")):
        (drawn / path.parent.name).mkdir(parents=True, exist_ok=True)
        mask = np.zeros((28, 28), dtype="uint8")
        mask[4:9, 5:15] = 1
        Image.fromarray(mask).save(drawn / path.parent.name / path.name)
    (drawn / "p9").symlink_to(tmp_path / "unmounted")
    names = [f"p{patient}/{index}.png" for patient in range(3) for index in range(4)]
    rows = [f"{name},5,4,10,5,{name[:2]}" for name in names]
    labels = pictures / "boxes.csv"
    labels.write_text("\n".join(["file,x,y,w,h,patient", *rows, "p8/0.png,1,1,2,2,p8"]))
    out = tmp_path / "run"
    arguments = ("--variant", "plain", "--epochs", "1", "--batch-size", "4", "--device", "cpu")
    given = ("--labels", labels, "--outlines", drawn, "--modality", "MR")
    result = medvae_train(pictures, "--out", out, *arguments, *given)
    assert result.exit_code == 0, result.output
    assert "not used: boxes.csv, line 14: 'p8/0.png' matches no slice" in result.stderr
    assert "not used: p9: is a broken link" in result.stderr
    split = json.loads((out / "split.json").read_text())
    assert len(split["training"]) + len(split["validation"]) == 3
    for path in out.rglob("*.json"):
        assert str(drawn) not in path.read_text(), path
