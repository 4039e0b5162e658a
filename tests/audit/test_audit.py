"""`audit` from end to end, on files that are written and read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from heads import SECRETS, head
from medvae.auditing import STATISTICS, Audit, audit, latent_view, number_names
from medvae.auditing._page import expanded
from medvae.augmentation import augment
from medvae.errors import ReadError, UsageProblem
from outcomes import tree
from phantoms import dicom_slice, save

TINY: dict[str, Any] = {"image_size": 32, "epochs": 1, "device": "cpu"}


@pytest.mark.slow
class TestAugmented:
    def test_says_what_it_was_asked_for(self, audited: Audit) -> None:
        report = json.loads((audited.page.parent / "report.json").read_text())
        assert report == audited.report
        assert list(report) == ["verdict", "sets", *STATISTICS, "medvae"]
        for name in ("auc", "lesion_survival", "copies"):
            assert report[name].keys() >= {"value", "low", "high", "baseline"}
        for name in ("features", "feature_auc"):
            assert report[name].keys() == {"encoder", "pixels"}
        assert report["copies"]["worst"]

    def test_every_number_that_the_help_names_is_there(self, audited: Audit) -> None:
        assert number_names().keys() >= {"auc", "copies", "lesion_survival", "features.*.coverage"}
        for path in number_names():
            assert expanded(audited.report, path), path

    def test_a_declared_source_is_no_copy(self, studies: Path, run: Path, tmp_path: Path) -> None:
        labels = studies / "coco.json"
        augment([studies], run, tmp_path / "same", labels=labels, render="warp", strength=0.0)
        found = audit([studies], tmp_path / "same", tmp_path / "out", labels=labels, **TINY)
        assert found.report["copies"]["value"] == 0
        slices = found.report["sets"]["synthetic"]["slices"]
        assert found.report["copies"]["kinds"]["source"] == slices > 0
        assert found.report["lesion_survival"]["value"] == 1

    def test_transplanted_lesions_are_still_there(self, audited: Audit) -> None:
        assert audited.report["lesion_survival"]["value"] > 0.9
        judged = audited.report["lesion_survival"]["judged"]
        assert judged["declared"] == audited.report["sets"]["synthetic"]["findings"]

    def test_nothing_written_names_a_patient(self, audited: Audit, studies: Path) -> None:
        secrets = [secret.encode() for secret in (*SECRETS, str(studies), studies.name)]
        for name, content in tree(audited.page.parent).items():
            for secret in secrets:
                assert secret not in content, (name, secret)


class TestPlainStudies:
    @pytest.mark.slow
    def test_pictures_of_another_size_the_same_bytes_whatever_the_order(
        self, studies: Path, tmp_path: Path
    ) -> None:
        for patient in (4, 5):
            for index in range(4):
                small = Image.fromarray(head(patient, index)[0]).resize((48, 48))
                path = tmp_path / "gan" / f"p{patient}" / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                small.save(path)
        folders = [studies / f"p{patient}" for patient in range(4)]
        found = audit(folders, tmp_path / "gan", tmp_path / "0", **TINY)
        audit(folders[::-1], tmp_path / "gan", tmp_path / "1", workers=1, **TINY)
        trees = [tree(tmp_path / name) for name in ("0", "1")]
        assert trees[0].keys() == {"report.html", "report.json"}
        assert trees[0] == trees[1]
        assert found.report["lesion_survival"] is None
        assert found.report["features"].keys() == {"pixels"}
        assert "No model was given" in found.page.read_text()
        assert found.report["sets"]["synthetic"]["modalities"] == ["MR"]
        notes = " ".join(found.report["sets"]["notes"])
        assert "Slices differ in size (real 64x64, synthetic 48x48)" in notes
        assert "None of the real patients is known to be in a synthetic slice" in notes

    def test_copies_show_a_patient_who_is_not_declared(self, studies: Path, tmp_path: Path) -> None:
        """Plain copies of real slices, some of them under the names of other patients."""
        for patient, name in ((0, "ID-4711-0"), (1, "ID-4711-1"), (2, "ID-4711-3"), (3, "new")):
            for path in sorted((studies / f"p{patient}").glob("*.dcm")):
                dataset = dcmread(path)
                dataset.PatientID = name
                dataset.SeriesInstanceUID += ".1"
                dataset.SOPInstanceUID += ".1"
                save(dataset, tmp_path / "made" / f"{patient}{path.name}")
        found = audit(
            [studies], tmp_path / "made", tmp_path / "out", fail_if=["copies>0.4"], **TINY
        )
        assert (found.report["copies"]["value"], found.report["copies"]["baseline"]) == (0.5, 0)
        near = {"source": 0, "series": 0, "patient": 8, "undeclared": 8}
        assert found.report["copies"]["kinds"] == near
        assert {one["kind"] for one in found.report["copies"]["worst"][:8]} == {"undeclared"}
        assert found.broken == ("copies>0.4: copies is 0.5",)
        assert found.verdict.mark != "green"
        page = found.page.read_text()
        assert page.count("<strong>a patient whom it does not declare: a copy</strong>") == 8
        assert page.count("<strong>another slice of a patient whom it declares</strong>") == 8

    @pytest.mark.slow
    def test_held_out_slices_give_the_baseline(self, studies: Path, tmp_path: Path) -> None:
        labels = studies / "coco.json"
        choices = {"labels": labels, "synthetic_labels": labels, **TINY}
        found = audit(
            [studies / "p0", studies / "p1"],
            studies,
            tmp_path / "out",
            holdout=[studies / "p2", studies / "p3"],
            **choices,
        )
        assert found.report["sets"]["held-out"]["patients"] == 2
        assert found.report["copies"]["baseline"] == 0
        assert "the real slices and the held-out ones" in found.page.read_text()


class TestLatentView:
    @pytest.mark.slow
    def test_figures_are_files_and_a_page(self, studies: Path, run: Path, tmp_path: Path) -> None:
        labels = studies / "coco.json"
        found = latent_view([studies], run, tmp_path / "a", labels=labels, device="cpu")
        again = latent_view([studies], run, tmp_path / "b", labels=labels, device="cpu", workers=1)
        assert tree(tmp_path / "a") == tree(tmp_path / "b")
        assert (found.slices, found.units) == (again.slices, again.units) == (16, 8)
        names = [path.stem for path in found.pictures]
        assert names[:3] == ["distribution", "scatter_label", "scatter_patient"]
        assert names[3:] == [f"traversal_{number}" for number in range(1, len(names) - 2)]
        for path in found.pictures:
            assert np.asarray(Image.open(path).convert("L")).std() > 5
        page = found.page.read_text()
        assert page.count("<img ") == len(names)
        assert "http://" not in page

    def test_names_that_are_not_for_figures(self, studies: Path, run: Path, tmp_path: Path) -> None:
        coco = json.loads((studies / "coco.json").read_text())
        names = ["$\\frac{$", "\ud800", "_hidden", "\u5de6\u5fc3\u5ba4\n", "x" * 3000]
        coco["categories"] = [{"id": n, "name": name} for n, name in enumerate(names)]
        for number, record in enumerate(coco["annotations"]):
            record["category_id"] = number % len(names)
        (tmp_path / "coco.json").write_text(json.dumps(coco))
        labels = tmp_path / "coco.json"
        found = latent_view([studies], run, tmp_path / "out", labels=labels, device="cpu")
        assert not found.problems
        assert "scatter_label" in [path.stem for path in found.pictures]


class TestWrongUse:
    def test_empty_sets(self, studies: Path, tmp_path: Path) -> None:
        empty = tmp_path / "empty"
        empty.mkdir()
        with pytest.raises(ReadError, match="the real set is empty"):
            audit([empty], studies, tmp_path / "out")
        with pytest.raises(ReadError, match="the synthetic set is empty"):
            audit([studies], empty, tmp_path / "out")

    def test_one_patient(self, studies: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match="the real slices are of one patient"):
            audit([studies / "p0"], studies, tmp_path / "out")
        with pytest.raises(UsageProblem, match="the synthetic slices are of one patient"):
            audit([studies], studies / "p0", tmp_path / "out")

    def test_different_modalities(self, studies: Path, tmp_path: Path) -> None:
        for patient in range(2):
            attributes = {
                "sop_class": CTImageStorage,
                "series": f"1.2.3.{patient}",
                "PatientID": f"other {patient}",
            }
            save(dicom_slice(patient, **attributes), tmp_path / "ct" / f"{patient}.dcm")
        with pytest.raises(UsageProblem, match="the real slices are MR and the synthetic ones CT"):
            audit([studies], tmp_path / "ct", tmp_path / "out")
        with pytest.raises(UsageProblem, match="the real slices are CT and the synthetic ones MR"):
            audit([tmp_path / "ct"], studies, tmp_path / "out")

    def test_labels_of_something_else(self, studies: Path, tmp_path: Path) -> None:
        document = json.loads((studies / "coco.json").read_text())
        document["categories"][0]["name"] = "nodule"
        other = studies / "other.json"
        other.write_text(json.dumps(document))
        labels = studies / "coco.json"
        with pytest.raises(UsageProblem, match="the labels do not match: those of the real set"):
            audit([studies], studies, tmp_path / "out", labels=labels, synthetic_labels=other)

    def test_held_out_patients_that_are_not(self, studies: Path, tmp_path: Path) -> None:
        with pytest.raises(UsageProblem, match="4 of the held-out patients are among the real"):
            audit([studies], studies, tmp_path / "out", holdout=[studies])

    def test_labels_beside_a_manifest(self, studies: Path, augmented: Path, tmp_path: Path) -> None:
        labels = studies / "coco.json"
        with pytest.raises(UsageProblem, match="has its labels in its manifest"):
            audit([studies], augmented, tmp_path / "out", synthetic_labels=labels)

    def test_a_folder_that_is_not_empty(self, studies: Path, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        with pytest.raises(UsageProblem, match="is not empty"):
            audit([studies], studies, tmp_path)
