"""The trained bundle that ships: what MONAI asks of it, and that it is what its page says."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out
from safetensors import safe_open

from medvae.demo import SAMPLE
from medvae.latent import LatentStatistics
from medvae.metrics import held_out_figures
from medvae.models import find_bundle, open_model
from medvae.training import CanvasSlices

pytestmark = pytest.mark.filterwarnings("ignore")

BUNDLE = find_bundle("cardiac_mr_vae")
CONFIGS = BUNDLE / "configs"


def workflow(*names: str, kind: str, **override: object) -> ConfigWorkflow:
    return ConfigWorkflow(
        config_file=[str(CONFIGS / f"{name}.json") for name in names],
        meta_file=str(CONFIGS / "metadata.json"),
        logging_file=str(CONFIGS / "logging.conf"),
        workflow_type=kind,
        bundle_root=str(BUNDLE),
        **override,
    )


@pytest.mark.parametrize(("config", "kind"), [("train", "train"), ("inference", "infer")])
def test_no_property_is_missing(config: str, kind: str, tmp_path: Path) -> None:
    opened = workflow(config, kind=kind, dataset_dir=str(SAMPLE), output_dir=str(tmp_path))
    opened.initialize()
    assert opened.check_properties() == []


@pytest.mark.parametrize("config", ["train", "inference"])
def test_the_network_takes_and_gives_what_the_metadata_says(config: str) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / f"{config}.json"),
        device="cpu",
    )


def test_it_is_exported_to_torchscript(tmp_path: Path) -> None:
    weights = tmp_path / "model.pt"
    torch.save(open_model("cardiac_mr_vae").network.state_dict(), weights)
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        meta_file=str(CONFIGS / "metadata.json"),
        config_file=str(CONFIGS / "train.json"),
        ckpt_file=str(weights),
        bundle_root=str(BUNDLE),
    )
    assert (tmp_path / "model.ts").is_file()


def test_inference_restores_the_sample(tmp_path: Path) -> None:
    folder = SAMPLE / "SC-N-07"
    inference = workflow(
        "inference", kind="infer", dataset_dir=str(folder), output_dir=str(tmp_path)
    )
    inference.initialize()
    inference.run()
    assert len(list(tmp_path.glob("*.png"))) == len(list(folder.glob("*.dcm")))


@pytest.mark.slow
def test_its_figures_are_those_of_patients_that_it_never_saw() -> None:
    run = open_model("cardiac_mr_vae")
    sample = CanvasSlices.open([SAMPLE], run.network.image_size)
    trained = LatentStatistics.load(BUNDLE / "models")
    assert not set(sample.groups) & set(trained.groups)
    said = json.loads((CONFIGS / "metadata.json").read_text())["eval_metrics"]
    reached = held_out_figures(run.network, sample.images.float())
    # The sample is a third of the slices of these patients.
    assert reached["psnr"] == pytest.approx(said["psnr"], abs=1)
    assert reached["variance_explained"] == pytest.approx(said["variance_explained"], abs=0.08)


def test_weights_are_small_and_no_code() -> None:
    weights = BUNDLE / "models" / "model.safetensors"
    assert weights.stat().st_size < 25e6
    with safe_open(weights, "pt") as file:
        kinds = {file.get_slice(name).get_dtype() for name in file.keys()}
    assert kinds == {"F16", "I64"}
    assert not list(BUNDLE.rglob("*.pt"))


def test_nothing_names_the_machine_it_was_made_on() -> None:
    for path in (*CONFIGS.iterdir(), *(BUNDLE / "docs").iterdir()):
        assert re.findall(r"/(?:home|root|tmp|Users|work|shared)/", path.read_text()) == []
