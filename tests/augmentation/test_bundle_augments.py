"""`monai.bundle run augment` on a finished run is `medvae augment`."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

import medvae
from medvae.models import find_bundle
from medvae.training import train
from medvae_cli.main import cli
from outcomes import monai_bundle


@pytest.fixture(scope="module")
def trained(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = {"epochs": 1, "amp": False, "device": "cpu", "intensity": "full"}
    train([studies], "slice_vae", out, variant="plain", settings=settings)
    return out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_writes_the_same_bytes(studies: Path, trained: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    sources, hosts = [str(studies / f"p{number}") for number in (0, 1)], str(studies / "p3")
    options = {"labels": str(studies / "coco.json"), "hosts": hosts, "copies": "2", "seed": "7"}
    command = ["augment", *sources, "--model", str(trained), "--out", str(ours)]
    command += [word for name, value in options.items() for word in (f"--{name}", value)]
    result = CliRunner().invoke(
        cli, [*command, "--format", "png,dicom", "--labels-format", "coco,yolo"]
    )
    assert result.exit_code == 0, result.output
    options |= {"formats": "['png', 'dicom']", "label_formats": "['coco', 'yolo']"}
    bundle = {
        "config_file": str(trained / "configs" / "inference.json"),
        "bundle_root": str(trained),
        "dataset_dir": repr(sources),
        "output_dir": str(theirs),
        **{f"augmentation#{name}": value for name, value in options.items()},
    }
    arguments = [word for name, value in bundle.items() for word in (f"--{name}", value)]
    monai_bundle("run", "augment", *arguments)
    trees = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (ours, theirs)
    ]
    assert trees[0] == trees[1]
    assert any(path.suffix == ".dcm" for path in trees[0])


@pytest.mark.parametrize("bundle", ["slice_vae", "cardiac_mr_vae"])
def test_the_config_sets_parameters_of_the_library_and_repeats_no_default(bundle: str) -> None:
    config = json.loads((find_bundle(bundle) / "configs" / "inference.json").read_text())
    call, known = config["augmentation"], inspect.signature(medvae.augment).parameters
    assert call.pop("_target_") == "medvae.augment"
    assert call.keys() <= known.keys()
    required = {name for name, one in known.items() if one.default is inspect.Parameter.empty}
    assert required <= call.keys() <= required | {"modality", "device"}
