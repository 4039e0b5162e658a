"""Boxes on slices."""

import numpy as np
import pytest

from medvae.geometry import Box
from medvae.records import Category, Finding, Mask

BOX = Box(1, 2, 4, 8)


class TestBoxes:
    def test_sides_and_area(self) -> None:
        assert (BOX.width, BOX.height, BOX.area) == (3, 6, 18)

    @pytest.mark.parametrize(
        ("other", "expected"),
        [
            (BOX, 1.0),
            (Box(1, 2, 4, 5), 0.5),
            (Box(2.5, 2, 5.5, 8), 1 / 3),
            (Box(4, 2, 7, 8), 0.0),
            (Box(10, 20, 30, 40), 0.0),
            (Box(2, 3, 2, 3), 0.0),
        ],
        ids=["itself", "half", "shifted", "edge in common", "elsewhere", "empty"],
    )
    def test_intersection_over_union(self, other: Box, expected: float) -> None:
        assert BOX.iou(other) == other.iou(BOX) == pytest.approx(expected)

    def test_two_empty_boxes_have_nothing_in_common(self) -> None:
        assert Box(1, 1, 1, 1).iou(Box(1, 1, 1, 1)) == 0


class TestFindings:
    def test_the_area_is_that_of_the_mask_if_there_is_one(self) -> None:
        mask = Mask.of(np.eye(5))
        assert mask is not None
        assert Finding(Category("lesion"), mask.box).area == 25
        assert Finding(Category("lesion"), mask.box, mask).area == 5

    def test_a_finding_accepts_only_a_box(self) -> None:
        with pytest.raises(TypeError, match="must be a Box, not \\(1, 2, 3, 4\\)"):
            Finding(Category("lesion"), (1, 2, 3, 4))  # type: ignore[arg-type]
