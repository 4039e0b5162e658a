"""What MONAI itself asks of a bundle, asked of one that was trained."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonschema import validate
from monai.bundle import (
    ConfigParser,
    ConfigWorkflow,
    ckpt_export,
    create_workflow,
    load,
    verify_net_in_out,
)
from PIL import Image

from medvae import networks
from medvae.models import find_bundle, open_model
from medvae.training import CanvasSlices, train
from outcomes import monai_bundle

pytestmark = pytest.mark.filterwarnings("ignore")

SETTINGS = {"epochs": 1, "batch_size": 8, "amp": False, "device": "$torch.device('cpu')"}

# The fields that MONAI's specification requires; its own schema is only to be had online.
METADATA = {
    "type": "object",
    "required": [
        "version",
        "changelog",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "required_packages_version",
        "task",
        "description",
        "authors",
        "copyright",
        "network_data_format",
    ],
    "properties": {
        "version": {"type": "string", "pattern": r"^\d+\.\d+\.\d+"},
        "changelog": {"type": "object", "additionalProperties": {"type": "string"}},
        "required_packages_version": {"type": "object"},
        "eval_metrics": {"type": "object"},
        "network_data_format": {
            "type": "object",
            "required": ["inputs", "outputs"],
            "additionalProperties": {
                "additionalProperties": {
                    "required": ["type", "num_channels", "spatial_shape", "dtype", "value_range"]
                }
            },
        },
    },
}


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "run"
    train([pictures], "slice_vae", out, variant="plain", settings=SETTINGS)
    return out


def workflow(folder: Path, *names: str, kind: str, **override: object) -> ConfigWorkflow:
    configs = folder / "configs"
    return ConfigWorkflow(
        config_file=[str(configs / f"{name}.json") for name in names],
        meta_file=str(configs / "metadata.json"),
        logging_file=str(configs / "logging.conf"),
        workflow_type=kind,
        bundle_root=str(folder),
        **override,
    )


def test_metadata(run: Path) -> None:
    for folder in (find_bundle("slice_vae"), find_bundle("cardiac_mr_vae"), run):
        metadata = json.loads((folder / "configs" / "metadata.json").read_text())
        validate(metadata, METADATA)
        assert metadata["version"] in metadata["changelog"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("config", ["train", "inference"])
@pytest.mark.parametrize("bundle", ["slice_vae", "cardiac_mr_vae"])
def test_computes_in_bfloat16_where_the_device_does(
    bundle: str, config: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(networks, "fastest_dtype", lambda device: dtype)
    parser = ConfigParser()
    parser.read_config(find_bundle(bundle) / "configs" / f"{config}.json")
    assert parser.get_parsed_content("amp") is (dtype == torch.bfloat16)


@pytest.mark.slow
def test_what_configs_import_is_there_for_monais_own_commands() -> None:
    # MONAI takes names from packages by getattr: what nobody imported before is not found in them.
    script = (
        "import sys; from monai.bundle import ConfigParser\n"
        "for path in sys.argv[1:]:\n"
        "    parser = ConfigParser()\n"
        "    parser.read_config(path)\n"
        "    [imported.__name__ for imported in parser.get_parsed_content('imports')]"
    )
    configs = [
        str(find_bundle(bundle) / "configs" / f"{config}.json")
        for bundle in ("slice_vae", "cardiac_mr_vae")
        for config in ("train", "inference")
    ]
    subprocess.run([sys.executable, "-W", "ignore", "-c", script, *configs], check=True)


@pytest.mark.parametrize("bundle", ["slice_vae", "cardiac_mr_vae"])
def test_no_config_refers_to_an_object_by_its_position(bundle: str) -> None:
    for path in (find_bundle(bundle) / "configs").glob("*.json"):
        assert re.findall(r"@[\w#:]*(?:#|::)\d+", path.read_text()) == [], path


def test_no_property_is_missing(run: Path, pictures: Path) -> None:
    training = workflow(run, "train", kind="train", dataset_dir=str(pictures))
    training.initialize()
    assert training.check_properties() == []
    inference = workflow(run, "inference", kind="infer", dataset_dir=str(pictures))
    inference.initialize()
    assert inference.check_properties() == []


@pytest.mark.parametrize("config", ["train", "inference"])
def test_the_network_takes_and_gives_what_the_metadata_says(run: Path, config: str) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(run / "configs" / "metadata.json"),
        config_file=str(run / "configs" / f"{config}.json"),
        device="cpu",
    )


def test_it_is_exported_to_torchscript(run: Path, tmp_path: Path) -> None:
    ckpt_export(
        net_id="network_def",
        filepath=str(tmp_path / "model.ts"),
        meta_file=str(run / "configs" / "metadata.json"),
        config_file=str(run / "configs" / "train.json"),
        ckpt_file=str(run / "models" / "model.pt"),
        bundle_root=str(run),
    )
    exported = torch.jit.load(tmp_path / "model.ts")
    picture = torch.rand(2, 1, 28, 28)
    network = workflow(run, "train", kind="train").parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(run / "models" / "model.pt", weights_only=True))
    with torch.inference_mode():
        torch.testing.assert_close(exported(picture), network.eval()(picture), atol=1e-3, rtol=0)


def test_evaluation_runs(run: Path, pictures: Path) -> None:
    evaluation = workflow(run, "train", "evaluate", kind="train", dataset_dir=str(pictures))
    evaluation.initialize()
    evaluation.run()
    evaluation.finalize()
    psnr = evaluation.parser.get_parsed_content("validate#evaluator").state.metrics["psnr"]
    reached = json.loads((run / "configs" / "metadata.json").read_text())["eval_metrics"]["psnr"]
    assert float(psnr) == pytest.approx(reached, abs=0.5)


def test_inference_runs(run: Path, pictures: Path, tmp_path: Path) -> None:
    inference = create_workflow(
        config_file=str(run / "configs" / "inference.json"),
        workflow_name="ConfigWorkflow",
        workflow_type="infer",
        meta_file=str(run / "configs" / "metadata.json"),
        logging_file=str(run / "configs" / "logging.conf"),
        bundle_root=str(run),
        dataset_dir=str(pictures),
        output_dir=str(tmp_path),
    )
    inference.run()
    written = {path.name: path for path in tmp_path.glob("*.png")}
    items = CanvasSlices.open(pictures, 28)
    assert written.keys() == {f"{key}_reconstruction.png" for key in items.keys}
    model = open_model(run).network
    expected = (model(items.images[:1].float())[0, 0] * 255).detach().numpy()
    shown = np.asarray(Image.open(written[f"{items.keys[0]}_reconstruction.png"]))
    np.testing.assert_allclose(shown, expected, atol=1.5)


def test_it_loads_into_another_program(run: Path) -> None:
    network = load(run.name, bundle_dir=str(run.parent)).eval()
    picture = torch.rand(2, 1, 28, 28)
    with torch.inference_mode():
        torch.testing.assert_close(network(picture), open_model(run).network(picture))


@pytest.mark.slow
def test_monais_command_trains(pictures: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    shutil.copytree(find_bundle("slice_vae"), bundle)
    configs = [str(bundle / "configs" / f"{name}.json") for name in ("train", "plain")]
    options = {
        "config_file": repr(configs),
        "meta_file": str(bundle / "configs" / "metadata.json"),
        "logging_file": str(bundle / "configs" / "logging.conf"),
        "bundle_root": str(bundle),
        "dataset_dir": str(pictures),
        "epochs": "1",
        "tracking": "mlflow",
    }
    arguments = [part for key, value in options.items() for part in (f"--{key}", value)]
    monai_bundle("run", *arguments)
    assert (bundle / "checkpoints" / "best.pt").is_file()
    open_model(bundle)
    assert (bundle / "mlruns.db").is_file()
