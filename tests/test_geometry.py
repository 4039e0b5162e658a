"""Boxes on slices, planes in the patient, and affines of volumes."""

from dataclasses import replace

import numpy as np
import pytest

from medvae.geometry import (
    Box,
    Geometry,
    in_plane_axes,
    planes_of_volume,
    slice_axis,
    swap_lps_ras,
)
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


AXIAL = Geometry((0.5, 0.25), (10.0, 20.0, 30.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), 4.0)
TILTED = Geometry((2.0, 3.0), (-1.0, 5.0, 7.0), (0.0, 0.6, -0.8), (1.0, 0.0, 0.0))


class TestPlanes:
    @pytest.mark.parametrize("plane", [AXIAL, TILTED])
    def test_the_affine_leads_from_pixels_to_positions(self, plane: Geometry) -> None:
        affine = plane.affine(depth=5)
        assert affine is not None
        column, row = 7, 11
        expected = (
            np.array(plane.position)
            + column * plane.spacing[1] * np.array(plane.along_row)
            + row * plane.spacing[0] * np.array(plane.along_column)
        )
        np.testing.assert_allclose(affine @ (column, row, 0, 1), [*expected, 1])
        np.testing.assert_allclose(
            affine @ (0, 0, 1, 1) - affine @ (0, 0, 0, 1), [*(5 * np.array(plane.normal)), 0]
        )

    @pytest.mark.parametrize("plane", [AXIAL, TILTED])
    def test_the_normal_is_the_cross_product(self, plane: Geometry) -> None:
        assert plane.normal == pytest.approx(np.cross(plane.along_row, plane.along_column))

    @pytest.mark.parametrize("missing", ["spacing", "position", "along_row", "along_column"])
    def test_an_incomplete_plane_has_no_affine(self, missing: str) -> None:
        assert replace(AXIAL, **{missing: None}).affine() is None

    def test_parallel_axes_span_no_plane(self) -> None:
        assert replace(AXIAL, along_column=AXIAL.along_row).affine() is None

    def test_from_lps_to_ras_and_back(self) -> None:
        affine = TILTED.affine()
        assert affine is not None
        swapped = swap_lps_ras(affine)
        np.testing.assert_array_equal(swapped[:3, 3], (1.0, -5.0, 7.0))
        np.testing.assert_array_equal(swap_lps_ras(swapped), affine)


class TestVolumes:
    @pytest.mark.parametrize(
        ("shape", "sizes", "stated", "axis"),
        [
            ((64, 64, 20), (1.0, 1.0, 5.0), None, 2),
            ((64, 20, 64), (1.0, 5.0, 1.0), None, 1),
            ((64, 64, 20), (1.0, 1.0, 5.0), 0, 0),
            ((64, 1, 64), (1.0, 1.0, 5.0), 0, 1),
            ((64, 64, 64), (1.0, 1.0, 1.0), None, 2),
        ],
        ids=["axial", "coronal", "stated", "a single slice", "isotropic"],
    )
    def test_the_axis_through_the_slices(
        self,
        shape: tuple[int, ...],
        sizes: tuple[float, ...],
        stated: int | None,
        axis: int,
    ) -> None:
        assert slice_axis(shape, np.diag([*sizes, 1.0]), stated) == axis

    @pytest.mark.parametrize("axis", [0, 1, 2])
    def test_planes_are_those_of_the_voxels(self, axis: int) -> None:
        affine = np.diag([2.0, 3.0, 4.0, 1.0])
        affine[:3, 3] = (5, 6, 7)
        planes = planes_of_volume(affine, axis, 3)
        across, down = in_plane_axes(affine, axis)
        for index, plane in enumerate(planes):
            own = plane.affine()
            assert own is not None
            voxel = np.zeros(4)
            voxel[[across, down, axis, 3]] = (8, 9, index, 1)
            np.testing.assert_allclose(own @ (8, 9, 0, 1), affine @ voxel)
            assert plane.thickness == affine[axis, axis]
