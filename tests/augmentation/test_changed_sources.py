"""A run that is resumed is made of the pixels that it began with, or not at all."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pydicom
import pytest
from click.testing import CliRunner, Result

from medvae_cli.main import cli
from outcomes import tree

CHOICES = ("--render", "warp", "--strength", "0.1", "--copies", "2")


def medvae_augment(studies: Path, run: Path, out: Path, *options: object) -> Result:
    arguments = ["augment", studies, "--model", run, "--labels", studies / "coco.json"]
    return CliRunner().invoke(cli, [*map(str, [*arguments, "--out", out, *CHOICES, *options])])


@pytest.fixture
def own(studies: Path, tmp_path: Path) -> Path:
    """Studies that a test may change."""
    shutil.copytree(studies, tmp_path / "own")
    return tmp_path / "own"


@pytest.fixture
def begun(own: Path, run: Path, tmp_path: Path) -> Path:
    """A run of which only the first batch is there."""
    out = tmp_path / "out"
    assert medvae_augment(own, run, out).exit_code in (0, 1)
    lines = (out / "manifest.jsonl").read_text().splitlines(keepends=True)
    (out / "manifest.jsonl").write_text("".join(lines[:1]))
    return out


def test_other_pixels_under_the_same_uids_are_refused(own: Path, run: Path, begun: Path) -> None:
    changed = own / "p3" / "001.dcm"
    times = changed.stat()
    dataset = pydicom.dcmread(changed)
    pixels = dataset.pixel_array.copy()
    pixels[5, 5] += 100
    dataset.PixelData = pixels.tobytes()
    dataset.save_as(changed)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    before = tree(begun)
    result = medvae_augment(own, run, begun, "--resume")
    assert result.exit_code == 2, result.output
    assert f"Error: {changed}: has changed since the run in {begun} began" in result.stderr
    assert tree(begun) == before


def test_a_copy_of_the_data_is_as_good(own: Path, run: Path, begun: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    code = medvae_augment(own, run, whole).exit_code
    copy = tmp_path / "elsewhere"
    shutil.copytree(own, copy, copy_function=shutil.copyfile)
    for path in copy.rglob("*.dcm"):
        os.utime(path, (1, 1))
    result = medvae_augment(copy, run, begun, "--resume")
    assert result.exit_code == code, result.output
    assert tree(begun) == tree(whole)
