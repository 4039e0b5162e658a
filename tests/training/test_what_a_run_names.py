"""A run is passed on: it names no file of the team, and goes on with files that are given again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from monai.networks.nets.efficientnet import EfficientNetBNFeatures

from medvae.errors import UsageProblem
from medvae.training import train

pytestmark = pytest.mark.filterwarnings("ignore")

SETTINGS = {"epochs": 1, "batch_size": 8, "amp": False, "device": "$torch.device('cpu')"}


@pytest.fixture
def own(pictures: Path, tmp_path: Path) -> Path:
    """Pictures in a folder with a telling name, which a test may change."""
    folder = tmp_path / "Smith" / "pictures"
    shutil.copytree(pictures, folder)
    return folder


@pytest.fixture
def labels(own: Path) -> Path:
    """A label file that names the patients of the pictures."""
    files = sorted(own.rglob("*.png"))
    images = [
        {
            "id": number,
            "file_name": path.relative_to(own).as_posix(),
            "width": 28,
            "height": 28,
            "patient": f"patient of {path.parent.name}",
        }
        for number, path in enumerate(files, 1)
    ]
    path = own.parent / "Smith.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": []}))
    return path


@pytest.mark.slow
def test_no_file_of_a_run_names_a_file_of_the_team(own: Path, labels: Path, tmp_path: Path) -> None:
    out, split = tmp_path / "run", own.parent / "Smith-split.json"
    weights = own.parent / "Smith-b0.pth"
    network = EfficientNetBNFeatures("efficientnet-b0", pretrained=False)
    torch.save(network.state_dict(), weights)
    train(
        [own],
        "slice_vae",
        tmp_path / "first",
        variant="plain",
        settings=SETTINGS | {"labels": str(labels)},
    )
    shutil.copyfile(tmp_path / "first" / "split.json", split)
    settings = SETTINGS | {
        "image_size": 32,
        "labels": str(labels),
        "split": str(split),
        "network_def::encoder": {
            "_target_": "medvae.networks.EfficientNet",
            "model": "b0",
            "pretrained": str(weights),
        },
    }
    train([own], "slice_vae", out, settings=settings, tracking="mlflow")
    assert json.loads((out / "split.json").read_text()) == json.loads(split.read_text())
    for path in (path for path in out.rglob("*") if path.is_file()):
        data = path.read_bytes()
        for name in ("Smith", str(tmp_path)):
            assert name.encode() not in data, path


def begun(own: Path, labels: Path, out: Path) -> None:
    """Train for two epochs, and take the result away as if the second had not ended."""
    settings = SETTINGS | {"epochs": 2, "labels": str(labels)}
    train([own], "slice_vae", out, variant="plain", settings=settings)
    shutil.copyfile(out / "checkpoints" / "best.pt", out / "checkpoints" / "last.pt")


def test_labels_are_given_again(own: Path, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    begun(own, labels, out)
    with pytest.raises(UsageProblem, match=r"labels: the run in .* pass it again"):
        train([own], "slice_vae", out, resume=True)


def test_changed_data_is_refused(own: Path, labels: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    begun(own, labels, out)
    before = (out / "split.json").read_bytes()
    changed, other = sorted(own.rglob("*.png"))[3:5]
    changed.write_bytes(other.read_bytes()[:-1] + b"\0")
    shutil.rmtree(own / "p4")
    with pytest.raises(UsageProblem, match="began") as caught:
        train([own], "slice_vae", out, settings={"labels": str(labels)}, resume=True)
    assert "\n" not in str(caught.value)
    assert (out / "split.json").read_bytes() == before


def test_another_secret_is_told(
    own: Path, labels: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    begun(own, labels, out)
    monkeypatch.setenv("MEDVAE_SECRET", "tonight")
    with pytest.raises(UsageProblem, match=r"split\.json: was written without MEDVAE_SECRET"):
        train([own], "slice_vae", out, settings={"labels": str(labels)}, resume=True)
