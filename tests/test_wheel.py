"""The wheel installs the library and its command with all they need, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_it_holds_two_packages(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(tmp_path), str(ROOT)], check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (about,) = {name.split("/")[0] for name in names if ".dist-info/" in name}
        entries = archive.read(f"{about}/entry_points.txt").decode()
    assert {name.split("/")[0] for name in names} == {"medvae", "medvae_cli", about}
    assert about.startswith("monai_medvae-")
    assert "medvae/py.typed" in names
    for folder, inside in (("bundles", "medvae/bundles"), ("medvae/sample", "medvae/sample")):
        kept = {path.relative_to(ROOT / folder) for path in (ROOT / folder).rglob("*.*")}
        assert kept
        assert {f"{inside}/{path.as_posix()}" for path in kept} <= set(names)
    assert f"{about}/licenses/LICENSE" in names
    assert "medvae = medvae_cli.main:main" in entries
