from pathlib import Path

import numpy as np
import pytest
from made_studies import a_slice, a_study, all_labels, labels_of, masked, pictures, said
from PIL import Image

from medvae.labels import attach_labels
from medvae.records import Category, Labels

SHAPE = (20, 30)


def saved(path: Path, values: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path, **options)
    return path


def squares() -> np.ndarray:
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[2:5, 3:7] = 1
    values[5, 7] = 1  # touches the first at a corner: one piece
    values[12:15, 3:7] = 1
    values[10:12, 20:29] = 255
    return values


def expected(values: np.ndarray) -> Labels:
    one = values == 1
    upper, lower = one.copy(), one.copy()
    upper[8:], lower[:8] = False, False
    return Labels(
        (
            masked(upper, Category("label_1")),
            masked(lower, Category("label_1")),
            masked(values == 255, Category("label_255")),
        )
    )


def test_pieces_become_findings_and_an_empty_mask_a_negative(tmp_path: Path) -> None:
    values = squares()
    saved(tmp_path / "masks/p1/1.png", values)
    saved(tmp_path / "masks/p2/1.png", values * 0)
    study = pictures(tmp_path / "images", ["p1/1.png", "p2/1.png", "p2/2.png"])
    labelled = attach_labels([study], tmp_path / "masks")
    assert labelled.format == "mask pictures"
    assert labelled.problems == ()
    assert all_labels(labelled) == [expected(values), Labels(), None]
    assert labelled.files == (tmp_path / "masks/p1/1.png", tmp_path / "masks/p2/1.png")


@pytest.mark.parametrize("name", ["a_mask.png", "a.png", "a-seg.tif", "a_Label.bmp"])
def test_one_file(tmp_path: Path, name: str) -> None:
    mask = saved(tmp_path / "masks" / name, squares())
    labelled = attach_labels([pictures(tmp_path, ["a.png", "b.png"])], mask)
    assert labels_of(labelled) == {"a.png": expected(squares()), "b.png": None}


def test_masks_among_the_pictures_are_known_by_their_names(tmp_path: Path) -> None:
    saved(tmp_path / "a.png", squares())
    saved(tmp_path / "a_mask.png", squares())
    labelled = attach_labels([pictures(tmp_path, ["a.png", "b.png"])], tmp_path)
    assert labels_of(labelled) == {"a.png": expected(squares()), "b.png": None}
    assert labelled.files == (tmp_path / "a_mask.png",)


def test_masks_that_were_opened_as_pictures_too_are_pictures_no_longer(tmp_path: Path) -> None:
    saved(tmp_path / "masks/1.png", squares())
    study = pictures(tmp_path, ["images/1.png", "masks/1.png"])
    labelled = attach_labels([study], tmp_path / "masks")
    assert all_labels(labelled) == [expected(squares())]


@pytest.mark.parametrize("mode", ["L", "P", "I", "F", "RGB", "I;16"])
def test_pictures_of_numbers_in_any_mode(tmp_path: Path, mode: str) -> None:
    values = squares()
    if mode == "I;16":
        picture = Image.fromarray(values.astype(np.uint16))
    elif mode == "P":
        picture = Image.fromarray(values, "L")
        picture.putpalette([0] * 768)
    else:
        picture = Image.fromarray(values).convert(mode)
    picture.save(tmp_path / "a_mask.tif")
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.tif")
    assert said(labelled) == []
    assert labels_of(labelled)["a.png"] == expected(values)


def test_a_mask_of_one_bit(tmp_path: Path) -> None:
    saved(tmp_path / "a_mask.png", squares() > 0)
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.png")
    assert {f.category.name for f in labels_of(labelled)["a.png"]} == {"label_1"}


def test_the_pages_of_a_mask_are_those_of_its_picture(tmp_path: Path) -> None:
    pages = [squares(), squares() * 0, squares()[::-1]]
    images = [Image.fromarray(page) for page in pages]
    images[0].save(tmp_path / "v_mask.tif", save_all=True, append_images=images[1:])
    study = a_study(*(a_slice(tmp_path / "v.tif", frame=n) for n in range(3)))
    found = all_labels(attach_labels([study], tmp_path / "v_mask.tif"))
    assert [len(labels) for labels in found] == [3, 0, 3]
    assert found[0] == expected(squares())


def broken(path: Path) -> None:
    saved(path, np.random.default_rng(0).integers(0, 9, SHAPE).astype(np.uint8))
    path.write_bytes(path.read_bytes()[:90])


@pytest.mark.parametrize(
    ("make", "problem"),
    [
        (lambda p: saved(p, squares().T), "is 30x20, its slice is 20x30: not used"),
        (
            lambda p: saved(p, np.stack([squares(), squares(), squares() * 2], axis=2)),
            "is a picture in RGB, not of numbers: not used",
        ),
        (
            lambda p: saved(p, np.stack([squares()] * 4, axis=2)),
            "is a picture in RGBA, not of numbers: not used",
        ),
        (broken, "cannot be read: "),
        (lambda p: p.write_bytes(b"none"), "cannot be read: cannot identify image file"),
    ],
)
def test_a_mask_that_cannot_be_used_is_said(tmp_path: Path, make: object, problem: str) -> None:
    make(tmp_path / "a_mask.png")
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.png")
    (found,) = said(labelled)
    assert found.startswith(f"a_mask.png: {problem}")
    assert labels_of(labelled)["a.png"] is None


def test_an_image_is_no_mask(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (90, 90)).astype(np.uint8)
    saved(tmp_path / "a_mask.png", noise)
    study = a_study(a_slice(tmp_path / "a.png", (90, 90)))
    labelled = attach_labels([study], tmp_path / "a_mask.png")
    assert said(labelled) == ["a_mask.png: has over 1000 pieces on a slice: no mask, not used"]
    assert labels_of(labelled)["a.png"] is None


def test_fractions_are_no_mask(tmp_path: Path) -> None:
    saved(tmp_path / "a_mask.tif", np.full(SHAPE, 0.5, dtype=np.float32))
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "a_mask.tif")
    assert "not whole numbers" in said(labelled)[0]


def test_a_mask_of_no_picture_is_said(tmp_path: Path) -> None:
    saved(tmp_path / "masks/z.png", squares())
    labelled = attach_labels([pictures(tmp_path, ["a.png"])], tmp_path / "masks")
    assert said(labelled) == ["z.png: 'z' matches no slice: not used"]
