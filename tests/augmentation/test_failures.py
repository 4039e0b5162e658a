"""``medvae augment`` where it cannot go on: one clear line, and nothing lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from pydicom import uid as uids

from heads import SIDE, SLICES, head, save_run
from medvae.augmentation import augment as run_augment
from medvae.readers import open_studies
from medvae_cli.main import cli
from outcomes import room_for, told, tree
from phantoms import dicom_slice, save_series

GLIOMA = {"id": 1, "name": "glioma", "supercategory": "lesion"}


def medvae_augment(*arguments: object) -> Result:
    return CliRunner().invoke(cli, ["augment", *map(str, arguments)])


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CT series."""
    random = np.random.default_rng(0)
    return save_series(
        tmp_path_factory.mktemp("scans"),
        (
            dicom_slice(
                index,
                pixels=random.integers(900, 1100, (SIDE, SIDE), "i2"),
                sop_class=uids.CTImageStorage,
                series="1.2.840.99.9",
                PatientID="scanned",
                RescaleSlope=1,
                RescaleIntercept=-1024,
            )
            for index in range(2)
        ),
    )


@pytest.fixture(scope="module")
def run_of_both(studies: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle that was trained on MR and CT."""
    return save_run(tmp_path_factory.mktemp("both"), studies, ("CT", "MR"))


class TestWrongInput:
    """Each is told before anything is made, and leaves the folder free for a better command."""

    @pytest.fixture
    def out(self, tmp_path: Path) -> Iterator[Path]:
        out = tmp_path / "out"
        yield out
        assert not out.exists() or not any(out.iterdir())

    def test_labels_of_other_slices(
        self, studies: Path, run: Path, out: Path, tmp_path: Path
    ) -> None:
        labels = coco(tmp_path, ["elsewhere.dcm"])
        line = told(medvae_augment(studies, "--model", run, "--out", out, "--labels", labels), 2)
        assert line == f"Error: {labels}: none of its labels belongs to a slice that was given"

    def test_labels_some_of_which_belong_to_no_slice(
        self, studies: Path, run: Path, out: Path, tmp_path: Path
    ) -> None:
        labels = coco(tmp_path, ["p0/001.dcm", "elsewhere.dcm"])
        result = medvae_augment(
            studies, "--model", run, "--out", out, "--labels", labels, "--dry-run"
        )
        assert result.exit_code == 0, result.output
        (line,) = (line for line in result.stdout.splitlines() if "not used" in line)
        assert "elsewhere.dcm" in line

    @pytest.mark.parametrize("choice", [("--only-positive",), ("--render", "transplant"), ()])
    def test_no_positive_slice(
        self, studies: Path, run: Path, out: Path, tmp_path: Path, choice: tuple[str, ...]
    ) -> None:
        labels = coco(tmp_path, ["p0/001.dcm", "p1/001.dcm"])
        hosts = () if choice else ("--hosts", studies / "p3")
        arguments = (studies / "p0", studies / "p1", "--model", run, "--out", out)
        result = medvae_augment(*arguments, "--labels", labels, *choice, *hosts)
        assert "none of the slices has a finding" in told(result, 2)

    @pytest.mark.parametrize("side", ["validation", "test"])
    def test_a_held_out_patient(
        self, studies: Path, run: Path, out: Path, tmp_path: Path, side: str
    ) -> None:
        held_out = next(open_studies([studies / "p2"]).slices).group
        split = tmp_path / "split.json"
        split.write_text(json.dumps({"training": [], "validation": [], side: [held_out]}))
        options = ("--model", run, "--out", out, "--split", split)
        labels = ("--labels", studies / "coco.json")
        line = told(medvae_augment(studies, *options, *labels), 2)
        assert f"--split: holds out 1 of the patients among the sources, such as {held_out}" in line
        learnt = (studies / "p0", studies / "p1", *options, *labels)
        line = told(medvae_augment(*learnt, "--hosts", studies / "p2"), 2)
        assert f"--split: holds out 1 of the patients among the hosts, such as {held_out}" in line
        assert medvae_augment(*learnt, "--hosts", studies / "p3", "--dry-run").exit_code == 0

    def test_a_model_of_another_modality(self, scans: Path, run: Path, out: Path) -> None:
        line = told(medvae_augment(scans, "--model", run, "--out", out), 2)
        assert "the model was trained on MR, not on CT" in line

    def test_hosts_that_the_model_does_not_know(
        self, studies: Path, scans: Path, run: Path, out: Path
    ) -> None:
        labels = ("--labels", studies / "coco.json")
        result = medvae_augment(studies, "--model", run, "--out", out, *labels, "--hosts", scans)
        assert "the model was trained on MR, not on CT" in told(result, 2)

    def test_hosts_of_another_modality_than_the_lesions(
        self, studies: Path, scans: Path, run_of_both: Path, out: Path
    ) -> None:
        arguments = (studies, "--model", run_of_both, "--out", out, "--hosts", scans)
        result = medvae_augment(*arguments, "--labels", studies / "coco.json")
        assert "--hosts: are CT, but the slices with findings are MR; " in told(result, 2)

    def test_hosts_that_have_findings(self, studies: Path, run: Path, out: Path) -> None:
        arguments = (studies / "p0", "--model", run, "--out", out, "--hosts", studies)
        result = medvae_augment(*arguments, "--labels", studies / "coco.json")
        assert "--hosts: 2 of the slices have findings" in told(result, 2)

    @pytest.mark.parametrize("option", ["--hosts", "--align-to"])
    def test_an_option_that_names_nothing_readable(
        self, studies: Path, run: Path, out: Path, tmp_path: Path, option: str
    ) -> None:
        (tmp_path / "notes.txt").write_text("none of them is here")
        arguments = (studies, "--model", run, "--out", out, option, tmp_path / "notes.txt")
        line = told(medvae_augment(*arguments, "--labels", studies / "coco.json"), 1)
        assert line.startswith(f"Error: {option}: none of the files can be read")

    def test_a_model_without_its_latents(self, studies: Path, out: Path, tmp_path: Path) -> None:
        (tmp_path / "run").mkdir()
        run = save_run(tmp_path / "run", studies)
        (run / "models" / "latents.json").unlink()
        line = told(medvae_augment(studies, "--model", run, "--out", out), 1)
        assert "latents.json is missing" in line

    def test_a_device_that_is_not_there(self, studies: Path, run: Path, out: Path) -> None:
        line = told(medvae_augment(studies, "--model", run, "--out", out, "--device", "meta"), 2)
        assert "device 'meta'" in line


class TestOut:
    def test_holds_another_run(self, studies: Path, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        command = (studies / "p2", "--model", run, "--out", out, "--render", "warp")
        assert medvae_augment(*command, "--strength", "0").exit_code == 0
        before = tree(out)
        line = told(medvae_augment(*command, "--strength", "0"), 2)
        assert line == (f"Error: {out}: holds a run; resume it, or choose another folder")
        line = told(medvae_augment(*command, "--strength", "0.2", "--resume"), 2)
        assert line.startswith(f"Error: {out}: holds a run with another strength; ")
        assert tree(out) == before

    def test_holds_something_else(self, studies: Path, run: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / "thesis.txt").write_text("years of work")
        for resume in ((), ("--resume",)):
            result = medvae_augment(studies, "--model", run, "--out", out, *resume)
            assert f"{out}: is not empty, and nothing is overwritten" in told(result, 2)
        assert tree(out) == {"thesis.txt": b"years of work"}

    # Nobody makes folders in either of them, whatever the rights are that tests run with.
    @pytest.mark.parametrize("place", ["/sys", "/dev/null"])
    def test_cannot_be_written(self, studies: Path, run: Path, place: str) -> None:
        out = Path(place, "medvae-out")
        result = medvae_augment(studies, "--model", run, "--out", out)
        assert str(out) in told(result, 1)


TRANSPLANTS = ("--copies", 4)
REJECTED = ("--render", "warp", "--strength", 0.1, "--copies", 2)
"""Of which the manifest alone is large."""


class TestFullDisk:
    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("choices", "size", "stopped_at"),
        [
            (TRANSPLANTS, 100, "run.json"),
            (TRANSPLANTS, 3_000, ".png"),
            (REJECTED, 20_000, "manifest.jsonl"),
            (TRANSPLANTS, 200_000, "preview.html"),
        ],
    )
    def test_loses_nothing_and_is_taken_up(
        self,
        studies: Path,
        run: Path,
        tmp_path: Path,
        choices: tuple[object, ...],
        size: int,
        stopped_at: str,
    ) -> None:
        out, undisturbed = tmp_path / "out", tmp_path / "undisturbed"
        command = (studies, "--model", run, "--labels", studies / "coco.json", *choices)
        code = medvae_augment(*command, "--out", undisturbed).exit_code
        whole = tree(undisturbed)
        with room_for(size):
            line = told(medvae_augment(*command, "--out", out), 1)
        assert f"{stopped_at}: cannot be written: File too large" in line
        there = {name: data for name, data in tree(out).items() if not name.startswith(".preview/")}
        lines = there.pop("manifest.jsonl", b"")
        assert whole["manifest.jsonl"].startswith(lines)
        assert all(whole[name] == data for name, data in there.items())
        for record in map(json.loads, lines.splitlines()[:-1]):
            assert there.keys() >= set(record["files"])
        assert medvae_augment(*command, "--out", out, "--resume").exit_code == code
        assert tree(out) == whole


def test_a_file_that_fails_costs_itself_alone(studies: Path, run: Path, tmp_path: Path) -> None:
    whole, out = (studies / "p2" / "000.dcm").read_bytes(), tmp_path / "out"
    (tmp_path / "cut.dcm").write_bytes(whole[:-10])
    sources = (studies / "p3", tmp_path / "cut.dcm")
    result = medvae_augment(
        *sources, "--model", run, "--out", out, "--render", "warp", "--strength", 0
    )
    assert result.exit_code == 0, result.output
    assert f"4 of 4 draws kept, in {out}" in result.stdout
    assert f"not used: {tmp_path / 'cut.dcm'}: it is truncated" in result.stdout


class TestRefusals:
    """Each slice that is not kept says why: on the screen, in the manifest and in the preview."""

    @pytest.mark.parametrize("per", ["slice", "study"])
    def test_of_a_writer(self, run: Path, tmp_path: Path, per: str) -> None:
        studies, out = tmp_path / "studies", tmp_path / "out"
        for patient in range(2):
            pixels = (head(patient, index)[0] for index in range(SLICES))
            series: dict[str, Any] = {"series": f"1.2.3.{patient}", "PatientID": f"p{patient}"}
            series["ImagePositionPatient"] = None
            save_series(
                studies / f"p{patient}",
                (dicom_slice(index, pixels=own, **series) for index, own in enumerate(pixels)),
            )
        command = (studies, "--model", run, "--out", out, "--render", "warp", "--strength", 0)
        result = medvae_augment(*command, "--format", "dicom", "--per", per)
        assert told(result, 1) == "Error: no slice was kept; see the reasons above"
        reason = "cannot be written as dicom: its position in the patient is unknown"
        refused(result, out, reason, 2 * SLICES)

    def test_of_a_source_that_is_gone_meanwhile(
        self, studies: Path, run: Path, tmp_path: Path
    ) -> None:
        mine, out = tmp_path / "mine", tmp_path / "out"
        shutil.copytree(studies / "p3", mine)

        def remove(what: str, done: int, total: int, note: str) -> None:
            if (what, done) == ("Encoding slices", total):
                (mine / "001.dcm").unlink()

        made = run_augment([mine], run, out, render="warp", strength=0.0, progress=remove)
        reason = "its source cannot be read again: No such file or directory"
        assert (made.kept, made.rejected) == (SLICES - 1, ((reason, 1),))
        assert f"1 {reason}" in (out / "preview.html").read_text()


def refused(result: Result, out: Path, reason: str, count: int) -> None:
    """Check that a reason is on the screen, in the manifest and in the preview."""
    (line,) = (line for line in result.stdout.splitlines() if line.startswith("  rejected"))
    assert line.startswith(f"  rejected {count}: {reason}")
    assert {one["reason"] for one in manifest(out)} == {line.partition(": ")[2]}
    assert f"rejected: {count} {reason}" in (out / "preview.html").read_text()


def manifest(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]


def coco(folder: Path, names: list[str]) -> Path:
    """Write labels that say of some slices that they are empty."""
    images = [
        {"id": number, "file_name": name, "width": SIDE, "height": SIDE}
        for number, name in enumerate(names, 1)
    ]
    path = folder / "labels.json"
    path.write_text(json.dumps({"images": images, "annotations": [], "categories": [GLIOMA]}))
    return path
