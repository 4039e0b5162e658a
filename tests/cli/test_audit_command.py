"""``medvae audit`` and ``medvae latent`` as their users see them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from pydicom import dcmread

from medvae_cli.main import cli


def medvae(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [*map(str, arguments)])


@pytest.mark.slow
def test_says_the_verdict_and_fails_where_a_bound_is_broken(
    studies: Path, run: Path, tmp_path: Path
) -> None:
    """The same slices under the names of other patients are copies, all of them."""
    labels, renamed = studies / "coco.json", tmp_path / "renamed"
    shutil.copytree(studies, renamed)
    for path in renamed.glob("*/*.dcm"):
        dataset = dcmread(path)
        dataset.PatientID = f"{dataset.PatientID}-other"
        dataset.save_as(path)
    theirs = renamed / "coco.json"
    given = ("--labels", labels, "--synthetic-labels", theirs, "--model", run, "--device", "cpu")
    bounds = ("--fail-if", "copies>0.5", "--fail-if", "auc>1")
    out = tmp_path / "report"
    result = medvae(
        "audit", "--real", studies, "--synthetic", renamed, "--out", out, *given, *bounds
    )
    assert result.exit_code == 1, result.output
    assert result.stdout.startswith("red: Do not train with this set as it is.")
    assert f"look at {out / 'report.html'}" in result.stdout
    assert result.stderr.splitlines() == ["Error: fail-if copies>0.5: copies is 1"]
    report = json.loads((out / "report.json").read_text())
    assert report["copies"]["value"] == 1
    assert (out / "report.html").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("--fail-if", "auc"), 2, "give a name, a sign and a number, as in auc>0.8"),
        (("--fail-if", "acu>0.8"), 2, "the report has no 'acu'"),
        (("--device", "abacus"), 2, "there is no such device"),
        (("--model", "nowhere"), 2, "there is no such bundle"),
        (("--extractor", "vgg"), 2, "give NAME=FILE"),
        (("--extractor", "resnet152=none.pth"), 1, "there is no such weight file"),
    ],
)
def test_wrong_use_is_told_in_one_line(
    studies: Path, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str
) -> None:
    out = tmp_path / "report"
    result = medvae("audit", "--real", studies, "--synthetic", studies, "--out", out, *arguments)
    assert (result.exit_code, said in result.stderr) == (code, True), result.output
    assert "Traceback" not in result.output
    assert not out.exists()


def test_sets_that_cannot_be_compared(studies: Path, tmp_path: Path) -> None:
    one = medvae(
        "audit", "--real", studies / "p0", "--synthetic", studies, "--out", tmp_path / "report"
    )
    assert one.exit_code == 2
    assert "the real slices are of one patient" in one.stderr
    (tmp_path / "empty").mkdir()
    none = medvae(
        "audit", "--real", studies, "--synthetic", tmp_path / "empty", "--out", tmp_path / "report"
    )
    assert none.exit_code == 1
    assert "the synthetic set is empty" in none.stderr


def test_latent_view(studies: Path, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "latent"
    result = medvae("latent", studies, "--model", run, "--out", out, "--device", "cpu")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        "16 slices, 8 latent units",
        f"look at {out / 'latent.html'}",
    ]
    written = {path.name for path in out.iterdir()}
    assert {"latent.html", "distribution.png", "scatter_patient.png", "traversal_1.png"} <= written
    assert "scatter_label.png" not in written
    again = medvae("latent", studies, "--model", run, "--out", out)
    assert again.exit_code == 2
    assert "is not empty, and nothing is overwritten" in again.stderr
