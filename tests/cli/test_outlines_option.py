"""Boxes and masks that a team keeps apart, given to each command that takes both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from heads import LESIONS, SIDE, SLICES, head
from medvae.errors import UsageProblem
from medvae.transforms import TransplantBank
from medvae_cli.main import cli

COUNTED = f"{LESIONS} of {LESIONS} boxes got a mask"


def medvae(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


@pytest.fixture(scope="module")
def apart(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The labels of the studies as boxes that are a pixel too wide, and as masks."""
    folder = tmp_path_factory.mktemp("apart")
    document = json.loads((studies / "coco.json").read_text())
    for record in document["annotations"]:
        del record["segmentation"]
        x, y, width, height = record["bbox"]
        record["bbox"] = [x - 1, y, width + 1, height]
    for record in document["images"]:
        record["file_name"] = str(studies / record["file_name"])
    (folder / "boxes.json").write_text(json.dumps(document))
    (folder / "store").mkdir()
    for patient in range(4):
        for index in range(SLICES):
            _, lesion = head(patient, index)
            path = folder / "store" / f"p{patient}" / f"{index:03}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(lesion.astype(np.uint8)).save(path)
    (folder / "masks").mkdir()
    for patient in range(4):
        (folder / "masks" / f"p{patient}").symlink_to(folder / "store" / f"p{patient}")
    return folder / "boxes.json", folder / "masks"


def given(apart: tuple[Path, Path]) -> tuple[str | Path, ...]:
    return ("--labels", apart[0], "--outlines", apart[1])


def test_inspect_counts_them(studies: Path, apart: tuple[Path, Path]) -> None:
    shown = medvae("inspect", studies, *given(apart))
    assert shown.exit_code == 0, shown.output
    assert f"outlines (mask pictures): {COUNTED}\n" in shown.stdout
    assert f"{LESIONS} findings, {LESIONS} of them with a mask" in shown.stdout
    report = json.loads(medvae("inspect", studies, *given(apart), "--json").stdout)
    outlines = {"format": "mask pictures", "boxes": LESIONS, "masks": LESIONS}
    assert report["labels"]["outlines"] == outlines
    assert report["labels"]["masks"] == LESIONS


def test_what_cannot_be_seen_is_told(studies: Path, apart: tuple[Path, Path]) -> None:
    lost = apart[1] / "p9"
    lost.symlink_to(apart[1] / "unmounted")
    try:
        report = json.loads(medvae("inspect", studies, *given(apart), "--json").stdout)
    finally:
        lost.unlink()
    problem = {"where": "p9", "what": "is a broken link"}
    assert report["labels"]["problems"] == [problem]


def test_augment_writes_what_it_writes_of_boxes_with_masks(
    studies: Path, run: Path, apart: tuple[Path, Path], tmp_path: Path
) -> None:
    choices = ("--model", run, "--render", "warp", "--strength", "0", "--device", "cpu")
    both = medvae("augment", studies, *given(apart), *choices, "--out", tmp_path / "both")
    assert both.exit_code == 0, both.output
    assert f"outlines: {COUNTED}" in both.stdout.splitlines()
    labels = studies / "coco.json"
    one = medvae("augment", studies, "--labels", labels, *choices, "--out", tmp_path / "one")
    assert one.exit_code == 0, one.output
    for name in ("run.json", "manifest.jsonl", "coco.json"):
        assert (tmp_path / "both" / name).read_text() == (tmp_path / "one" / name).read_text()
    again = ("--labels", apart[0], *choices, "--out", tmp_path / "both", "--resume")
    refused = medvae("augment", studies, *again)
    assert refused.exit_code == 2
    assert "sources" in refused.stderr


@pytest.mark.slow
def test_audit_counts_them(
    studies: Path, apart: tuple[Path, Path], tmp_path: Path, run: Path
) -> None:
    out = tmp_path / "report"
    sets = ("--real", studies, "--synthetic", studies, "--synthetic-labels", studies / "coco.json")
    options = ("--model", run, "--device", "cpu", "--out", out)
    result = medvae("audit", *sets, *given(apart), *options)
    assert result.exit_code == 0, result.output
    assert f"outlines: {COUNTED}" in result.stdout.splitlines()
    assert f"Outlines: {COUNTED} in the real set." in (out / "report.html").read_text()


def test_a_bank_has_them(
    studies: Path, run: Path, apart: tuple[Path, Path], tmp_path: Path
) -> None:
    labels, outlines = apart
    bare = TransplantBank.build(tmp_path / "a", [studies], labels=labels, model=run)
    assert not bare.masked
    full = TransplantBank.build(
        tmp_path / "b", [studies], labels=labels, outlines=outlines, model=run
    )
    assert full.masked
    with pytest.raises(UsageProblem, match="none of its masks matches a box"):
        TransplantBank.build(tmp_path / "c", [studies], labels=labels, outlines=labels, model=run)


@pytest.mark.parametrize("command", ["inspect", "augment", "audit"])
def test_outlines_need_labels(
    studies: Path, run: Path, apart: tuple[Path, Path], tmp_path: Path, command: str
) -> None:
    arguments: dict[str, tuple[str | Path, ...]] = {
        "inspect": (studies,),
        "augment": (studies, "--model", run, "--out", tmp_path / "out"),
        "audit": ("--real", studies, "--synthetic", studies, "--out", tmp_path / "out"),
    }
    result = medvae(command, *arguments[command], "--outlines", apart[1])
    assert result.exit_code == 2, result.output
    assert (
        "outlines: masks need the boxes that they belong to; pass labels as well" in result.stderr
    )


def test_masks_of_something_else_are_refused(
    studies: Path, run: Path, apart: tuple[Path, Path], tmp_path: Path
) -> None:
    (tmp_path / "masks" / "p0").mkdir(parents=True)
    values = np.zeros((SIDE, SIDE), dtype=np.uint8)
    values[60:, 60:] = 1
    Image.fromarray(values).save(tmp_path / "masks" / "p0" / "001.png")
    options = ("--labels", apart[0], "--outlines", tmp_path / "masks", "--model", run)
    result = medvae("augment", studies, *options, "--out", tmp_path / "out")
    assert result.exit_code == 2, result.output
    assert "none of its masks matches a box of the labels" in result.stderr
