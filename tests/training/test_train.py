"""A bundle is trained, interrupted, taken up, and becomes a bundle."""

from __future__ import annotations

import json
import shutil
import time
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient
from safetensors.torch import load_file
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from medvae.errors import MedvaeError, ReadError, TrainingError, UsageProblem
from medvae.latent import LatentStatistics
from medvae.models import open_model
from medvae.training import train

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore:.*lr_scheduler.step.*:UserWarning"),
]

SETTINGS: dict[str, Any] = {
    "epochs": 3,
    "batch_size": 8,
    "amp": False,
    "device": "$torch.device('cpu')",
}


def trained(pictures: Path, out: Path, **settings: Any) -> dict[str, float]:
    return train([pictures], "slice_vae", out, variant="plain", settings=SETTINGS | settings)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "models" / "model.safetensors")


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


@pytest.fixture(scope="module")
def run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three epochs."""
    out = tmp_path_factory.mktemp("runs") / "run"
    trained(pictures, out)
    return out


class TestRun:
    def test_is_a_bundle_that_opens(self, run: Path) -> None:
        opened = open_model(run)
        assert opened.network.image_size == 28
        assert opened.network.latent_shape == (16,)
        picture = opened.network.decode(torch.zeros(1, 16))
        assert picture.shape == (1, 1, 28, 28)

    def test_says_what_it_reaches_on_held_out_patients(self, run: Path) -> None:
        metadata = json.loads((run / "configs" / "metadata.json").read_text())
        assert {
            "psnr",
            "ssim",
            "variance_explained",
            "restoration_40",
            "active_units",
            "images_per_second",
        } <= set(metadata["eval_metrics"])
        assert metadata["medvae"]["patients"] == {"training": 4, "validation": 1}
        assert metadata["medvae"]["slices"] == {"training": 24, "validation": 6}

    def test_keeps_the_latents_of_the_training_set(self, run: Path) -> None:
        statistics = LatentStatistics.load(run / "models")
        split = json.loads((run / "split.json").read_text())
        assert len(statistics.keys) == 24
        assert set(statistics.groups) == set(split["training"])

    def test_shows_its_curves_and_reconstructions(self, run: Path) -> None:
        for name in ("curves.png", "reconstructions.png"):
            assert (run / name).read_bytes().startswith(b"\x89PNG")
        assert list((run / "tensorboard").iterdir())

    def test_configs_hold_the_variant_and_the_settings(self, run: Path) -> None:
        config = json.loads((run / "configs" / "train.json").read_text())
        assert config["epochs"] == 3
        assert config["network_def"]["encoder"]["_target_"] == "medvae.networks.PlainEncoder"
        inference = json.loads((run / "configs" / "inference.json").read_text())
        assert inference["network_def"] == config["network_def"]
        assert not (run / "configs" / "plain.json").exists()


SMALL = {"image_size": 32, "epochs": 1, "batch_size": 12}
CONNECTED = {"_target_": "medvae.networks.FullyConnectedLatent", "hidden": [32, 24]}
STATELESS = {"optimizer#_target_": "torch.optim.SGD"}  # its checkpoints are a third of Adam's
DECODER = {"_target_": "medvae.networks.ConvDecoder", "channels": [16, 8, 8, 8, 8]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("variant", "smaller"),
    [
        ("published", {"network_def::encoder::model": "b0"}),
        ("unit_variance", {"network_def::encoder::model": "b0"}),
        ("spatial", {"network_def::encoder::model": "b0"}),
        ("residual", {}),
        ("vgg11", {"network_def::latent": CONNECTED, "network_def::decoder": DECODER}),
        ("resnet152", {"network_def::latent": {**CONNECTED, "pool": True}} | STATELESS),
    ],
)
def test_every_variant_trains_two_steps(
    pictures: Path, tmp_path: Path, variant: str, smaller: dict[str, Any]
) -> None:
    settings = SETTINGS | SMALL | smaller
    train([pictures], "slice_vae", tmp_path / "run", variant=variant, settings=settings)
    model = open_model(tmp_path / "run").network
    steps = torch.load(tmp_path / "run" / "checkpoints" / "last.pt", weights_only=True)["iteration"]
    assert steps == 2
    assert model.decode(torch.zeros(1, *model.latent_shape)).shape == (1, 1, 32, 32)
    shutil.rmtree(tmp_path / "run")  # some of these are large


@pytest.mark.slow
def test_the_same_seed_gives_the_same_weights(run: Path, pictures: Path, tmp_path: Path) -> None:
    trained(pictures, tmp_path / "again")
    assert same(weights(tmp_path / "again"), weights(run))
    trained(pictures, tmp_path / "other", seed=1)
    assert not same(weights(tmp_path / "other"), weights(run))


@pytest.mark.slow
def test_a_killed_training_is_taken_up(
    run: Path, pictures: Path, tmp_path: Path, fork: ForkServerContext
) -> None:
    out = tmp_path / "run"
    process = fork.Process(target=trained, args=(pictures, out))
    process.start()
    while not (out / "checkpoints" / "last.pt").exists():
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not (out / "models" / "model.safetensors").exists()
    # A run keeps no paths: it goes on with a copy of its data, wherever that is.
    shutil.copytree(pictures, tmp_path / "copy", copy_function=shutil.copyfile)
    train([tmp_path / "copy"], "slice_vae", out, resume=True)
    assert same(weights(out), weights(run))
    history = torch.load(out / "checkpoints" / "last.pt", weights_only=True)["history"]
    assert [epoch["epoch"] for epoch in history["epochs"]] == [1, 2, 3]


@pytest.mark.slow
def test_a_training_that_is_taken_up_stops_as_early(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    # With this learning rate, the reconstructions get worse after the first epoch.
    trained(pictures, out, epochs=12, patience=3, learning_rate=0.02)
    last = out / "checkpoints" / "last.pt"
    whole = torch.load(last, weights_only=True)
    assert (whole["epoch"], whole["early_stop"]["counter"]) == (4, 3)
    shutil.copyfile(out / "checkpoints" / "best.pt", last)
    assert torch.load(last, weights_only=True)["epoch"] == 1
    train([pictures], "slice_vae", out, resume=True)
    again = torch.load(last, weights_only=True)
    assert (again["epoch"], again["early_stop"]) == (4, whole["early_stop"])


def train_in_processes(pictures: Path, out: Path) -> None:
    parts = "{'network': @network, 'optimizer': @optimizer, 'loss': @loss}"
    each = f"training.Checkpoints(@output_dir + '/process' + str(@rank), {parts}, @history)"
    handlers = {"train::trainer::train_handlers": f"$@train#handlers + [{each}]"}
    trained(pictures, out, batch_size=4, **handlers)


@pytest.mark.slow
@pytest.mark.usefixtures("fork")
def test_two_processes_train_together(run: Path, pictures: Path, tmp_path: Path) -> None:
    # What torchrun does, with processes that are forked instead of ones that import all anew.
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        start_method="forkserver",
    )
    elastic_launch(launch, train_in_processes)(pictures, tmp_path / "run")
    first, second, together, alone = (
        torch.load(folder / "last.pt", weights_only=True)
        for folder in (
            tmp_path / "run" / "process0",
            tmp_path / "run" / "process1",
            tmp_path / "run" / "checkpoints",
            run / "checkpoints",
        )
    )
    assert same(first["network"], second["network"])
    assert same(first["network"], together["network"])
    assert first["history"] == second["history"] == together["history"]
    losses = [[e["loss"] for e in c["history"]["epochs"]] for c in (together, alone)]
    assert losses[0] == pytest.approx(losses[1], rel=0.1)


@pytest.mark.slow
def test_mlflow_is_told_losses_and_what_is_reached(pictures: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    train([pictures], "slice_vae", out, variant="plain", settings=SETTINGS, tracking="mlflow")
    client = MlflowClient(f"sqlite:///{out}/mlruns.db")
    (tracked,) = client.search_runs([e.experiment_id for e in client.search_experiments()])
    assert tracked.info.status == "FINISHED"

    def values(name: str) -> list[float]:
        return [m.value for m in client.get_metric_history(tracked.info.run_id, name)]

    epochs = torch.load(out / "checkpoints" / "last.pt", weights_only=True)["history"]["epochs"]
    means = [sum(values("train_loss")[i : i + 3]) / 3 for i in (0, 3, 6)]
    assert means == pytest.approx([epoch["loss"] for epoch in epochs])
    assert values("psnr") == pytest.approx([epoch["validation_psnr"] for epoch in epochs])


class TestWrongUsage:
    def told(self, error: type[MedvaeError], *arguments: Any, **options: Any) -> str:
        with pytest.raises(error) as caught:
            train(*arguments, **options)
        message = str(caught.value)
        assert "\n" not in message
        return message

    def test_no_readable_slice(self, tmp_path: Path) -> None:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "a.txt").write_text("hello")
        said = self.told(ReadError, [tmp_path / "data"], "slice_vae", tmp_path / "run")
        assert "holds no slice that can be read" in said

    def test_one_patient_only(self, pictures: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        said = self.told(UsageProblem, [pictures / "p0"], "slice_vae", out, variant="plain")
        assert "all slices belong to one patient" in said
        assert not out.exists()  # The command, set right, can be given again.

    def test_a_key_that_is_not_in_the_config(self, pictures: Path, tmp_path: Path) -> None:
        said = self.told(UsageProblem, [pictures], "slice_vae", tmp_path, settings={"epoch": 3})
        assert said == "settings: epoch: the config has no such key; did you mean 'epochs'?"

    def test_what_is_no_bundle(self, pictures: Path, tmp_path: Path) -> None:
        assert "is not a MONAI bundle" in self.told(UsageProblem, [pictures], pictures, tmp_path)
        assert "there is no such bundle" in self.told(UsageProblem, [pictures], "vae", tmp_path)
        said = self.told(UsageProblem, [pictures], "slice_vae", tmp_path, variant="spacial")
        assert "there is no 'spacial' in" in said
        assert "spatial" in said

    def test_an_occupied_folder(self, run: Path, pictures: Path, tmp_path: Path) -> None:
        assert "is not empty" in self.told(UsageProblem, [pictures], "slice_vae", run)
        said = self.told(UsageProblem, [pictures], "slice_vae", tmp_path, resume=True)
        assert "holds no run to resume" in said
        said = self.told(
            UsageProblem, [pictures], "slice_vae", run, resume=True, settings={"epochs": 9}
        )
        assert "its own settings" in said

    def test_a_loss_that_is_no_number(self, pictures: Path, tmp_path: Path) -> None:
        said = self.told(
            TrainingError,
            [pictures],
            "slice_vae",
            tmp_path / "run",
            variant="plain",
            settings=SETTINGS | {"learning_rate": 1e30, "gradient_norm": 1e30},
        )
        assert "the loss became" in said

    def test_a_damaged_checkpoint(self, pictures: Path, tmp_path: Path) -> None:
        trained(pictures, tmp_path / "run", epochs=1)
        (tmp_path / "run" / "checkpoints" / "last.pt").write_bytes(b"PK\x03\x04 nothing")
        said = self.told(ReadError, [pictures], "slice_vae", tmp_path / "run", resume=True)
        assert "cannot be loaded" in said
