"""``medvae denoise`` as its users see it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from medvae.errors import UsageProblem
from medvae.networks import VectorLatent, save_model
from medvae_cli.denoise import denoise
from medvae_cli.main import cli
from phantoms import dicom_slice, save_series
from test_denoise import save_run, tiny_model


def medvae_denoise(*arguments: str | Path) -> Result:
    return CliRunner().invoke(denoise, [str(argument) for argument in arguments])


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save_run(tmp_path / "run", tiny_model(), modalities=("MR",))


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 900, (3, 20, 28), "u2")
    return save_series(
        tmp_path / "studies", (dicom_slice(i, pixels=p) for i, p in enumerate(pixels))
    )


def test_tells_what_was_written(studies: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = medvae_denoise(studies, "--model", run, "--out", out, "--format", "nifti, png")
    assert result.exit_code == 0, result.output
    assert result.stdout == f"1 series, 3 slices: 4 files in {out}\n"
    assert result.stderr == ""
    assert len(list(out.rglob("*.png"))) == 3
    assert len(list(out.rglob("*.nii.gz"))) == 1


def test_tells_what_failed(studies: Path, run: Path, tmp_path: Path) -> None:
    whole = next(studies.iterdir()).read_bytes()
    (studies / "cut").write_bytes(whole[:-10])
    result = medvae_denoise(studies, "--model", run, "--out", tmp_path / "out", "--workers", "1")
    assert result.exit_code == 0
    _, failed = result.stdout.splitlines()
    assert failed.startswith(f"  failed {studies / 'cut'}: it is truncated")
    for i in range(4):
        (studies / f"cut{i}").write_bytes(whole[:-10])
    result = medvae_denoise(studies, "--model", run, "--out", tmp_path / "more")
    _, failed = result.stdout.splitlines()
    assert failed.startswith(f"  failed 5 files, such as {studies / 'cut'}, ")
    assert ": it is truncated: " in failed


def test_nothing_written(run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    result = medvae_denoise(tmp_path / "notes.txt", "--model", run, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == ("Error: nothing could be denoised; none of the files could be read\n")
    assert not (tmp_path / "out").exists()


def test_nothing_could_be_written(studies: Path, run: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / "file" / "out"
    result = CliRunner().invoke(
        cli, ["denoise", str(studies), "--model", str(run), "--out", str(out)]
    )
    assert result.exit_code == 1
    assert result.stderr == f"Error: {out}: cannot be written: Not a directory\n"


def test_wrong_use_is_left_to_the_door(studies: Path, run: Path, tmp_path: Path) -> None:
    result = medvae_denoise(studies, "--model", run, "--out", studies)
    assert isinstance(result.exception, UsageProblem)
    assert str(result.exception).startswith(f"{studies}: lies inside {studies}")
    result = medvae_denoise(studies, "--model", run, "--out", run)
    assert str(result.exception).startswith(f"{run}: is not empty")
    result = medvae_denoise(studies, "--model", run, "--out", tmp_path / "o", "--format", "bmp")
    assert str(result.exception) == "formats: unknown format 'bmp'; choose from dicom, nifti, png"


def test_weights_of_another_network(studies: Path, run: Path, tmp_path: Path) -> None:
    weights = run / "models" / "model.safetensors"
    save_model(tiny_model(VectorLatent(size=4, squeeze=4)), tmp_path)
    (tmp_path / weights.name).replace(weights)
    arguments = ["denoise", str(studies), "--model", str(run), "--out", str(tmp_path / "out")]
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {weights}: does not fit the network: latent.inward.3.weight must be [16, 64] but "
        "is [8, 64]; take it and model.json from the same run\n"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("missing", ["--model", "--out", "STUDIES"])
def test_what_must_be_given(studies: Path, run: Path, tmp_path: Path, missing: str) -> None:
    given = {"--model": run, "--out": tmp_path / "out"}
    arguments = [word for name, value in given.items() if name != missing for word in (name, value)]
    result = medvae_denoise(*([] if missing == "STUDIES" else [studies]), *arguments)
    assert result.exit_code == 2
    assert missing in result.stderr


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys; from medvae_cli.denoise import denoise; denoise(['--help'], 'denoise', "
        "standalone_mode=False); print(sorted({'torch', 'monai', 'numpy', 'pydicom', 'nibabel'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert "Examples:" in done.stdout
    assert done.stdout.endswith("[]\n")
