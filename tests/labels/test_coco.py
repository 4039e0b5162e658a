import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_studies import (
    LESION,
    ORGAN,
    a_slice,
    a_study,
    boxed,
    labels_of,
    masked,
    pictures,
    said,
)
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from medvae.errors import LabelError, WriteError
from medvae.geometry import Box
from medvae.labels import Labelled, LabelledImage, attach_labels, write_coco
from medvae.records import Category, Finding, Labels, pseudonym

# pycocotools 2.0.11 decodes with a call that NumPy 2 is about to drop.
decodes_with_pycocotools = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

DOCUMENT: dict[str, Any] = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 20, "width": 30},
        {"id": 2, "file_name": "b.png"},
    ],
    "annotations": [{"id": 7, "image_id": 1, "category_id": 3, "bbox": [2, 3, 4, 5]}],
    "categories": [{"id": 3, "name": "glioma", "supercategory": "lesion"}],
}


def attached(folder: Path, document: object) -> Labelled:
    path = folder / "coco.json"
    path.write_text(json.dumps(document))
    return attach_labels([pictures(folder, ["a.png", "b.png", "c.png"])], path)


def with_annotation(**fields: object) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document["annotations"][0].update(fields)
    return document


def with_image(**fields: object) -> dict[str, Any]:
    document = copy.deepcopy(DOCUMENT)
    document["images"][0].update(fields)
    return document


def loaded(path: Path) -> COCO:
    with contextlib.redirect_stdout(io.StringIO()):
        return COCO(str(path))


def test_boxes_negatives_and_slices_that_are_not_named(tmp_path: Path) -> None:
    labelled = attached(tmp_path, DOCUMENT)
    assert labels_of(labelled) == {
        "a.png": Labels((Finding(LESION, Box(2, 3, 6, 8)),)),
        "b.png": Labels(),
        "c.png": None,
    }
    assert labelled.problems == ()
    assert labelled.files == (tmp_path / "coco.json",)


def test_labels_that_a_slice_has_are_kept(tmp_path: Path) -> None:
    once = attached(tmp_path, DOCUMENT)
    twice = attach_labels(once.studies, tmp_path / "coco.json")
    assert len(labels_of(twice)["a.png"]) == 2


@pytest.mark.parametrize("compressed", [True, False])
def test_runs_become_masks_and_the_box_follows(tmp_path: Path, compressed: bool) -> None:
    full = np.zeros((20, 30), dtype=np.uint8)
    full[4:7, 9:20] = full[10, 5] = 1
    segmentation = coco_mask.encode(np.asfortranarray(full))
    if compressed:
        segmentation["counts"] = segmentation["counts"].decode()
    else:
        changes = np.flatnonzero(np.diff(full.T.ravel(), prepend=0, append=1))
        segmentation["counts"] = np.diff(changes, prepend=0).tolist()
    labelled = attached(tmp_path, with_annotation(segmentation=segmentation))
    assert labelled.problems == ()
    (finding,) = labels_of(labelled)["a.png"]
    assert finding == masked(full)
    assert finding.box == (5, 4, 20, 11)


@decodes_with_pycocotools
def test_polygons_are_filled_as_pycocotools_fills_them(tmp_path: Path) -> None:
    polygons = [[2, 3, 12.5, 3, 12.5, 9, 2, 9], [20, 10, 25, 10, 22, 17]]
    labelled = attached(tmp_path, with_annotation(segmentation=polygons))
    expected = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 20, 30)))
    (finding,) = labels_of(labelled)["a.png"]
    assert np.array_equal(finding.mask.on((20, 30)), expected)
    assert labelled.problems == ()


def test_a_polygon_over_the_edge_is_cut_and_said(tmp_path: Path) -> None:
    labelled = attached(tmp_path, with_annotation(segmentation=[[-3, 2, 4, 2, 4, 6, -3, 6]]))
    (finding,) = labels_of(labelled)["a.png"]
    assert finding.box == (0, 2, 4, 6)
    assert said(labelled) == [
        "coco.json, annotation 7: extends beyond the edge of the slice; cropped"
    ]


@pytest.mark.parametrize(
    ("segmentation", "what"),
    [
        ("runs", "neither run lengths nor polygons"),
        ({"size": [30, 20], "counts": [600]}, "has size [30, 20], but its slice has [20, 30]"),
        ({"size": [20, 30], "counts": [600, 1]}, "covers 601 of 600 pixels"),
        ({"size": [20, 30], "counts": [10, 5]}, "covers 15 of 600 pixels"),
        ({"size": [20, 30], "counts": [601, -1]}, "`counts` cannot be read"),
        ({"size": [20, 30], "counts": [600.0]}, "`counts` cannot be read"),
        ({"size": [20, 30], "counts": "é"}, "`counts` cannot be read"),
        ({"size": [20, 30], "counts": "oooooooooooooooooooo"}, "`counts` cannot be read"),
        ({"size": [20, 30], "counts": "PPPP"}, "`counts` cannot be read"),
        ({"size": [20, 30], "counts": [600]}, "its segmentation is empty"),
        ({"size": [20, 30]}, "`counts` cannot be read"),
        ([[1, 2, 3, 4]], "not a list of three or more points"),
        ([[1, 2, 3, 4, 5, 6, 7]], "not a list of three or more points"),
        ([[1, 2, 3, 4, 5, "6"]], "not a list of three or more points"),
        ([7], "not a list of three or more points"),
        ([[1, 2, 3, 4, 5, float("nan")]], "far outside the slice or is not finite"),
        ([[1, 2, 3, 4, 5, 10**400]], "far outside the slice or is not finite"),
        ([[0, 0, 30, 20] * 20_000], "pixels, which is too long"),
    ],
)
def test_a_segmentation_that_cannot_be_used_leaves_the_box(
    tmp_path: Path, segmentation: object, what: str
) -> None:
    labelled = attached(tmp_path, with_annotation(segmentation=segmentation))
    (problem,) = said(labelled)
    assert problem.startswith("coco.json, annotation 7: ")
    assert what in problem
    assert problem.endswith("; its box is used instead")
    assert labels_of(labelled)["a.png"] == Labels((boxed((2, 3, 6, 8)),))


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"bbox": [40, 3, 4, 5]}, "its box lies outside the slice of 20x30; ignored"),
        ({"bbox": [2, 3, 0, 5]}, "its box has no area; ignored"),
        ({"bbox": [2, 3, -4, 5]}, "its box has no area; ignored"),
        ({"bbox": [2, 3, float("nan"), 5]}, "its box is not finite; ignored"),
        ({"bbox": [2, 3, float("inf"), 5]}, "its box is not finite; ignored"),
        ({"bbox": [2, 3, 4]}, "`bbox` must be 4 numbers but is [2, 3, 4]; ignored"),
        ({"bbox": [2, 3, 4, "5"]}, "`bbox` must be 4 numbers but is [2, 3, 4, '5']; ignored"),
        ({"bbox": [2, 3, 10**400, 5]}, "`bbox` must be 4 numbers"),
        ({"bbox": None}, "`bbox` must be 4 numbers but is None; ignored"),
        ({"iscrowd": 1}, "describes a crowd (`iscrowd`), not one finding; ignored"),
        ({"category_id": 9}, "its category 9 is not in `categories`; ignored"),
        ({"category_id": [3]}, "its category [3] is not in `categories`; ignored"),
        ({"category_id": 2.5}, "its category 2.5 is not in `categories`; ignored"),
    ],
)
def test_an_annotation_that_is_left_out_makes_no_negative_of_its_slice(
    tmp_path: Path, fields: dict[str, object], what: str
) -> None:
    labelled = attached(tmp_path, with_annotation(**fields))
    (problem,) = said(labelled)
    assert problem.startswith(f"coco.json, annotation 7: {what}")
    assert labels_of(labelled)["a.png"] is None


def test_a_box_over_the_edge_is_cut_and_said(tmp_path: Path) -> None:
    labelled = attached(tmp_path, with_annotation(bbox=[25, 15, 10, 10]))
    assert labels_of(labelled)["a.png"] == Labels((boxed((25, 15, 30, 20)),))
    assert said(labelled) == [
        "coco.json, annotation 7: extends beyond the edge of the slice; cropped"
    ]


@pytest.mark.parametrize(
    ("document", "problem"),
    [
        (
            with_annotation(image_id=99),
            "coco.json, annotation 7: its image 99 is not in `images`; ignored",
        ),
        (
            with_annotation(image_id={}),
            "coco.json, annotation 7: its image {} is not in `images`; ignored",
        ),
        (
            with_image(file_name="z.png"),
            "coco.json, image 1: 'z.png' matches no slice; ignored",
        ),
        (
            with_image(width=31),
            "coco.json, image 1: is 20x31 in the file, but its slice is 20x30; ignored",
        ),
        (
            with_image(file_name=7),
            "coco.json, image 1: `file_name` must be text but is 7; ignored",
        ),
        (
            with_image(frame=-1),
            "coco.json, image 1: `frame` must be 0 or more but is -1; ignored",
        ),
        (
            with_image(frame=3),
            "coco.json, image 1: frame 3 does not exist in its file; ignored",
        ),
    ],
)
def test_an_image_record_that_cannot_be_used_labels_nothing(
    tmp_path: Path, document: object, problem: str
) -> None:
    labelled = attached(tmp_path, document)
    assert problem in said(labelled)
    assert labels_of(labelled)["a.png"] in (None, Labels())


@pytest.mark.parametrize(
    ("image_id", "annotation_id"),
    [(0, 0.0), (0.0, 0), (1, "1"), ("1", 1), (-1, "-1"), ("x", "x"), ("01", "01")],
)
def test_ids_of_images_are_the_same_however_they_are_written(
    tmp_path: Path, image_id: object, annotation_id: object
) -> None:
    document = with_annotation(image_id=annotation_id)
    document["images"][0]["id"] = image_id
    labelled = attached(tmp_path, document)
    assert labelled.problems == ()
    assert labels_of(labelled) == {
        "a.png": Labels((boxed((2, 3, 6, 8)),)),
        "b.png": Labels(),
        "c.png": None,
    }


@pytest.mark.parametrize("identity", ["3", 3.0])
def test_ids_of_categories_are_the_same_however_they_are_written(
    tmp_path: Path, identity: object
) -> None:
    labelled = attached(tmp_path, with_annotation(category_id=identity))
    assert labels_of(labelled)["a.png"] == Labels((boxed((2, 3, 6, 8)),))


def test_ids_that_differ_in_their_type_alone_stay_apart(tmp_path: Path) -> None:
    document = with_annotation(image_id="1")
    document["images"][1]["id"] = "1"
    labels = labels_of(attached(tmp_path, document))
    assert (len(labels["a.png"]), len(labels["b.png"])) == (0, 1)


@pytest.mark.parametrize("image_id", [99, "01", "1.0", 1.5, True, None, {}, float("nan")])
def test_an_annotation_of_an_unknown_image_leaves_no_image_known_to_be_empty(
    tmp_path: Path, image_id: object
) -> None:
    document = with_annotation()
    document["annotations"].append({**document["annotations"][0], "id": 8, "image_id": image_id})
    labelled = attached(tmp_path, document)
    assert labels_of(labelled) == {
        "a.png": Labels((boxed((2, 3, 6, 8)),)),
        "b.png": None,
        "c.png": None,
    }
    found, summary = said(labelled)
    assert found.startswith("coco.json, annotation 8: its image ")
    assert found.endswith(" is not in `images`; ignored")
    assert summary == (
        "coco.json: some of its records may belong to any slice, so "
        "the 1 slices without findings are not treated as empty"
    )


def test_what_is_in_doubt_keeps_the_labels_that_it_had(tmp_path: Path) -> None:
    before = attached(tmp_path, DOCUMENT)
    (tmp_path / "coco.json").write_text(json.dumps(with_annotation(image_id=99)))
    labelled = attach_labels(before.studies, tmp_path / "coco.json")
    assert labels_of(labelled) == labels_of(before)


def test_an_image_that_may_be_either_of_two_leaves_neither_known_to_be_empty(
    tmp_path: Path,
) -> None:
    study = pictures(tmp_path, ["p1/a.png", "p2/a.png", "b.png"])
    document = copy.deepcopy(DOCUMENT)
    document["images"].append({"id": 3, "file_name": "p2/a.png"})
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    labelled = attach_labels([study], path)
    assert said(labelled) == ["coco.json, image 1: 'a.png' matches 2 files equally well; ignored"]
    assert [s.labels for s in labelled.studies[0].slices] == [None, None, Labels()]


@pytest.mark.parametrize(
    ("height", "width"),
    [("20", "30"), (20.0, 30.0), (20, "30"), (None, ""), (0, 0)],
)
def test_the_size_of_an_image_is_a_number_however_it_is_written(
    tmp_path: Path, height: object, width: object
) -> None:
    labelled = attached(tmp_path, with_image(height=height, width=width))
    assert labelled.problems == ()
    assert len(labels_of(labelled)["a.png"]) == 1


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"height": "30", "width": "20"}, "is 30x20 in the file, but its slice is 20x30; ignored"),
        ({"height": "20 px"}, "`height` must be a whole number but is '20 px'; ignored"),
        ({"width": [30]}, "`width` must be a whole number but is [30]; ignored"),
        ({"width": 30.5}, "`width` must be a whole number but is 30.5; ignored"),
    ],
)
def test_a_size_that_is_wrong_or_no_number_is_said(
    tmp_path: Path, fields: dict[str, object], what: str
) -> None:
    labelled = attached(tmp_path, with_image(**fields))
    assert said(labelled) == [f"coco.json, image 1: {what}"]
    assert labels_of(labelled)["a.png"] is None


def test_an_image_id_that_is_there_twice_is_said(tmp_path: Path) -> None:
    document = copy.deepcopy(DOCUMENT)
    document["images"][1]["id"] = 1
    labelled = attached(tmp_path, document)
    assert said(labelled) == ["coco.json, image 1: its id occurs twice; ignored"]
    assert len(labels_of(labelled)["a.png"]) == 1


@pytest.mark.parametrize(
    ("content", "what"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is nested too deeply"),
        ('{"images": {}, "annotations": []}', "`images` must be a list of objects"),
        ('{"images": [1], "annotations": []}', "`images` must be a list of objects"),
        ('{"images": [], "annotations": 3}', "`annotations` must be a list of objects"),
        (
            '{"images": [], "annotations": [], "categories": [{"id": 1}]}',
            "`name` must be text but is None",
        ),
        (
            '{"images": [], "annotations": [], "categories":'
            ' [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]}',
            "category 1 occurs twice",
        ),
        ('{"a": 1}', "neither COCO nor a MONAI datalist"),
        ('{"a": ' + "1" * 5000 + "}", "is not JSON"),
        (b'{"a": "\xff"}', "is not JSON"),
    ],
)
def test_a_file_that_is_no_coco_gives_one_line(
    tmp_path: Path, content: str | bytes, what: str
) -> None:
    path = tmp_path / "coco.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(LabelError, match=what) as caught:
        attach_labels([], path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_slice_is_found_by_its_key_wherever_its_file_went(tmp_path: Path) -> None:
    study = a_study(a_slice(tmp_path / "elsewhere.png", key="k1"), a_slice(tmp_path / "a.png"))
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(with_image(medvae_key="k1")))
    labels = labels_of(attach_labels([study], path))
    assert len(labels["elsewhere.png"]) == 1
    assert labels["a.png"] is None


@pytest.mark.parametrize("field", ["patient", "patient_id", "case"])
def test_pictures_move_to_the_patient_that_the_file_names(tmp_path: Path, field: str) -> None:
    document = copy.deepcopy(DOCUMENT)
    for image, patient in zip(document["images"], ("p1", "p2"), strict=True):
        image[field] = patient
    labelled = attached(tmp_path, document)
    one, two, rest = labelled.studies
    for study, patient, name in ((one, "p1", "a.png"), (two, "p2", "b.png")):
        (slice_,) = study.slices
        assert study.group == slice_.group == pseudonym("patient", patient)
        assert study.group_from == f"label record's `{field}`"
        assert study.key == pseudonym("study", "study", study.group)
        assert study.series[0].key == pseudonym("series", "series of study", study.group)
        assert slice_.source.path.name == name
    assert (rest.key, rest.group, rest.group_from) == ("study", "group", "folder")
    assert said(labelled) == [
        "1 pictures beside those of 2 patients: "
        "no record names their patient; they remain grouped by folder"
    ]


def test_a_study_of_one_patient_moves_as_a_whole(tmp_path: Path) -> None:
    labelled = attached(tmp_path, with_image(patient="p1"))
    (study,) = labelled.studies
    assert study.key == "study"
    assert {study.group, *(s.group for s in study.slices)} == {pseudonym("patient", "p1")}
    assert labelled.problems == ()


def test_studies_of_one_patient_stay_apart(tmp_path: Path) -> None:
    studies = [pictures(tmp_path, ["a.png"], key="s1"), pictures(tmp_path, ["b.png"], key="s2")]
    document = copy.deepcopy(DOCUMENT)
    for image in document["images"]:
        image["patient"] = "p1"
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(document))
    labelled = attach_labels(studies, path)
    assert [study.key for study in labelled.studies] == ["s1", "s2"]
    assert len({study.group for study in labelled.studies}) == 1


def test_dicom_keeps_the_patient_in_its_header(tmp_path: Path) -> None:
    study = a_study(a_slice(tmp_path / "a.png", format="dicom"), group_from="PatientID")
    path = tmp_path / "coco.json"
    path.write_text(json.dumps(with_image(patient="p1")))
    (after,) = attach_labels([study], path).studies
    assert (after.group, after.group_from) == ("group", "PatientID")


def test_two_patients_for_one_picture_are_said(tmp_path: Path) -> None:
    document = with_image(patient="p1")
    document["images"][1].update(file_name="a.png", patient="p2")
    labelled = attached(tmp_path, document)
    assert said(labelled) == [
        "coco.json, image 2: `patient` differs from that of an earlier record; the earlier "
        "one is kept"
    ]
    assert labelled.studies[0].group == pseudonym("patient", "p1")


@decodes_with_pycocotools
def test_what_is_written_opens_in_pycocotools_with_the_same_masks(tmp_path: Path) -> None:
    full = np.random.default_rng(5).random((20, 30)) < 0.3
    path = tmp_path / "coco.json"
    group = pseudonym("patient", "p1")
    images = [
        LabelledImage("x/a.png", (20, 30), Labels((masked(full), boxed((1, 2, 4, 8), ORGAN)))),
        LabelledImage("x/b.png", (20, 30), Labels(), group, "k2"),
    ]
    write_coco(path, images)
    coco = loaded(path)
    mask, box = coco.loadAnns(coco.getAnnIds(imgIds=[1]))
    assert np.array_equal(coco.annToMask(mask).astype(bool), full)
    assert mask["segmentation"]["counts"].isascii()
    assert (mask["area"], box["area"], box["iscrowd"]) == (full.sum(), 18, 0)
    assert box["bbox"] == [1, 2, 3, 6]
    assert coco.loadCats(box["category_id"])[0]["supercategory"] == "organ"
    assert coco.getAnnIds(imgIds=[2]) == []
    (second,) = coco.loadImgs([2])
    assert second["patient"] == group
    assert second["medvae_key"] == "k2"
    assert "patient" not in coco.loadImgs([1])[0]


def test_a_pseudonym_that_was_written_names_the_same_patient_when_read(tmp_path: Path) -> None:
    group = pseudonym("patient", "p1")
    write_coco(tmp_path / "coco.json", [LabelledImage("a.png", (20, 30), Labels(), group, "k")])
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "coco.json")
    assert labelled.studies[0].group == group


def test_a_category_of_any_name_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "coco.json"
    odd = Category('a "b"\n\ud800', "x")
    write_coco(path, [LabelledImage("a.png", (20, 30), Labels((boxed((1, 2, 3, 4), odd),)))])
    (finding,) = labels_of(attach_labels([pictures(tmp_path, ["a.png"])], path))["a.png"]
    assert finding.category == odd


def test_a_place_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WriteError, match=r"file/coco\.json: cannot be written"):
        write_coco(tmp_path / "file" / "coco.json", [])
    (tmp_path / "folder.json").mkdir()
    with pytest.raises(WriteError, match=r"folder\.json: cannot be written"):
        write_coco(tmp_path / "folder.json", [])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder.json"]
