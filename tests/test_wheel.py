"""The wheel installs the library and its command, and nothing else."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


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
    assert "medvae/bundles/slice_vae/configs/train.json" in names
    assert f"{about}/licenses/LICENSE" in names
    assert "medvae = medvae_cli.main:main" in entries
