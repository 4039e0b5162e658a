"""The command as a whole: it answers at once, and says what it is."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import pytest
from click.testing import CliRunner

from medvae_cli.main import cli


@pytest.mark.parametrize("command", ["inspect", "audit"])
def test_help_imports_nothing_heavy(command: str) -> None:
    script = (
        f"import sys; from medvae_cli.main import cli; cli(['{command}', '--help'], 'medvae', "
        "standalone_mode=False); print(sorted({'torch', 'monai', 'numpy', 'pydicom', 'scipy', "
        "'jinja2'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert "Examples:" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_version() -> None:
    result = CliRunner().invoke(cli, ["--version"])
    assert result.stdout == f"medvae, version {version('monai-medvae')}\n"


def test_unknown_command_is_wrong_usage() -> None:
    result = CliRunner().invoke(cli, ["inspct"])
    assert result.exit_code == 2
    assert "inspct" in result.stderr
