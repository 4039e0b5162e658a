"""What of a folder of labels is read, and what is said of the rest."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_studies import all_labels, boxed, labels_of, pictures, said
from PIL import Image

from medvae.errors import LabelError
from medvae.labels import attach_labels
from medvae.records import Category, Labels

IN_DOUBT = (
    "masks: some of its records may belong to any slice, so "
    "the 1 slices without findings are not treated as empty"
)


def mask(path: Path, area: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.zeros((20, 30), dtype=np.uint8)
    values[4, 5 : 5 + area] = 1
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Masks of a finding and of an empty slice."""
    mask(tmp_path / "masks/p1/a.png")
    mask(tmp_path / "masks/p1/b.png", area=0)
    return tmp_path / "masks"


def the_study(folder: Path, *more: str) -> list:
    names = ["p1/a.png", "p1/b.png", *more]
    return [pictures(folder.parent / "images", names)]


def findings(folder: Path, *more: str) -> list[int | None]:
    """How many findings each picture has; None where it is not known."""
    labelled = attach_labels(the_study(folder, *more), folder)
    return [None if labels is None else len(labels) for labels in all_labels(labelled)]


def test_linked_folders_are_followed(tmp_path: Path, folder: Path) -> None:
    mask(tmp_path / "elsewhere/c.png", area=2)
    (folder / "p2").symlink_to(tmp_path / "elsewhere")
    assert findings(folder, "p2/c.png") == [1, 0, 1]


def test_a_folder_of_nothing_but_links(tmp_path: Path, folder: Path) -> None:
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "p1").symlink_to(folder / "p1")
    assert findings(tmp_path / "linked") == [1, 0]


def test_a_loop_ends_and_is_told(folder: Path) -> None:
    (folder / "p1" / "again").symlink_to(folder)
    labelled = attach_labels(the_study(folder), folder)
    assert said(labelled) == [f"p1/again: is the same folder as {folder}, which was found before"]
    assert findings(folder) == [1, 0]


def test_a_link_to_nowhere_is_told_and_leaves_nothing_known_to_be_empty(folder: Path) -> None:
    (folder / "p2").symlink_to(folder / "not there")
    labelled = attach_labels(the_study(folder), folder)
    assert said(labelled) == ["p2: is a broken link", IN_DOUBT]
    assert findings(folder) == [1, None]


def unprivileged() -> list[str]:
    """What a command begins with that must not read everything."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("the superuser may read everything")
    return ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]


def inspected(images: Path, labels: Path) -> subprocess.CompletedProcess[str]:
    command = [*unprivileged(), sys.executable, "-m", "medvae_cli.main", "inspect"]
    return subprocess.run(
        [*command, str(images), "--labels", str(labels)], capture_output=True, text=True
    )


@pytest.mark.slow
def test_what_cannot_be_read_is_told(folder: Path) -> None:
    for name in ("p1/a.png", "p1/b.png", "p2/c.png"):
        mask(folder.parent / "images" / name)
        mask(folder / name, area=0)
    (folder / "p1/a.png").chmod(0)
    (folder / "p2").chmod(0)
    done = inspected(folder.parent / "images", folder)
    (folder / "p2").chmod(0o700)
    assert "  not used: p2: cannot be read: Permission denied\n" in done.stdout
    assert "  not used: p1/a.png: cannot be read: [Errno 13]" in done.stdout
    assert f"  not used: {IN_DOUBT}\n" in done.stdout
    assert "0 slices are known to be empty" in done.stdout


def test_a_folder_without_labels_names_what_it_could_not_see(tmp_path: Path) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "p1").symlink_to(tmp_path / "unmounted")
    with pytest.raises(LabelError, match=r"no YOLO files.*\(p1: is a broken link"):
        attach_labels(the_study(tmp_path / "masks"), tmp_path / "masks")


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_mask_under_two_names_labels_its_slice_once(
    folder: Path, link: Callable[[Path, Path], None]
) -> None:
    again = folder / "x" / "p1" / "a.png"
    again.parent.mkdir(parents=True)
    link(again, folder / "p1" / "a.png")
    labelled = attach_labels(the_study(folder), folder)
    assert findings(folder) == [1, 0]
    first = folder / "p1" / "a.png"
    assert said(labelled) == [
        f"x/p1/a.png: is the same file as {first}, which was read before; ignored"
    ]


@pytest.mark.parametrize("link", [Path.symlink_to, Path.hardlink_to])
def test_a_file_under_the_names_of_two_slices_labels_both(
    tmp_path: Path, link: Callable[[Path, Path], None]
) -> None:
    """As in a store that keeps equal files once."""
    (tmp_path / "store").write_text("0 0.5 0.5 0.2 0.2\n")
    for name in ("a.txt", "b.txt"):
        (tmp_path / "labels").mkdir(exist_ok=True)
        link(tmp_path / "labels" / name, tmp_path / "store")
    study = pictures(tmp_path / "images", ["a.png", "b.png"])
    labelled = attach_labels([study], tmp_path / "labels")
    expected = Labels((boxed((12.0, 8.0, 18.0, 12.0), Category("class_0")),))
    assert labels_of(labelled) == {"a.png": expected, "b.png": expected}
    assert labelled.problems == ()


COCO = {
    "images": [{"id": 1, "file_name": "p1/a.png"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 3, 3]}],
    "categories": [{"id": 1, "name": "x"}],
}
DATALIST = {"training": [{"image": "p1/a.png", "box": [[1, 1, 3, 3]], "label": [0]}]}


@pytest.mark.parametrize(
    ("name", "text", "what"),
    [
        (
            "a.json",
            json.dumps(COCO)[:-1] + ', "annotations": []}',
            "'annotations' occurs twice in one of",
        ),
        (
            "a.json",
            json.dumps(COCO).replace('"bbox"', '"id": 2, "bbox"'),
            "'id' occurs twice in one of",
        ),
        (
            "a.json",
            json.dumps(DATALIST)[:-1] + ', "training": []}',
            "'training' occurs twice in one of",
        ),
        ("a.csv", "file,x,y,w,h,x\np1/a.png,1,1,3,3,9\n", "the column 'x' twice"),
        ("data.yaml", "names: {0: mass, 0: cyst}\n", "names the class 0 twice"),
    ],
)
def test_what_is_said_twice_is_refused(folder: Path, name: str, text: str, what: str) -> None:
    path = folder.parent / name
    path.write_text(text)
    if name == "data.yaml":
        (folder.parent / "a.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    with pytest.raises(LabelError, match=what):
        attach_labels(the_study(folder), folder.parent if name == "data.yaml" else path)
