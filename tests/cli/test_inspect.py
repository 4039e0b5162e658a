"""``medvae inspect`` as its users see it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image
from pydicom import uid as uids

from medvae_cli.main import cli
from phantoms import SHARED, dicom_slice, needs_shared, save, save_series


def medvae(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


def inspect_json(*arguments: str | Path) -> dict[str, Any]:
    result = medvae("inspect", *arguments, "--json")
    assert result.exit_code == 0, result.output
    report: dict[str, Any] = json.loads(result.stdout)
    return report


@pytest.fixture
def studies(tmp_path: Path) -> Path:
    """A CT series, a report beside it, a truncated file, and pictures with masks."""
    folder = tmp_path / "studies"
    save_series(
        folder / "ct",
        (
            dicom_slice(i, sop_class=uids.CTImageStorage, RescaleIntercept=-1024, RescaleSlope=1)
            for i in range(5)
        ),
    )
    save(dicom_slice(sop_class=uids.ComprehensiveSRStorage), folder / "ct" / "report")
    whole = save(dicom_slice(series="1.7"), folder / "ct" / "cut").read_bytes()
    (folder / "ct" / "cut").write_bytes(whole[:-10])
    for name, value in (("images", 100), ("masks", 255)):
        (folder / name / "p1").mkdir(parents=True)
        picture = np.zeros((20, 30), "uint8")
        picture[4:9, 10:17] = value
        Image.fromarray(picture).save(folder / name / "p1" / "1.png")
    box = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [10, 4, 7, 5], "area": 35}
    coco = {
        "images": [
            {"id": 1, "file_name": "images/p1/1.png", "width": 30, "height": 20, "case": "c1"}
        ],
        "annotations": [box, {**box, "id": 2, "bbox": [50, 50, 4, 4]}],
        "categories": [{"id": 1, "name": "mass", "supercategory": "lesion"}],
    }
    (folder / "coco.json").write_text(json.dumps(coco))
    return folder


class TestReport:
    def test_tells_what_is_there(self, studies: Path) -> None:
        result = medvae("inspect", studies)
        assert result.exit_code == 0
        assert "2 patients, 2 studies, 2 series, 6 slices" in result.stdout
        assert "CT: 5 x 12x10, 0.75x0.5 mm, a slice every 2 mm" in result.stdout
        assert "(from PatientID)" in result.stdout
        assert "(from parent folder)" in result.stdout
        assert "6 read, 3 skipped, 1 refused" in result.stdout
        assert f"refused {studies / 'ct' / 'cut'}: it is truncated" in result.stdout
        assert f"skipped {studies / 'coco.json'}: it holds labels (COCO)" in result.stdout

    def test_accounts_for_every_file(self, studies: Path) -> None:
        report = inspect_json(studies)
        paths = sorted(str(path) for path in studies.rglob("*") if path.is_file())
        assert sorted(entry["path"] for entry in report["files"]) == paths
        counts = report["counts"]
        assert counts["read"] + counts["skipped"] + counts["refused"] == len(paths)
        assert all(entry["reason"] for entry in report["files"] if entry["outcome"] != "read")

    def test_describes_series(self, studies: Path) -> None:
        report = inspect_json(studies)
        (ct,) = (s for study in report["studies"] for s in study["series"] if s["modality"] == "CT")
        assert ct["slices"] == 5
        assert ct["shape"] == [10, 12]
        assert ct["spacing"] == [0.5, 0.75]
        assert ct["between_slices"] == 2.0
        assert ct["flags"] == []
        assert ct["format"] == "dicom"

    def test_names_of_files_cannot_break_lines_or_command_a_terminal(self, tmp_path: Path) -> None:
        save(dicom_slice(), tmp_path / "image")
        (tmp_path / "a\nb\x1b[31m.txt").write_text("hello")
        out = medvae("inspect", tmp_path).stdout
        assert "/a\\nb\\x1b[31m.txt: its format is not one that medvae reads" in out
        assert "\x1b" not in out

    def test_long_lists_of_one_reason_are_told_in_one_line(self, tmp_path: Path) -> None:
        save(dicom_slice(), tmp_path / "image")
        for i in range(30):
            (tmp_path / f"note {i}.txt").write_text("hello")
        out = medvae("inspect", tmp_path).stdout
        assert f"skipped 30 files below {tmp_path}: its format is not one that medvae reads" in out

    def test_many_refused_for_one_reason_are_told_in_one_line(self, tmp_path: Path) -> None:
        whole = save(dicom_slice(), tmp_path / "image").read_bytes()
        for i in range(21):
            (tmp_path / f"cut {i:02}").write_bytes(whole[: -10 - 2 * i])
        (tmp_path / "turned").write_bytes(
            save(dicom_slice(RescaleSlope=0), tmp_path / "x").read_bytes()
        )
        out = medvae("inspect", tmp_path).stdout
        folded, *others = [line for line in out.splitlines() if line.startswith("  refused")]
        cut = ", ".join(str(tmp_path / f"cut {i:02}") for i in range(3))
        assert folded == (
            f"  refused 21 files, such as {cut}: it is truncated: only 230 of 240 bytes of "
            "pixel data are present (and the like)"
        )
        assert len(others) == 2
        refused = [f for f in inspect_json(tmp_path)["files"] if f["outcome"] == "refused"]
        assert len(refused) == 23

    def test_text_in_the_pixels_is_flagged_everywhere(self, tmp_path: Path) -> None:
        save(dicom_slice(BurnedInAnnotation="YES"), tmp_path / "image")
        flag, page = "text is burned into its pixels (BurnedInAnnotation YES)", tmp_path / "a.html"
        assert flag in medvae("inspect", tmp_path / "image", "--pictures", page).stdout
        assert flag in page.read_text()
        ((series,),) = (study["series"] for study in inspect_json(tmp_path / "image")["studies"])
        assert series["flags"] == [flag]


class TestLabels:
    def test_are_counted_and_problems_told(self, studies: Path) -> None:
        result = medvae("inspect", studies, "--labels", studies / "coco.json")
        assert "labels (COCO): 1 findings, 0 of them with a mask, on 1 slices" in result.stdout
        assert "mass: 1" in result.stdout
        assert "(from label record's `case`)" in result.stdout
        (problem,) = (line for line in result.stdout.splitlines() if "not used" in line)
        assert "annotation 2" in problem
        assert "outside" in problem

    def test_in_json(self, studies: Path) -> None:
        report = inspect_json(studies, "--labels", studies / "coco.json")
        assert report["labels"]["findings"] == 1
        assert report["labels"]["categories"] == {"mass": 1}
        assert len(report["labels"]["problems"]) == 1
        outcomes = {Path(entry["path"]).name: entry for entry in report["files"]}
        assert outcomes["coco.json"]["outcome"] == "read"
        assert outcomes["coco.json"]["reason"] == "labels (COCO)"
        assert sum(study["labels"]["findings"] for study in report["studies"]) == 1

    def test_by_relative_paths(self, studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(studies.parent)
        report = inspect_json("studies", "--labels", "studies/ct/../coco.json")
        assert report["labels"]["findings"] == 1
        reasons = {Path(entry["path"]).name: entry["reason"] for entry in report["files"]}
        assert reasons["coco.json"] == "labels (COCO)"

    def test_from_masks(self, studies: Path) -> None:
        report = inspect_json(studies, "--labels", studies / "masks")
        assert report["labels"]["masks"] == 1
        outcomes = {Path(entry["path"]).parent.parent.name: entry for entry in report["files"]}
        assert outcomes["masks"]["reason"] == "labels (mask pictures)"

    def test_masks_given_as_images_too_are_no_images(self, studies: Path) -> None:
        folders = (studies / "images", studies / "masks")
        assert inspect_json(*folders)["counts"]["slices"] == 2
        report = inspect_json(*folders, "--labels", studies / "masks")
        assert report["counts"]["slices"] == 1
        assert report["labels"]["masks"] == 1

    def test_a_file_that_holds_none(self, studies: Path) -> None:
        (studies / "notes.json").write_text("[1, 2")
        result = medvae("inspect", studies, "--labels", studies / "notes.json")
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: ")
        assert "notes.json" in result.stderr
        assert result.stderr.count("\n") == 1


class TestErrors:
    def test_nothing_to_read(self, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("hello")
        result = medvae("inspect", tmp_path)
        assert result.exit_code == 1
        assert "files: 0 read, 1 skipped, 0 refused" in result.stdout
        assert result.stderr == f"Error: {tmp_path}: none of the files could be read\n"

    def test_nothing_to_read_in_json(self, tmp_path: Path) -> None:
        result = medvae("inspect", tmp_path, "--json")
        assert result.exit_code == 1
        assert json.loads(result.stdout)["studies"] == []

    @pytest.mark.parametrize(
        "arguments", [("nowhere",), (), (".", "--labels", "nowhere"), (".", "--workers", "0")]
    )
    def test_wrong_usage(self, arguments: tuple[str, ...]) -> None:
        result = medvae("inspect", *arguments)
        assert result.exit_code == 2
        assert "medvae inspect --help" in result.stderr

    def test_a_folder_that_cannot_be_written(self, studies: Path) -> None:
        target = studies / "coco.json" / "sheet.html"
        result = medvae("inspect", studies, "--pictures", target)
        assert result.exit_code == 1
        assert result.stderr.count("\n") == 1
        assert "cannot be written" in result.stderr

    def test_what_should_not_happen_is_told_in_one_line(
        self, studies: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*_: object, **__: object) -> None:
            raise RuntimeError("out of\ncheese")

        monkeypatch.setattr("medvae.inspection.open_studies", broken)
        result = medvae("inspect", studies)
        assert result.exit_code == 1
        assert result.stderr.startswith("Error: RuntimeError: out of cheese (")
        debug = medvae("--debug", "inspect", studies)
        assert isinstance(debug.exception, RuntimeError)


def test_a_slice_that_is_lost_leaves_a_gap(tmp_path: Path) -> None:
    for i in range(6):
        dataset = dicom_slice(i, pixels=np.arange(64 * 64, dtype="u2").reshape(64, 64) + i)
        dataset.compress(uids.JPEG2000Lossless, generate_instance_uid=False)
        save(dataset, tmp_path / f"{i}")
    data = bytearray((tmp_path / "3").read_bytes())
    start = data.rindex(b"\xff\x4f\xff\x51")
    data[start : start + 40] = bytes(40)
    (tmp_path / "3").write_bytes(data)
    ((series,),) = (study["series"] for study in inspect_json(tmp_path, "--decode")["studies"])
    assert series["flags"] == ["gaps: 1 slices missing at 1 places"]


def test_damaged_pixels_are_found_by_decoding(tmp_path: Path) -> None:
    for i in range(2):
        dataset = dicom_slice(i, pixels=np.arange(64 * 64, dtype="u2").reshape(64, 64))
        dataset.compress(uids.JPEG2000Lossless, generate_instance_uid=False)
        save(dataset, tmp_path / f"{i}")
    data = bytearray((tmp_path / "1").read_bytes())
    start = data.rindex(b"\xff\x4f\xff\x51")
    data[start : start + 40] = bytes(40)
    (tmp_path / "1").write_bytes(data)
    assert inspect_json(tmp_path)["counts"]["read"] == 2
    checked = inspect_json(tmp_path, "--decode")
    assert [entry["outcome"] for entry in checked["files"]] == ["read", "refused"]
    assert "cannot be decoded" in checked["files"][1]["reason"]


def test_pictures_show_boxes(studies: Path, tmp_path: Path) -> None:
    page = tmp_path / "sheet.html"
    result = medvae("inspect", studies, "--labels", studies / "coco.json", "--pictures", page)
    assert result.exit_code == 0, result.output
    text = page.read_text()
    assert text.count("<img ") == 6
    assert text.count("<title>mass") == 1
    assert str(studies) not in text
    assert "patient one" not in text


class TestPicturesOverwriteNothing:
    """But a page that medvae wrote before."""

    @pytest.mark.parametrize("name", ["coco.json", "ct/cut", "images/p1/1.png", "notes.html"])
    def test_of_what_is_there(self, studies: Path, name: str) -> None:
        (studies / "notes.html").write_text("<!DOCTYPE html>\n<p>monai-medvae</p>\n")
        before = (studies / name).read_bytes()
        result = medvae("inspect", studies, "--pictures", studies / name)
        assert result.exit_code == 2
        assert (
            f"Error: {studies / name}: is there already and is not a page that medvae wrote: "
            "choose another name" in result.stderr
        )
        assert result.stdout == ""
        assert (studies / name).read_bytes() == before

    def test_nor_a_link(self, studies: Path, tmp_path: Path) -> None:
        for name, target in (("led", studies / "coco.json"), ("astray", tmp_path / "nowhere")):
            (tmp_path / name).symlink_to(target)
            result = medvae("inspect", studies, "--pictures", tmp_path / name)
            assert result.exit_code == 2
            assert (tmp_path / name).readlink() == target

    def test_a_page_is_drawn_anew(self, studies: Path, tmp_path: Path) -> None:
        page = tmp_path / "sheet.html"
        assert medvae("inspect", studies, "--pictures", page).exit_code == 0
        before = page.read_bytes()
        labelled = ("--labels", studies / "coco.json", "--pictures", page)
        assert medvae("inspect", studies, *labelled).exit_code == 0
        assert page.read_bytes() != before


@pytest.mark.slow
def test_progress_is_shown_on_a_terminal_alone(studies: Path) -> None:
    assert medvae("inspect", studies).stderr == ""
    script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    command = [sys.executable, "-m", "medvae_cli.main", "inspect", str(studies), "--decode"]
    done = subprocess.run(
        [sys.executable, "-c", script, *command], capture_output=True, check=True, text=True
    )
    assert "Reading headers  [####" in done.stdout
    assert "Decoding slices  [####" in done.stdout


@pytest.mark.slow
@needs_shared
@pytest.mark.parametrize("name", ["lgg_flair", "cmr_sunnybrook"])
def test_real_labels(name: str) -> None:
    report = inspect_json(SHARED / name, "--labels", SHARED / name / "coco.json")
    assert report["labels"]["problems"] == []
    expected = {"lgg_flair": (79, 2907, 1187), "cmr_sunnybrook": (30, 526, 526)}[name]
    counts = report["counts"]
    assert (counts["patients"], counts["slices"], report["labels"]["findings"]) == expected
