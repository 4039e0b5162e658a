from pathlib import Path

import pytest
from made_studies import LESION, boxed, labels_of, pictures, said

from medvae.errors import LabelError, WriteError
from medvae.labels import LabelledImage, attach_labels, write_yolo
from medvae.records import Category, Labels

LINE = "0 0.5 0.5 0.2 0.5\n"
BOX = (12.0, 5.0, 18.0, 15.0)


def written(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/")
        path = path.with_name(f"{path.name}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("pictures_in", "labels_in", "given"),
    [
        ("ds", "ds", "ds"),
        ("ds/images", "ds/labels", "ds/labels"),
        ("ds/images", "ds/labels", "ds"),
        ("ds/images/train", "ds/labels/train", "ds"),
        ("ds/images/train", "ds/labels/train", "ds/labels"),
        ("ds/images/train", "ds/labels/train", "ds/labels/train"),
        ("ds/pictures", "boxes", "boxes"),
    ],
)
def test_boxes_beside_and_parallel_to_the_pictures(
    tmp_path: Path, pictures_in: str, labels_in: str, given: str
) -> None:
    written(tmp_path / labels_in, a=LINE, b="")
    study = pictures(tmp_path / pictures_in, ["a.png", "b.png", "c.png"])
    labelled = attach_labels([study], tmp_path / given)
    assert labelled.problems == ()
    assert labelled.format == "YOLO"
    assert labels_of(labelled) == {
        "a.png": Labels((boxed(BOX, Category("class_0")),)),
        "b.png": Labels(),
        "c.png": None,
    }


def test_one_file_labels_one_picture(tmp_path: Path) -> None:
    written(tmp_path, a=LINE, b=LINE)
    labels = labels_of(attach_labels([pictures(tmp_path, ["a.png", "b.png"])], tmp_path / "a.txt"))
    assert len(labels["a.png"]) == 1
    assert labels["b.png"] is None


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("classes.txt", "cyst\nglioma\n"),
        ("obj.names", "cyst\r\nglioma"),
        ("data.yaml", "train: x\nnames: [cyst, 'glioma']\nnc: 2\n"),
        ("data.yaml", "names: {0: cyst, 1: glioma}\n"),
        ("data.yaml", "names:\n  - 'cyst'\n  - glioma # bad\nnc: 2\n"),
        ("data.yaml", 'nc: 2\nnames:\n  0: cyst\n  1: "glioma"\n'),
        ("data.yaml", "names: ['cyst, [x]', \"glioma\"]\n"),
        ("data.yaml", "names:\n- cyst\n- glioma"),
        ("data.yaml", "names:\n  - can't, [tell]\n  - glioma\nnc: 2\n"),
        ("data.yaml", "names: [\n  cyst,\n  glioma\n]\nnc: 2\n"),
    ],
)
@pytest.mark.parametrize("place", ["labels", "."])
def test_classes_are_named(tmp_path: Path, name: str, text: str, place: str) -> None:
    folder = written(tmp_path / "labels", a=LINE.replace("0", "1", 1))
    (tmp_path / place / name).write_bytes(text.encode())
    labelled = attach_labels([pictures(tmp_path / "images", ["a.png"])], folder)
    assert labels_of(labelled)["a.png"] == Labels((boxed(BOX, Category("glioma")),))
    assert set(labelled.files) == {folder / "a.txt", tmp_path / place / name}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("names: [cyst", "is not YAML"),
        (f"names: {'[' * 5000}", "is not YAML"),
        ("names: [[cyst], glioma]", "the name of class 0 is not text"),
        ("names: {first: cyst}", "`names` must be a list, or have numbers from 0"),
        (f"names: {{{'9' * 20}: cyst}}", "`names` must be a list, or have numbers from 0"),
    ],
)
def test_damaged_class_names_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    folder = written(tmp_path / "labels", a=LINE)
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(LabelError, match=f"data.yaml: {problem}"):
        attach_labels([pictures(tmp_path / "images", ["a.png"])], folder)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("0 0.5 0.5 0.2", "is not `class xc yc w h`; ignored"),
        ("0 0.5 0.5 0.2 0.5 0.9", "is not `class xc yc w h`; ignored"),
        ("lesion 0.5 0.5 0.2 0.5", "is not `class xc yc w h`; ignored"),
        (f"{'9' * 5000} 0.5 0.5 0.2 0.5", "is not `class xc yc w h`; ignored"),
        ("1 0.5 0.5 0.2 0.5", "its class 1 has no name; ignored"),
        ("-1 0.5 0.5 0.2 0.5", "its class -1 has no name; ignored"),
        ("0 nan 0.5 0.2 0.5", "its box is not finite; ignored"),
        ("0 0.5 0.5 0 0.5", "its box has no area; ignored"),
        ("0 1.5 0.5 0.2 0.5", "its box lies outside the slice of 20x30; ignored"),
    ],
)
def test_a_line_that_cannot_be_used_makes_no_negative(
    tmp_path: Path, line: str, problem: str
) -> None:
    written(tmp_path, a=f"\n{line}\n", classes="glioma\n")
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a.txt")
    assert said(labelled) == [f"a.txt, line 2: {problem}"]
    assert labels_of(labelled)["a.png"] is None


def test_a_box_over_the_edge_is_cut_and_said(tmp_path: Path) -> None:
    written(tmp_path, a="0 0.0 0.5 0.2 0.5\n")
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path)
    assert said(labelled) == ["a.txt, line 1: extends beyond the edge of the slice; cropped"]
    assert labels_of(labelled)["a.png"].boxes.tolist() == [[0, 5, 3, 15]]


def test_files_of_no_picture_and_files_that_are_no_text_are_said(tmp_path: Path) -> None:
    written(tmp_path, a=LINE, z=LINE)
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe0 0.5")
    labelled = attach_labels([pictures(tmp_path, ["a.png", "b.png"])], tmp_path)
    assert said(labelled) == [
        "b.txt: is not text; ignored",
        "z.txt: 'z' matches no slice; ignored",
    ]
    assert labels_of(labelled)["b.png"] is None


def test_names_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    written(tmp_path, a=LINE)
    (tmp_path / "classes.txt").write_bytes(b"\xff")
    with pytest.raises(LabelError, match=r"classes\.txt: is not text"):
        attach_labels([pictures(tmp_path, ["a.png"])], tmp_path)


def test_what_is_written_is_yolo(tmp_path: Path) -> None:
    images = [
        LabelledImage("images/p1/a.png", (20, 30), Labels((boxed(BOX, LESION),))),
        LabelledImage("images/p1/b.nii.gz", (20, 30), Labels()),
    ]
    write_yolo(tmp_path, images)
    files = {p.relative_to(tmp_path).as_posix(): p.read_text() for p in tmp_path.rglob("*.txt")}
    assert files == {
        "classes.txt": "glioma\n",
        "images/p1/a.txt": "0 0.5000000000 0.5000000000 0.2000000000 0.5000000000\n",
        "images/p1/b.txt": "",
    }


@pytest.mark.parametrize("names", [("a.png", "a.jpg"), ("classes.png",)])
def test_two_images_never_share_a_file(tmp_path: Path, names: tuple[str, ...]) -> None:
    images = [LabelledImage(name, (20, 30), Labels()) for name in names]
    with pytest.raises(WriteError, match=f"{names[0].split('.')[0]}.txt: would hold both"):
        write_yolo(tmp_path, images)
    assert not list(tmp_path.iterdir())
