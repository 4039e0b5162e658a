import tempfile
from collections.abc import Callable
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_studies import LESION, ORGAN, all_labels, pictures

from medvae.geometry import Box
from medvae.labels import (
    LabelledImage,
    attach_labels,
    write_coco,
    write_datalist,
    write_yolo,
)
from medvae.records import Category, Finding, Labels, Mask, Study

NAMES = ("p1/001.png", "p1/002.png", "p2/001.png")
SHAPE = (37, 61)

WRITERS: dict[str, tuple[Callable[..., None], str]] = {
    "COCO": (write_coco, "labels.json"),
    "MONAI datalist": (write_datalist, "datalist.json"),
    "YOLO": (write_yolo, "labels"),
}

categories = st.sampled_from((LESION, ORGAN, Category("büro, 'x'", "")))


@st.composite
def boxes(draw: st.DrawFn) -> Finding:
    rows, columns = SHAPE
    x0 = draw(st.floats(0, columns - 1))
    y0 = draw(st.floats(0, rows - 1))
    x1 = draw(st.floats(x0 + 0.05, columns))
    y1 = draw(st.floats(y0 + 0.05, rows))
    return Finding(draw(categories), Box(x0, y0, x1, y1))


@st.composite
def masks(draw: st.DrawFn) -> Finding:
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = Mask.of(random.random(SHAPE) < draw(st.floats(0.001, 1)))
    if mask is None:
        mask = Mask(0, 0, np.ones((1, 1), dtype=np.bool_))
    return Finding(draw(categories), mask.box, mask)


findings = st.lists(st.one_of(boxes(), masks()), max_size=4).map(lambda f: Labels(tuple(f)))
label_sets = st.tuples(findings, findings, findings)


def written_and_read(kind: str, labels: tuple[Labels, ...]) -> tuple[Labels, ...]:
    """Write labels, and attach what was written to slices that have none."""
    write, name = WRITERS[kind]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        images = [LabelledImage(f, SHAPE, found) for f, found in zip(NAMES, labels, strict=True)]
        write(root / name, images)
        labelled = attach_labels([slices(root)], root / name)
    assert labelled.problems == ()
    assert labelled.format == kind
    return tuple(all_labels(labelled))


def slices(root: Path) -> Study:
    return pictures(root, NAMES, SHAPE)


def assert_same(before: tuple[Labels, ...], after: tuple[Labels, ...]) -> None:
    for one, other in zip(before, after, strict=True):
        assert [f.category.name for f in one] == [f.category.name for f in other]
        np.testing.assert_allclose(one.boxes, other.boxes, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("first", "second"), list(permutations(WRITERS, 2)))
@given(labels=label_sets)
@settings(max_examples=25, deadline=None)
def test_boxes_survive_from_format_to_format(
    first: str, second: str, labels: tuple[Labels, ...]
) -> None:
    once = written_and_read(first, labels)
    assert_same(labels, once)
    assert_same(labels, written_and_read(second, once))


@given(labels=label_sets)
@settings(max_examples=25, deadline=None)
def test_masks_and_categories_survive_coco_exactly(labels: tuple[Labels, ...]) -> None:
    for before, after in zip(labels, written_and_read("COCO", labels), strict=True):
        assert [(f.category, f.mask) for f in before] == [(f.category, f.mask) for f in after]


@given(labels=label_sets)
@settings(max_examples=25, deadline=None)
def test_supercategories_survive_a_datalist(labels: tuple[Labels, ...]) -> None:
    for before, after in zip(labels, written_and_read("MONAI datalist", labels), strict=True):
        assert [f.category for f in before] == [f.category for f in after]


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_labels_give_the_same_bytes(kind: str, tmp_path: Path) -> None:
    write, name = WRITERS[kind]
    labels = Labels((Finding(ORGAN, Box(1, 2, 3, 4)), Finding(LESION, Box(0.1, 0.2, 0.7, 5))))
    images = [LabelledImage("a.png", SHAPE, labels), LabelledImage("b.png", SHAPE, Labels())]
    found = []
    for place in (tmp_path / "one", tmp_path / "two"):
        write(place / name, images)
        files = sorted(p for p in place.rglob("*") if p.is_file())
        found.append([(p.relative_to(place), p.read_bytes()) for p in files])
    assert found[0] == found[1]
    assert not [path for path, _ in found[0] if path.name.endswith(".part")]
