"""A device that is not there is told in the same line by every command that takes one."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from medvae.auditing import latent_view
from medvae.errors import UsageProblem
from medvae_cli.main import cli

COMMANDS = [
    name for name, one in cli.commands.items() if any(p.name == "device" for p in one.params)
]


def arguments(command: str, studies: Path, run: Path, out: Path) -> list[str]:
    given = {
        "train": ["train", str(studies), "--variant", "plain"],
        "augment": ["augment", str(studies), "--model", str(run)],
        "audit": ["audit", "--real", str(studies), "--synthetic", str(studies)],
        "latent": ["latent", str(studies), "--model", str(run)],
        "denoise": ["denoise", str(studies), "--model", str(run)],
    }
    return [*given[command], "--out", str(out)]


@pytest.mark.parametrize("device", ["cuda:63", "meta", "abacus"])
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_says_so_and_writes_nothing(
    studies: Path, run: Path, tmp_path: Path, command: str, device: str
) -> None:
    out = tmp_path / "out"
    result = CliRunner().invoke(
        cli, [*arguments(command, studies, run, out), "--device", device], terminal_width=200
    )
    assert result.exit_code == 2, result.output
    last = result.stderr.splitlines()[-1]
    said = f"Error: device {device!r}: there is no such device on this machine; choose cpu"
    assert last.startswith(said)
    assert not out.exists()


@pytest.mark.filterwarnings("ignore")
def test_a_training_is_not_resumed_on_a_device_that_is_not_there(
    studies: Path, run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = [*arguments("train", studies, run, out), "--device", "cpu", "--epochs", "1"]
    assert CliRunner().invoke(cli, first).exit_code == 0
    config = out / "configs" / "train.json"
    config.write_text(config.read_text().replace("torch.device('cpu')", "torch.device('cuda:63')"))
    result = CliRunner().invoke(cli, ["train", str(studies), "--out", str(out), "--resume"])
    assert result.exit_code == 2
    assert "device 'cuda:63': there is no such device" in result.stderr


def test_library_functions_say_it_too(studies: Path, run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageProblem, match="device 'cuda:63': there is no such device"):
        latent_view([studies], run, tmp_path / "latent", device="cuda:63")
