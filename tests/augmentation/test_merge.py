"""`augment --merge`: real and synthetic slices as one training set."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from made import lines_of, made

from heads import LESIONS, SECRETS, SLICES
from medvae.augmentation import augment
from medvae.errors import UsageProblem
from medvae.labels import attach_labels
from medvae.readers import open_studies
from medvae.records import Slice
from outcomes import tree

LABEL_FORMATS = ("coco", "monai", "yolo")


def labelled(studies: Path) -> dict[str, Slice]:
    """Return the labelled slices of studies by their keys."""
    found = attach_labels(open_studies([studies]).studies, studies / "coco.json").studies
    return {native.key: native for study in found for native in study.slices if native.labels}


@pytest.fixture(scope="module")
def out(studies: Path, run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run with both."""
    out = tmp_path_factory.mktemp("merge") / "out"
    made(studies, run, out, copies=3, workers=1, merge=True, label_formats=LABEL_FORMATS)
    return out


def test_labels_speak_of_both(out: Path) -> None:
    images = json.loads((out / "coco.json").read_text())["images"]
    synthetic = [line for line in lines_of(out) if line["outcome"] == "kept"]
    assert Counter(image["file_name"].split("/")[0] for image in images) == {
        "real": 4 * SLICES,
        "images": len(synthetic),
    }
    assert all((out / image["file_name"]).is_file() for image in images)
    items = json.loads((out / "datalist.json").read_text())["training"]
    assert [item["image"] for item in items] == [image["file_name"] for image in images]
    texts = {path.relative_to(out / "yolo") for path in (out / "yolo").rglob("*.txt")}
    assert texts >= {Path(image["file_name"]).with_suffix(".txt") for image in images}


def test_real_slices_are_read_back_with_their_labels_and_patients(out: Path, studies: Path) -> None:
    scan = open_studies([out / "real"], modality="MR")
    matched = attach_labels(scan.studies, out / "coco.json")
    of_real = {native.key: native for native in open_studies([studies]).slices}
    positive = labelled(studies)
    assert len(positive) == LESIONS
    found = [native for study in matched.studies for native in study.slices]
    assert len(found) == len(of_real)
    for native in found:
        (key,) = (key for key in of_real if key in native.source.path.name)
        assert native.group == of_real[key].group
        assert (native.pixels().stored == of_real[key].pixels().stored).all()
        assert native.labels is not None
        expected = positive[key].labels if key in positive else ()
        assert list(native.labels) == list(expected or ())


def test_each_image_says_whose_it_is(out: Path, studies: Path) -> None:
    groups = {study.group for study in open_studies([studies]).studies}
    for image in json.loads((out / "coco.json").read_text())["images"]:
        patients = set(image["patient"].split("+"))
        assert patients <= groups
        assert len(patients) == (1 if image["file_name"].startswith("real/") else 2)


def test_nothing_written_names_a_patient(out: Path, studies: Path) -> None:
    secrets = [secret.encode() for secret in (*SECRETS, str(studies), studies.name)]
    for name, content in tree(out).items():
        for secret in secrets:
            assert secret not in name.encode() + content


@pytest.mark.slow
def test_same_bytes_after_it_was_stopped(
    out: Path, studies: Path, run: Path, tmp_path: Path
) -> None:
    class Stopped(Exception):
        pass

    def stop(what: str, done: int, total: int, beside: str) -> None:
        if what == "Writing real slices" and done == 5:
            raise Stopped

    choices: dict[str, Any] = {
        "copies": 3,
        "workers": 3,
        "merge": True,
        "label_formats": LABEL_FORMATS,
    }
    with pytest.raises(Stopped):
        made(studies, run, tmp_path / "out", progress=stop, **choices)
    assert (tmp_path / "out" / "real").is_dir()
    assert not (tmp_path / "out" / "coco.json").exists()
    made(studies, run, tmp_path / "out", resume=True, **choices)
    assert tree(tmp_path / "out") == tree(out)


def test_whole_series_are_volumes(studies: Path, run: Path, tmp_path: Path) -> None:
    made(studies, run, tmp_path / "out", merge=True, per="study", formats=("nifti",), strength=0.0)
    real = list(open_studies([tmp_path / "out" / "real"], modality="MR").studies)
    assert [len(series.slices) for study in real for series in study.series] == [SLICES] * 4


def test_slices_that_nobody_has_labelled_are_left_out(
    studies: Path, run: Path, tmp_path: Path
) -> None:
    document = json.loads((studies / "coco.json").read_text())
    document["images"] = [i for i in document["images"] if i["file_name"] != "p3/002.dcm"]
    (tmp_path / "some.json").write_text(json.dumps(document))
    result = augment(
        [studies], run, tmp_path / "out", labels=tmp_path / "some.json", merge=True, workers=2
    )
    assert result.real == 4 * SLICES - 1 == len(list((tmp_path / "out" / "real").rglob("*.png")))


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"formats": ("png", "dicom")}, "merge: real slices are not written as DICOM"),
        ({"labels": None}, "merge: real slices to train with must be labelled; give their labels"),
    ],
)
def test_what_cannot_be_merged(
    studies: Path, run: Path, tmp_path: Path, choices: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageProblem, match=message):
        made(studies, run, tmp_path / "out", merge=True, **choices)
    assert not (tmp_path / "out").exists()
