import contextlib
import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_studies import LESION, a_slice, a_study, axial, boxed

import medvae.labels
from medvae.errors import LabelError
from medvae.labels import (
    LabelledImage,
    Problem,
    attach_labels,
    label_format,
    write_coco,
    write_datalist,
    write_yolo,
)
from medvae.records import Labels


def test_the_public_names() -> None:
    assert medvae.labels.__all__ == [
        "LABEL_FORMATS",
        "LabelFormat",
        "LabelSource",
        "Labelled",
        "LabelledImage",
        "Ledger",
        "Outlines",
        "Problem",
        "Record",
        "attach_labels",
        "check_outlines",
        "finding_from_record",
        "finding_record",
        "folded",
        "label_format",
        "write_coco",
        "write_datalist",
        "write_yolo",
        "written_formats",
    ]


def test_what_was_written_is_known_again(tmp_path: Path) -> None:
    images = [LabelledImage("a.png", (20, 30), Labels((boxed((1, 2, 3, 4), LESION),)))]
    write_coco(tmp_path / "coco.json", images)
    write_datalist(tmp_path / "datalist.json", images)
    write_yolo(tmp_path / "labels", images)
    assert label_format(tmp_path / "coco.json") == "COCO"
    assert label_format(tmp_path / "datalist.json") == "MONAI datalist"
    assert label_format(tmp_path / "labels" / "a.txt") == "YOLO"
    assert label_format(tmp_path / "labels" / "classes.txt") == "YOLO"


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.csv", b"patientId,x,y,width,height,Target\n", "CSV (RSNA)"),
        (
            "a.csv",
            b'\xef\xbb\xbf"seriesuid","coordX","coordY","coordZ","diameter_mm"\r\n',
            "CSV (LUNA16)",
        ),
        ("a", b"image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max", "CSV (VinDr)"),
        ("a.csv", b"file,case,x,y,w,h", "CSV (boxes)"),
        ("a.csv", b"file,case", None),
        ("a.json", b'{"annotations": [{"image_id": 1}]}', "COCO"),
        ("a.json", b'{"training": [{"image": "a", "label": "b"}]}', None),
        ("a.json", b"[1, 2]", None),
        ("scan_seg.nii.gz", b"", "NIfTI masks"),
        ("scan.nii.gz", b"", None),
        ("scan_mask.png", b"", "mask pictures"),
        ("scan.png", b"", None),
        ("readme.txt", b"0 of 3 files", None),
        ("a.txt", b"0 0.1 0.2 0.3 1.4", None),
        ("a.txt", b"", None),
        ("a.bin", bytes(range(256)) * 3, None),
        ("a.dcm", bytes(128) + b"DICM", None),
        ("a.dcm", bytes(128) + b"DICM\x02\x00\x00\x00UL\x04\x00\xff\xff\xff\xff", None),
    ],
)
def test_label_files_are_told_from_others(
    tmp_path: Path, name: str, content: bytes, expected: str | None
) -> None:
    (tmp_path / name).write_bytes(content)
    assert label_format(tmp_path / name) == expected


def test_a_folder_or_nothing_is_no_label_file(tmp_path: Path) -> None:
    assert label_format(tmp_path) is None
    assert label_format(tmp_path / "none.json") is None


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("a.dcm", bytes(128) + b"DICM", "is in none of the known formats: YOLO, "),
        ("notes.md", b"none", "is in none of the known formats"),
        ("empty", b"", "is in none of the known formats"),
        ("folder/notes.md", b"none", "holds no YOLO files, masks or DICOM SEG"),
        ("folder/coco.json", b"{}", "for other formats, give the file"),
        ("folder/readme.txt", b"none", "holds no YOLO files"),
    ],
)
def test_what_holds_no_labels_is_refused_in_one_line(
    tmp_path: Path, name: str, content: bytes, what: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    given = tmp_path / name.split("/")[0]
    with pytest.raises(LabelError, match=what) as caught:
        attach_labels([], given)
    assert str(caught.value).startswith(f"{given}: ")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="there is no such file or folder"):
        attach_labels([], tmp_path / "none.json")


@pytest.mark.parametrize(("name", "start"), [("a.json", b"{"), ("a.csv", b"file,x,y,w,h")])
def test_a_file_too_large_to_be_labels_is_refused(tmp_path: Path, name: str, start: bytes) -> None:
    with (tmp_path / name).open("wb") as file:
        file.write(start)
        file.truncate(513 * 2**20)
    with pytest.raises(LabelError, match="512 MB"):
        attach_labels([], tmp_path / name)


def test_problems_are_one_line_of_printable_text(tmp_path: Path) -> None:
    table = "file,x,y,w,h\n" + '"a\x1b[2J\u202e.png",1,2,3,4\n'
    (tmp_path / "t\n.csv").write_text(table)
    (problem,) = attach_labels([], tmp_path / "t\n.csv").problems
    assert problem.where == r"t\n.csv, line 2"
    assert problem.what == r"'a\x1b[2J\u202e.png' matches no slice; ignored"
    assert Problem("é x", "a\r\nb\x07\ud800 ü") == Problem("é x", r"a\r\nb\x07\ud800 ü")


COCO: dict[str, Any] = {
    "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30, "patient": "p"}],
    "annotations": [
        {
            "image_id": 1,
            "category_id": 1,
            "bbox": [1, 2, 3, 4],
            "segmentation": [[1, 1, 5, 1, 5, 9]],
        },
        {"image_id": 1, "category_id": 1, "segmentation": {"size": [20, 30], "counts": [9, 591]}},
    ],
    "categories": [{"id": 1, "name": "glioma", "supercategory": "lesion"}],
}
DATALIST: dict[str, Any] = {
    "training": [
        {"image": "a.png", "box": [[1, 2, 3, 4]], "label": [0]},
        {"image": "v.nii", "box": [[1, 2, 3, 4, 5, 6]], "label": [0], "medvae_key": ""},
        {"image": "v.nii", "box": [[1, 2, 3, 4]], "label": ["x"], "frame": 1},
    ],
    "labels": {"0": "glioma"},
    "box_mode": "cccwhd",
}

odd_values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-3, 40),
        st.sampled_from([10**400, -(10**400), 2**63]),
        st.floats(),
        st.text(max_size=4),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=6), st.dictionaries(st.text(max_size=3), inner, max_size=2)
    ),
    max_leaves=6,
)


@st.composite
def spoilt(draw: st.DrawFn) -> object:
    """A document with one value, at any depth, that is something else."""
    document = copy.deepcopy(draw(st.sampled_from([COCO, DATALIST])))
    place: Any = document
    while True:
        key = draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or draw(st.booleans()):
            place[key] = draw(odd_values)
            return document
        place = place[key]


@pytest.mark.slow
@given(document=spoilt())
@settings(max_examples=400, deadline=None)
def test_nothing_odd_in_json_gives_a_traceback(document: object) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "labels.json").write_text(json.dumps(document))
        volume = (axial(root / "v.nii", 2.0 * n, format="nifti", frame=n) for n in range(3))
        studies = [a_study(a_slice(root / "a.png"), key="picture"), a_study(*volume)]
        with contextlib.suppress(LabelError):
            labelled = attach_labels(studies, root / "labels.json")
            for study in labelled.studies:
                for slice_ in study.slices:
                    for x0, y0, x1, y1 in (slice_.labels or Labels()).boxes:
                        assert 0 <= x0 < x1 <= slice_.shape[1]
                        assert 0 <= y0 < y1 <= slice_.shape[0]
