"""A model whose latents are all alike is not trained, nor used, without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from PIL import Image

from medvae.latent import LatentStatistics
from medvae.models import open_model
from medvae_cli.main import cli


def medvae(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


@pytest.fixture
def collapsed(run: Path, tmp_path: Path) -> Path:
    """A model with weights as they were drawn: its latents hardly differ."""
    folder = tmp_path / "collapsed"
    shutil.copytree(run, folder)
    say(folder, {"active_units": 0.0})
    return folder


def say(run: Path, figures: dict[str, float] | None) -> None:
    """Write into a bundle what it reaches, or nothing, as old ones have it."""
    path = run / "configs" / "metadata.json"
    metadata = json.loads(path.read_text())
    metadata.pop("eval_metrics", None)
    metadata |= {} if figures is None else {"eval_metrics": figures}
    path.write_text(json.dumps(metadata))


def spread(run: Path) -> None:
    """Let the latents of a bundle's training set differ from each other."""
    old = LatentStatistics.load(run / "models")
    mu = torch.randn(old.mu.shape, generator=torch.Generator().manual_seed(0))
    LatentStatistics.of(old.keys, old.groups, mu, torch.zeros_like(mu)).save(run / "models")


class TestOpening:
    @pytest.mark.parametrize("command", ["augment", "audit", "latent", "denoise"])
    def test_it_is_said_first_and_once(
        self, studies: Path, collapsed: Path, tmp_path: Path, command: str
    ) -> None:
        sets = ("--real", studies, "--synthetic", studies) if command == "audit" else (studies,)
        more = ("--dry-run",) if command == "augment" else ()
        result = medvae(command, *sets, "--model", collapsed, "--out", tmp_path / "out", *more)
        first, *others = result.stderr.splitlines()
        assert first == (
            f"Warning: {collapsed}: the latent space of this model has collapsed: no latent unit "
            "tells slices apart; train it again for more epochs, with a smaller kl_weight, or "
            "after checking the intensity map"
        )
        assert not any("collapsed" in line for line in others)

    @pytest.mark.slow
    @pytest.mark.filterwarnings("ignore")
    def test_the_demo_says_it_once_too(self, collapsed: Path, tmp_path: Path) -> None:
        result = medvae("demo", "--model", collapsed, "--out", tmp_path / "out")
        assert "has collapsed" in result.stderr.splitlines()[0]
        assert result.stderr.count("has collapsed") == 1

    def test_old_bundles_are_judged_by_their_latents(
        self, collapsed: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        say(collapsed, None)
        open_model(collapsed)
        assert "has collapsed" in caplog.text

    @pytest.mark.parametrize("figures", [None, {"active_units": 0.0}, {}])
    def test_latents_that_differ_acquit_a_model(
        self, collapsed: Path, figures: dict[str, float] | None, caplog: pytest.LogCaptureFixture
    ) -> None:
        spread(collapsed)  # the held-out slices may be few, or much alike
        say(collapsed, figures)
        open_model(collapsed)
        assert not caplog.messages

    def test_what_cannot_be_judged_and_what_ships_are_not_accused(
        self, collapsed: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        say(collapsed, None)
        (collapsed / "models" / "latents.json").unlink()
        open_model(collapsed)
        open_model("cardiac_mr_vae")
        assert not caplog.messages


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four patients with six pictures of a disc each."""
    folder = tmp_path_factory.mktemp("discs")
    rows, columns = np.mgrid[:28, :28]
    random = np.random.default_rng(0)
    for number in range(24):
        y, x = random.uniform(8, 20, 2)
        disc = np.hypot(rows - y, columns - x) < random.uniform(4, 8)
        path = folder / f"p{number // 6}" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray((disc * 200 + random.normal(25, 4, disc.shape)).astype("uint8")).save(path)
    return folder


@pytest.mark.filterwarnings("ignore")
class TestTraining:
    def train(self, discs: Path, out: Path, *more: str) -> Result:
        given = ("--variant", "plain", "--batch-size", "6", "--no-amp", "--device", "cpu", *more)
        result = medvae("train", discs, "--out", out, *given)
        assert result.exit_code == 0, result.output
        return result

    @pytest.mark.slow
    def test_says_so_after_two_epochs_and_at_the_end(self, discs: Path, tmp_path: Path) -> None:
        out = tmp_path / "run"
        result = self.train(discs, out, "--epochs", "24", "--set", "kl_weight=1000")
        lines = [line for line in result.stderr.splitlines() if "collaps" in line]
        assert len(lines) == 2
        early, end = lines
        assert early.startswith("Warning: after epoch ")
        assert int(early.split()[3]) < 24
        assert "the latent space is collapsing (KL 0." in early
        assert end.startswith("Warning: the latent space has collapsed: no latent unit tells")
        assert (
            result.stdout.splitlines()[-1] == f"the run is a bundle: {out} (see the warning above)"
        )
        metadata = json.loads((out / "configs" / "metadata.json").read_text())
        assert metadata["eval_metrics"]["active_units"] == 0

    @pytest.mark.slow
    def test_a_sound_one_says_nothing(self, discs: Path, tmp_path: Path) -> None:
        result = self.train(discs, tmp_path / "run", "--epochs", "15")
        assert "collaps" not in result.stderr
        assert result.stdout.splitlines()[-1] == f"the run is a bundle: {tmp_path / 'run'}"
