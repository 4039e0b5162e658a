"""``medvae augment`` as its users see it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from medvae_cli.main import cli


def medvae_augment(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, ["augment", *map(str, arguments)])


def test_says_what_was_made(studies: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labels = ("--labels", studies / "coco.json", "--labels-format", "coco,monai,yolo")
    result = medvae_augment(
        studies, "--model", run, "--out", out, *labels, "--render", "warp", "--strength", "0"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "render: warp",
        f"16 of 16 draws kept, in {out}",
        f"look at {out / 'preview.html'}",
    ]
    written = {path.name for path in out.iterdir()}
    assert written >= {"run.json", "manifest.jsonl", "coco.json", "datalist.json", "yolo"}
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 16


def test_real_slices_are_counted(studies: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labels = ("--labels", studies / "coco.json", "--render", "warp", "--strength", "0")
    result = medvae_augment(studies, "--model", run, "--out", out, *labels, "--merge")
    assert result.exit_code == 0, result.output
    assert f"16 real slices written to {out / 'real'}" in result.stdout
    assert len(json.loads((out / "coco.json").read_text())["images"]) == 32


def test_labels_of_a_whole_cohort_are_one_line(studies: Path, run: Path, tmp_path: Path) -> None:
    labels = ("--labels", studies / "coco.json", "--render", "warp", "--dry-run")
    result = medvae_augment(studies / "p0", "--model", run, "--out", tmp_path / "out", *labels)
    assert result.exit_code == 0, result.output
    (line,) = (line for line in result.stdout.splitlines() if "not used" in line)
    assert "'p1/000.dcm' matches no slice; ignored (and 11 more like this)" in line


def test_dry_run_writes_nothing(studies: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    labels = ("--labels", studies / "coco.json")
    result = medvae_augment(studies, "--model", run, "--out", out, *labels, "--dry-run")
    assert result.exit_code == 0, result.output
    assert "4 draws planned, nothing written" in result.stdout
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--format", "jpeg"), 2, "--format: unknown format 'jpeg'; choose from dicom"),
        (("--labels-format", "xml"), 2, "--labels-format: unknown format 'xml'; choose from yolo"),
        (("--copies", "0"), 2, "--copies: must be 1 or more"),
        (("--strength", "-1"), 2, "--strength: must be 0 or more"),
        (("--sampler", "noise"), 2, "--sampler: unknown sampler 'noise'; choose from"),
        (("--sampler", "align"), 2, "--align-to: the sampler align requires slices"),
        (
            ("--render", "paint"),
            2,
            "--render: unknown render 'paint'; choose from auto, transplant",
        ),
        (("--device", "abacus"), 2, "there is no such device"),
        (("--render", "transplant"), 2, "none of the slices has a finding"),
        (("--only-positive",), 2, "none of the slices has a finding"),
        (("--per", "study", "--ratio", "2"), 2, "--ratio: is for single slices"),
        (("--merge",), 2, "--merge: real slices to train with must be labelled"),
        (("--merge", "--format", "png,dicom"), 2, "--merge: real slices are not written as DICOM"),
        (
            ("--per", "study", "--format", "nifti", "--labels-format", "yolo"),
            2,
            "--labels-format: yolo has one file for each picture",
        ),
    ],
)
def test_wrong_use_is_told_in_one_line(
    studies: Path, run: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = medvae_augment(studies, "--model", run, "--out", tmp_path / "out", *arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.output
    assert "Traceback" not in result.output


def test_a_model_that_is_none(studies: Path, tmp_path: Path) -> None:
    result = medvae_augment(studies, "--model", studies, "--out", tmp_path / "out")
    assert result.exit_code == 2
    assert "is not a MONAI bundle" in result.stderr
