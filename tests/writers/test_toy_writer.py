"""A writer takes a module and a line in the registry."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from written import only_series, unchanged

from medvae.atomic import write_bytes
from medvae.formats import WRITERS, Writer
from medvae.records import Series
from medvae.writers import NewPixels, slice_names, write_series
from medvae_cli.main import cli


def write(
    folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
) -> list[Path]:
    """Write a line of text for each row of a slice."""
    files = []
    for (_, name), new in zip(slice_names(series, place), pixels, strict=True):
        rows = (" ".join(f"{value:g}" for value in row) for row in new.values)
        files.append(folder / series.key / f"{name}.toy")
        write_bytes(files[-1], "\n".join(rows).encode())
    return files


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WRITERS, "toy", Writer("Toy", __name__))


def medvae(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_pixels_are_written(studies: Path, tmp_path: Path) -> None:
    series = only_series(studies / "p0")
    files = write_series("toy", tmp_path, series, unchanged(series))
    values = [native.pixels().values for native in series.slices]
    np.testing.assert_allclose([np.loadtxt(path) for path in files], values, rtol=1e-5)


def test_denoise_writes_it(studies: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = medvae("denoise", studies, "--model", run, "--out", out, "--format", "toy,png")
    assert result.exit_code == 0, result.output
    assert len(list(out.rglob("*.toy"))) == len(list(out.rglob("*.png"))) == 16


def test_augment_writes_it(studies: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labels = ("--labels", studies / "coco.json", "--render", "warp", "--strength", "0")
    result = medvae("augment", studies, "--model", run, "--out", out, *labels, "--format", "toy")
    assert result.exit_code == 0, result.output
    lines = map(json.loads, (out / "manifest.jsonl").read_text().splitlines())
    files = [file for line in lines for file in line["files"]]
    assert len(files) == 16
    assert {Path(file).suffix for file in files} == {".toy"}
    assert all((out / file).is_file() for file in files)


@pytest.mark.parametrize("command", ["augment", "denoise"])
def test_an_unknown_format_is_told_which_there_are(
    command: str, studies: Path, run: Path, tmp_path: Path
) -> None:
    given = (studies, "--model", run, "--out", tmp_path / "out", "--format", "bmp")
    result = medvae(command, *given)
    assert result.exit_code == 2
    assert "unknown format 'bmp'; choose from dicom, nifti, png, toy" in result.stderr


@pytest.mark.parametrize("command", ["augment", "denoise"])
def test_help_lists_the_formats_of_the_registry(command: str) -> None:
    text = " ".join(medvae(command, "--help").stdout.split())
    assert "comma-separated: dicom, nifti, png, toy." in text
