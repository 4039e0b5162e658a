from pathlib import Path

import pytest
from made_studies import LESION, a_slice, a_study, all_labels, boxed, pictures, said

from medvae.labels import LabelledImage, attach_labels, write_coco
from medvae.records import Labels

LABELS = Labels((boxed((1, 2, 3, 4), LESION),))


def labelled_as(folder: Path, name: str, *, files: list[str]) -> tuple[list[str], list[str]]:
    """Label an image of this name; return the files that got labels, and what was said."""
    path = folder / "labels" / "coco.json"
    write_coco(path, [LabelledImage(name, (20, 30), LABELS)])
    study = pictures(folder, files)
    labelled = attach_labels([study], path)
    found = [n for n, labels in zip(files, all_labels(labelled), strict=True) if labels]
    return found, said(labelled)


@pytest.mark.parametrize(
    ("name", "files", "found"),
    [
        # Relative to the label file.
        ("a.png", ["labels/a.png", "x/a.png"], ["labels/a.png"]),
        ("../x/a.png", ["labels/a.png", "x/a.png"], ["x/a.png"]),
        # By the longest end of the path.
        ("p1/a.png", ["x/p1/a.png", "x/p2/a.png"], ["x/p1/a.png"]),
        ("train/p1/a.png", ["x/p1/a.png", "x/p2/a.png"], ["x/p1/a.png"]),
        ("train\\p1\\a.png", ["x/p1/a.png", "x/p2/a.png"], ["x/p1/a.png"]),
        ("/home/someone/x/p1/a.png", ["x/p1/a.png", "y/p1/a.png"], ["x/p1/a.png"]),
        # By the stem.
        ("a.png", ["x/a.png", "x/b.png"], ["x/a.png"]),
        ("a", ["x/a.nii.gz", "x/b.png"], ["x/a.nii.gz"]),
        ("p1/a.png", ["x/p1/a.dcm", "x/p2/a.dcm"], ["x/p1/a.dcm"]),
        ("a.png", ["x/a.png", "x/a.dcm"], ["x/a.png"]),
        ("1.2.840.10", ["1.2.840.10.dcm", "1.2.840.11.dcm"], ["1.2.840.10.dcm"]),
    ],
)
def test_images_are_found(tmp_path: Path, name: str, files: list[str], found: list[str]) -> None:
    assert labelled_as(tmp_path, name, files=files) == (found, [])


@pytest.mark.parametrize(
    ("name", "files", "problem"),
    [
        ("z.png", ["x/a.png"], "'z.png' matches no slice; ignored"),
        # Another patient's first slice is not this one's.
        ("p3/a.png", ["x/p1/a.png"], "'p3/a.png' matches no slice; ignored"),
        ("A.png", ["x/a.png"], "'A.png' matches no slice; ignored"),
        ("a.png", ["x/a.png", "y/a.png"], "'a.png' matches 2 files equally well; ignored"),
        ("a", ["x/a.png", "x/a.dcm"], "'a' matches 2 files equally well; ignored"),
        (
            "p1/a.png",
            ["x/p1/a.png", "y/p1/a.png"],
            "'p1/a.png' matches 2 files equally well; ignored",
        ),
        ("..", ["x/a.png"], "'..' matches no slice; ignored"),
        ("a\0.png", ["x/a.png"], "'a\\x00.png' matches no slice; ignored"),
    ],
)
def test_what_may_be_another_image_is_not_guessed(
    tmp_path: Path, name: str, files: list[str], problem: str
) -> None:
    found, what = labelled_as(tmp_path, name, files=files)
    assert found == []
    assert what == [f"coco.json, image 1: {problem}"]


def test_a_key_goes_before_a_uid_and_a_uid_before_a_path(tmp_path: Path) -> None:
    study = a_study(
        a_slice(tmp_path / "a.dcm", key="k", uid="1.2.1"),
        a_slice(tmp_path / "b.dcm", uid="1.2.2"),
        a_slice(tmp_path / "1.2.2.dcm", uid="1.2.3"),
    )
    path = tmp_path / "coco.json"
    write_coco(path, [LabelledImage("1.2.2.png", (20, 30), LABELS)])
    assert [bool(labels) for labels in all_labels(attach_labels([study], path))] == [0, 1, 0]
    write_coco(path, [LabelledImage("1.2.2.png", (20, 30), LABELS, key="k")])
    assert [bool(labels) for labels in all_labels(attach_labels([study], path))] == [1, 0, 0]


def test_a_key_of_two_slices_is_decided_by_the_path(tmp_path: Path) -> None:
    study = a_study(a_slice(tmp_path / "a.png", key="k"), a_slice(tmp_path / "b.png", key="k"))
    path = tmp_path / "coco.json"
    write_coco(path, [LabelledImage("b.png", (20, 30), LABELS, key="k")])
    assert [bool(labels) for labels in all_labels(attach_labels([study], path))] == [0, 1]


def test_a_file_of_several_slices_needs_a_frame(tmp_path: Path) -> None:
    study = a_study(*(a_slice(tmp_path / "v.tif", frame=n) for n in range(2)))
    path = tmp_path / "coco.json"
    write_coco(path, [LabelledImage("v.tif", (20, 30), LABELS)])
    labelled = attach_labels([study], path)
    assert said(labelled) == [
        "coco.json, image 1: refers to a file of 2 slices without a `frame`; ignored"
    ]


def test_links_keep_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "blob").write_text("")
    (tmp_path / "images" / "a.png").symlink_to(tmp_path / "blob")
    path = tmp_path / "images" / "coco.json"
    write_coco(path, [LabelledImage("a.png", (20, 30), LABELS)])
    monkeypatch.chdir(tmp_path / "images")
    labelled = attach_labels([pictures(Path("../images"), ["a.png"])], Path("coco.json"))
    assert all_labels(labelled) == [LABELS]
