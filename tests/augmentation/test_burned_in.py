"""``medvae augment`` uses no slices that say that text is burned into their pixels."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread

from medvae_cli.main import cli


@pytest.fixture
def marked(studies: Path, tmp_path: Path) -> Path:
    """The studies of four patients, of which one says so of its slices."""
    folder = tmp_path / "studies"
    shutil.copytree(studies, folder)
    for path in (folder / "p0").iterdir():
        dataset = dcmread(path)
        dataset.BurnedInAnnotation = "YES"
        dataset.save_as(path)
    return folder


def augment(*arguments: object) -> Result:
    options = ["--render", "warp", "--strength", "0"]
    return CliRunner().invoke(cli, ["augment", *map(str, arguments), *options])


def test_such_slices_are_refused(marked: Path, run: Path, tmp_path: Path) -> None:
    result = augment(marked, "--model", run, "--out", tmp_path / "out")
    assert "of 12 draws" in result.stdout
    reason = "text is burned into its pixels (BurnedInAnnotation YES) and may name the patient"
    assert f"  not used: {marked / 'p0' / '000.dcm'}: {reason}" in result.stdout


def test_such_slices_can_be_allowed(marked: Path, run: Path, tmp_path: Path) -> None:
    result = augment(
        *(marked / "p0", "--model", run, "--out", tmp_path / "out"),
        *("--format", "dicom,png", "--allow-burned-in"),
    )
    assert "4 of 4 draws kept" in result.stdout, result.output
    written = list((tmp_path / "out").rglob("*.dcm"))
    assert len(written) == 4
    assert all(dcmread(path).BurnedInAnnotation == "YES" for path in written)


def test_where_no_other_slices_are_left(marked: Path, run: Path, tmp_path: Path) -> None:
    result = augment(marked / "p0", "--model", run, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == (
        "Error: all images have text burned into their pixels, which may name patients; "
        "allow burned-in text if you know that it does not\n"
    )
