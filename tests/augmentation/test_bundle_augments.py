"""`monai.bundle run augment` on a finished run is `medvae augment`."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

import medvae
from medvae.models import find_bundle
from medvae.training import train
from medvae_cli.main import cli


@pytest.fixture(scope="module")
def trained(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one epoch."""
    out = tmp_path_factory.mktemp("runs") / "run"
    settings = {"epochs": 1, "amp": False, "device": "cpu", "intensity": "full"}
    train([studies], "slice_vae", out, variant="plain", settings=settings)
    return out


@pytest.mark.slow
def test_it_writes_the_same_bytes(studies: Path, trained: Path, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    sources, hosts = [str(studies / f"p{number}") for number in (0, 1)], str(studies / "p3")
    labels = str(studies / "coco.json")
    options = {"--labels": labels, "--hosts": hosts, "--copies": "2", "--seed": "7"}
    shared = [word for pair in options.items() for word in pair]
    formats = ["--format", "png,dicom", "--labels-format", "coco,yolo"]
    command = ["augment", *sources, "--model", str(trained), "--out", str(ours), *shared, *formats]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    bundle = {
        "config_file": str(trained / "configs" / "inference.json"),
        "bundle_root": str(trained),
        "dataset_dir": repr(sources),
        "output_dir": str(theirs),
        "formats": "png,dicom",
        "label_formats": "coco,yolo",
    }
    arguments = [word for name, value in bundle.items() for word in (f"--{name}", value)]
    monai = [sys.executable, "-W", "ignore", "-m", "monai.bundle", "run", "augment"]
    subprocess.run([*monai, *arguments, *shared], check=True, capture_output=True)
    trees = [
        {path.relative_to(out): path.read_bytes() for path in out.rglob("*") if path.is_file()}
        for out in (ours, theirs)
    ]
    assert trees[0] == trees[1]
    assert any(path.suffix == ".dcm" for path in trees[0])


def test_every_option_is_a_key_of_the_config() -> None:
    config = json.loads((find_bundle("slice_vae") / "configs" / "inference.json").read_text())
    (call,) = config["augment"]
    asked = inspect.signature(medvae.augment).parameters
    assert call.keys() - {"_target_"} == asked.keys() - {"progress"}
    for name in config.keys() & asked.keys() - {"modality", "device"}:
        default = asked[name].default
        plain = {(): [], ("png",): "png", ("coco",): "coco"}.get(default, default)
        assert config[name] == plain
