"""Boxes in one file, masks in another: which box gets which mask."""

from pathlib import Path

import numpy as np
import pytest
from made_studies import LESION, ORGAN, a_slice, a_study, all_labels, boxed, pictures, said
from PIL import Image

from medvae.geometry import Box
from medvae.labels import LabelledImage, Outlines, attach_labels, write_coco
from medvae.records import Category, Finding, Labels, Mask

SHAPE = (20, 30)


def filled(box: Box, *corners: tuple[int, int]) -> Mask:
    """A mask that fills a box of whole pixels, but for some of them, as (row, column)."""
    x0, y0, x1, y1 = map(int, box)
    full = np.zeros(SHAPE, dtype=bool)
    full[y0:y1, x0:x1] = True
    for corner in corners:
        full[corner] = False
    made = Mask.of(full)
    assert made is not None
    return made


def drawn(mask: Mask, category: Category = LESION) -> Finding:
    return Finding(category, mask.box, mask)


def saved(folder: Path, name: str, *images: tuple[str, Labels]) -> Path:
    path = folder / name
    write_coco(path, [LabelledImage(file, SHAPE, labels) for file, labels in images])
    return path


def joined(folder: Path, boxes: list[Finding], masks: list[Finding]) -> tuple[Labels, list[str]]:
    labels = saved(folder, "boxes.json", ("a.png", Labels(tuple(boxes))))
    outlines = saved(folder, "masks.json", ("a.png", Labels(tuple(masks))))
    labelled = attach_labels([pictures(folder, ["a.png"])], labels, outlines)
    (found,) = all_labels(labelled)
    assert found is not None
    return found, said(labelled)


def test_a_box_gets_the_mask_in_it_and_follows_it(tmp_path: Path) -> None:
    mask = filled((5, 5, 10, 9), (5, 5))
    outlined = drawn(mask, Category("label_1"))
    found, problems = joined(tmp_path, [boxed((4, 4, 10, 9))], [outlined])
    assert found == Labels((Finding(LESION, Box(5.0, 5.0, 10.0, 9.0), mask),))
    assert problems == []


def test_what_overlaps_by_less_than_half_stays_apart(tmp_path: Path) -> None:
    box = boxed((0.0, 0.0, 10.0, 10.0))
    found, problems = joined(tmp_path, [box], [drawn(filled((0, 0, 10, 4)))])
    assert found == Labels((box,))
    assert problems == [
        "masks.json, slice 0 of a.png: a mask matches no box of the labels; ignored"
    ]


def test_no_mask_is_given_to_two_boxes(tmp_path: Path) -> None:
    """Each box overlaps the first mask best, and only one of them may have it."""
    first, second = filled((0, 0, 10, 10)), filled((0, 0, 10, 6))
    boxes = [boxed((0.0, 0.0, 10.0, 9.0)), boxed((0.0, 0.0, 10.0, 8.5))]
    found, problems = joined(tmp_path, boxes, [drawn(first), drawn(second)])
    assert [finding.mask for finding in found] == [first, second]
    assert problems == []
    found, _ = joined(tmp_path, boxes, [drawn(first)])
    assert [finding.mask for finding in found] == [first, None]


def test_of_masks_that_overlap_alike_that_of_the_same_category_is_taken(tmp_path: Path) -> None:
    box = (2.0, 2.0, 12.0, 12.0)
    whole, holed = filled(box), filled(box, (5, 5))
    boxes = [boxed(box, LESION), boxed(box, ORGAN)]
    found, _ = joined(tmp_path, boxes, [drawn(holed, ORGAN), drawn(whole, LESION)])
    assert list(found) == [drawn(whole, LESION), drawn(holed, ORGAN)]


def test_the_labels_say_what_is_empty_and_what_is_not_known(tmp_path: Path) -> None:
    mask = drawn(filled((1, 1, 5, 5)))
    labels = saved(tmp_path, "boxes.json", ("a.png", Labels()))
    outlines = saved(tmp_path, "masks.json", ("a.png", Labels()), ("b.png", Labels((mask, mask))))
    labelled = attach_labels([pictures(tmp_path, ["a.png", "b.png"])], labels, outlines)
    assert all_labels(labelled) == [Labels(), None]
    assert said(labelled) == [
        "masks.json, slice 0 of b.png: 2 masks match no box of the labels; ignored"
    ]


def test_files_of_masks_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "drawn").mkdir()
    values = np.zeros(SHAPE, dtype=np.uint8)
    values[5:9, 5:10] = 1
    Image.fromarray(values).save(tmp_path / "drawn" / "a.png")
    labels = saved(tmp_path, "boxes.json", ("images/a.png", Labels((boxed((5, 5, 10, 10)),))))
    study = pictures(tmp_path, ["images/a.png", "drawn/a.png"])
    labelled = attach_labels([study], labels, tmp_path / "drawn")
    assert all_labels(labelled) == [Labels((drawn(filled((5, 5, 10, 9))),))]
    files = (tmp_path / "drawn" / "a.png",)
    assert labelled.outlines == Outlines("mask pictures", files, boxes=1, masks=1)
    assert labelled.files == (labels,)


def test_patients_are_those_of_the_labels(tmp_path: Path) -> None:
    labels = tmp_path / "boxes.csv"
    labels.write_text("file,x,y,w,h,patient\na.png,1,1,4,4,smith\n")
    outlines = tmp_path / "masks.json"
    mask = drawn(filled((1, 1, 5, 5)))
    images = [LabelledImage("a.png", SHAPE, Labels((mask,)), group="jones")]
    write_coco(outlines, images)
    study = a_study(a_slice(tmp_path / "a.png", SHAPE))
    (expected,) = attach_labels([study], labels).studies
    (found,) = attach_labels([study], labels, outlines).studies
    assert found.group == expected.group
    assert [s.labels and s.labels.findings[0].mask for s in found.slices] == [mask.mask]


@pytest.mark.parametrize("count", [1, 3])
def test_outlines_without_masks_are_told(tmp_path: Path, count: int) -> None:
    box = boxed((1.0, 1.0, 5.0, 5.0))
    found, problems = joined(tmp_path, [box], [box] * count)
    assert found == Labels((box,))
    assert problems == [f"masks.json: {count} of its findings have no mask; ignored"]
