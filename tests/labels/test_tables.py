from pathlib import Path

import numpy as np
import pytest
from made_studies import a_slice, a_study, all_labels, axial, boxed, labels_of, pictures, said

from medvae.errors import LabelError
from medvae.labels import Labelled, attach_labels
from medvae.records import Category, Labels, Study, pseudonym

RSNA = "patientId,x,y,width,height,Target"
VINDR = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
LUNA = "seriesuid,coordX,coordY,coordZ,diameter_mm"
PLAIN = "file,case,slice,x,y,w,h,area"

OPACITY = Category("lung opacity", "lesion")
NODULE = Category("nodule", "lesion")


def attached(folder: Path, study: Study, *lines: str) -> Labelled:
    path = folder / "table.csv"
    path.write_text("\n".join(lines) + "\n")
    return attach_labels([study], path)


def test_rsna(tmp_path: Path) -> None:
    study = a_study(
        a_slice(tmp_path / "abc-1.dcm", format="dicom"),
        a_slice(tmp_path / "x.dcm", format="dicom", uid="1.2.3"),
        a_slice(tmp_path / "c.dcm", format="dicom"),
    )
    labelled = attached(
        tmp_path, study, RSNA, "abc-1,1,2,3.5,4,1", "abc-1,5,6,7,8,1", "1.2.3,,,,,0"
    )
    assert labelled.format == "CSV (RSNA)"
    assert labels_of(labelled) == {
        "abc-1.dcm": Labels((boxed((1, 2, 4.5, 6), OPACITY), boxed((5, 6, 12, 14), OPACITY))),
        "x.dcm": Labels(),
        "c.dcm": None,
    }
    assert labelled.problems == ()


def test_rsna_pictures_are_grouped_by_patient(tmp_path: Path) -> None:
    labelled = attached(
        tmp_path, pictures(tmp_path, ["a.png", "b.png"]), RSNA, "a,,,,,0", "b,,,,,0"
    )
    assert [study.group for study in labelled.studies] == [
        pseudonym("patient", "a"),
        pseudonym("patient", "b"),
    ]


def test_vindr(tmp_path: Path) -> None:
    labelled = attached(
        tmp_path,
        pictures(tmp_path, ["a.png", "b.png", "c.png"]),
        VINDR,
        "a,Nodule/Mass,8,R9,1,2,3,4",
        "b,No finding,14,R9,,,,",
    )
    assert labelled.format == "CSV (VinDr)"
    assert labels_of(labelled) == {
        "a.png": Labels((boxed((1, 2, 3, 4), Category("Nodule/Mass")),)),
        "b.png": Labels(),
        "c.png": None,
    }
    assert labelled.problems == ()


def ct(path: Path) -> Study:
    """Five axial slices 2 mm apart; pixels of 2 mm down and 1 mm across."""
    return a_study(
        *(
            axial(path / f"{n}.dcm", 2.0 * n, format="dicom", uid=f"1.2.{n}", series_uid="1.9.8")
            for n in range(5)
        )
    )


def test_luna_spheres_are_cut_by_each_slice_at_its_chord(tmp_path: Path) -> None:
    labelled = attached(tmp_path, ct(tmp_path), LUNA, "1.9.8,5.0,-6.0,3.0,6.0")
    assert labelled.format == "CSV (LUNA16)"
    x, y = 5.0 + 10 + 0.5, (-6.0 + 20) / 2 + 0.5
    for n, labels in enumerate(all_labels(labelled)):
        distance = 2.0 * n - 3.0
        if abs(distance) >= 3:
            assert labels == Labels()
            continue
        chord = (9 - distance**2) ** 0.5
        (finding,) = labels
        assert finding.category == NODULE
        expected = (x - chord, y - chord / 2, x + chord, y + chord / 2)
        np.testing.assert_allclose(finding.box, expected, atol=1e-9)


def test_luna_series_by_the_stem_of_their_volume(tmp_path: Path) -> None:
    name = "1.3.6.1.4.1.14519.5.2.1.6279.6001.1"
    slices = (
        axial(tmp_path / f"{name}.mhd", 2.0 * n, format="itk", frame=n, uid="f1") for n in range(3)
    )
    labelled = attached(tmp_path, a_study(*slices), LUNA, f"{name},5,-6,2.0,1.0")
    assert [len(labels) for labels in all_labels(labelled)] == [0, 1, 0]


@pytest.mark.parametrize("category", ["", ",category"])
def test_plain_boxes(tmp_path: Path, category: str) -> None:
    named = ",cyst" if category else ""
    labelled = attached(
        tmp_path,
        pictures(tmp_path, ["p1/1.png", "p2/2.png", "p2/3.png"]),
        PLAIN + category,
        f"p1/1.png,p1,1,1,2,3,4,12{named}",
        f"p2/2.png,p2,2,,,,,{named}",
    )
    assert labelled.format == "CSV (boxes)"
    assert labels_of(labelled) == {
        "1.png": Labels((boxed((1, 2, 4, 6), Category("cyst" if category else "finding")),)),
        "2.png": Labels(),
        "3.png": None,
    }
    groups = [(study.group, study.group_from) for study in labelled.studies]
    assert groups == [
        (pseudonym("patient", "p1"), "label record's `case`"),
        (pseudonym("patient", "p2"), "label record's `case`"),
        ("group", "folder"),
    ]


def test_plain_boxes_on_a_frame(tmp_path: Path) -> None:
    slices = (a_slice(tmp_path / "v.dcm", format="dicom", frame=n) for n in range(3))
    labelled = attached(tmp_path, a_study(*slices), "file,frame,x,y,w,h", "v.dcm,2,1,2,3,4")
    assert all_labels(labelled) == [
        None,
        None,
        Labels((boxed((1, 2, 4, 6), Category("finding")),)),
    ]


@pytest.mark.parametrize(
    ("header", "row", "problem"),
    [
        (RSNA, "a,1,2,3,4,yes", "`Target` must be 0 or 1 but is 'yes'; ignored"),
        (RSNA, "a,1,2,3,,1", "`height` must be a number but is ''; ignored"),
        (RSNA, ",1,2,3,4,1", "has no `patientId`; ignored"),
        (RSNA, "a,1,2,3,4", "has too few or too many values for the columns; ignored"),
        (RSNA, "a,1,2,3,4,1,9", "has too few or too many values for the columns; ignored"),
        (RSNA, "z,1,2,3,4,1", "'z' matches no slice; ignored"),
        (VINDR, "a,Mass,8,R9,1,2,NaN,4", "its box is not finite; ignored"),
        (VINDR, "a,,8,R9,1,2,3,4", "has no `class_name`; ignored"),
        (PLAIN, "a.png,,,-9,2,3,4,", "its box lies outside the slice of 20x30; ignored"),
        (PLAIN, "a.png,,,1,2,3,abc,", "`h` must be a number but is 'abc'; ignored"),
        (LUNA, "7.7,1,2,3,4", "'7.7' matches no slice; ignored"),
        (LUNA, "1.9.8,1,2,300,4", "intersects no slice of its series; ignored"),
        (LUNA, "1.9.8,1,2,x,4", "`coordZ` must be a number but is 'x'; ignored"),
        (LUNA, "1.9.8,1,2,1e300,4", "lies too far away to be in a patient; ignored"),
        (LUNA, "1.9.8,1,2,nan,4", "lies too far away to be in a patient; ignored"),
        (LUNA, "1.9.8,1,2,3,-4", "intersects no slice of its series; ignored"),
        ("file,frame,x,y,w,h", "a.png,x,1,2,3,4", "`frame` must be 0 or more but is 'x'; ignored"),
    ],
)
def test_a_row_that_cannot_be_used_is_said_and_makes_no_negative(
    tmp_path: Path, header: str, row: str, problem: str
) -> None:
    study = a_study(a_slice(tmp_path / "a.png"), *ct(tmp_path).slices)
    labelled = attached(tmp_path, study, header, row)
    assert said(labelled) == [f"table.csv, line 2: {problem}"]
    assert set(all_labels(labelled)) == {None}


def test_a_sphere_over_the_edge_is_cut_and_said(tmp_path: Path) -> None:
    labelled = attached(tmp_path, ct(tmp_path), LUNA, "1.9.8,-10,-6,0,3")
    assert said(labelled) == ["table.csv, line 2: extends beyond the edge of the slice; cropped"]
    (finding,) = all_labels(labelled)[0]
    np.testing.assert_allclose(finding.box, (0, 6.75, 2, 8.25))


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"a,b\n1,2\n", "its columns are those of no known table"),
        (b"", "its columns are those of no known table"),
        (b"\xff\xfe", "is not text in UTF-8"),
        (b"file,x,y,w,h\n" + b"1" * 200_000, "is not CSV: field larger"),
    ],
)
def test_a_table_that_cannot_be_read_gives_one_line(
    tmp_path: Path, content: bytes, what: str
) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(LabelError, match=what):
        attach_labels([], path)


def test_a_byte_order_mark_and_windows_line_ends_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(b"\xef\xbb\xbffile, x, y, w, h\r\na.png, 1, 2, 3, 4\r\n")
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], path)
    assert len(labels_of(labelled)["a.png"]) == 1


@pytest.mark.parametrize(
    ("columns", "values", "name"),
    [
        ("class", "cyst", "cyst"),
        ("class_name", "cyst", "cyst"),
        ("label", "cyst", "cyst"),
        ("label,class_name,class", "a,b,c", "c"),
        ("label,category", "a,b", "b"),
        ("category,label", ",a", "a"),
        ("label", "", "finding"),
    ],
)
def test_the_category_of_a_plain_box_is_in_the_first_column_that_is_there(
    tmp_path: Path, columns: str, values: str, name: str
) -> None:
    labelled = attached(
        tmp_path,
        pictures(tmp_path, ["a.png"]),
        f"file,x,y,w,h,{columns}",
        f"a.png,1,2,3,4,{values}",
    )
    assert labels_of(labelled)["a.png"] == Labels((boxed((1, 2, 4, 6), Category(name)),))


@pytest.mark.parametrize(
    ("row", "known"),
    [
        ("z.png,,1,2,3,4", ["b.png", "p1/a.png", "v 0"]),
        (",,1,2,3,4", []),
        ("p1/a.png,,1,2,3", []),
        ("a.png,,1,2,3,4", ["b.png", "v 0"]),
        ("v.dcm,,1,2,3,4", ["b.png", "p1/a.png"]),
        ("v.dcm,x,1,2,3,4", ["b.png", "p1/a.png"]),
    ],
)
def test_a_row_without_a_slice_leaves_none_that_it_may_mean_known_to_be_empty(
    tmp_path: Path, row: str, known: list[str]
) -> None:
    slices = {name: a_slice(tmp_path / name) for name in ("p1/a.png", "p2/a.png", "b.png")}
    frames = {f"v {n}": a_slice(tmp_path / "v.dcm", format="dicom", frame=n) for n in range(2)}
    study = a_study(*slices.values(), *frames.values())
    empty = [f"{name},," for name in ("p1/a.png,", "b.png,", "v.dcm,0")]
    labelled = attached(tmp_path, study, "file,frame,x,y,w,h", *(f"{e},," for e in empty), row)
    found = dict(zip((*slices, *frames), all_labels(labelled), strict=True))
    assert sorted(name for name, labels in found.items() if labels == Labels()) == known
    assert said(labelled)[0].startswith("table.csv, line 5: ")


def test_a_target_that_cannot_be_read_leaves_its_slice_not_known_to_be_empty(
    tmp_path: Path,
) -> None:
    labelled = attached(tmp_path, pictures(tmp_path, ["a.png"]), RSNA, "a,,,,,0", "a,1,2,3,4,1.0")
    assert labels_of(labelled) == {"a.png": None}
