"""Place slices in space: match pixels with voxels of a mask, and cut spheres and boxes by slices.

All positions are in LPS millimetres. The index of a pixel or voxel refers to its centre, so index
``i`` is at ``i + 0.5`` in edge coordinates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.geometry import Box
from medvae.labels._problem import UnusableError
from medvae.records import Slice

__all__ = ["Grid", "Placed", "solid_on", "sphere_on"]

# In voxels. Allows for rounding in headers; a larger offset would shift a mask.
_TOLERANCE = 0.1
# In millimetres. The origin of scanner coordinates is in or near the patient.
_FARTHEST = 1e5

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class _Plane:
    """Position of a slice: the centre of its first pixel, and the pixel steps in millimetres."""

    origin: Vector
    to_next_column: Vector
    to_next_row: Vector

    @classmethod
    def of(cls, slice_: Slice) -> _Plane:
        geometry = slice_.geometry
        if (
            geometry.position is None
            or geometry.along_row is None
            or geometry.along_column is None
            or geometry.spacing is None
        ):
            raise UnusableError("the slice's place in the patient is not known: not used")
        between_rows, between_columns = geometry.spacing
        return cls(
            np.array(geometry.position),
            np.array(geometry.along_row) * between_columns,
            np.array(geometry.along_column) * between_rows,
        )

    @property
    def normal(self) -> Vector:
        across = np.cross(self.to_next_column, self.to_next_row)
        unit: Vector = across / np.linalg.norm(across)
        return unit

    def pixel(self, point: Vector) -> tuple[float, float]:
        """Return the projection of a point on the slice, as (x, y) in edge coordinates."""
        offset = point - self.origin
        column = offset @ self.to_next_column / (self.to_next_column @ self.to_next_column)
        row = offset @ self.to_next_row / (self.to_next_row @ self.to_next_row)
        return float(column) + 0.5, float(row) + 0.5


@dataclass(frozen=True)
class Placed:
    """The voxels of a grid that correspond to the pixels of a slice.

    Attributes:
        axis, index: Plane of the grid in which the slice lies.
        rows, columns: Indices along the plane's own axes, in the order of the slice.
        transposed: Whether the row index runs along the later of these axes.
    """

    axis: int
    index: int
    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    transposed: bool

    def take(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return the slice's part of a volume as ``[rows, columns]``."""
        plane = volume.take(self.index, axis=self.axis)
        part: NDArray[Any] = (plane.T if self.transposed else plane)[
            np.ix_(self.rows, self.columns)
        ]
        return part


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel grid of a mask in space.

    Attributes:
        shape: Number of voxels along each of the three axes.
        affine: 4x4 matrix from voxel indices to LPS millimetres.
    """

    shape: tuple[int, ...]
    affine: NDArray[np.float64]

    def place(self, slice_: Slice) -> Placed:
        """Return the voxels that correspond to the slice's pixels.

        Raises:
            UnusableError: The pixels do not coincide with voxels of the grid.
        """
        plane = _Plane.of(slice_)
        if not np.isfinite(self.affine).all() or not np.linalg.det(self.affine):
            raise UnusableError("the mask's place in the patient is not known: not used")
        to_voxels = np.linalg.inv(self.affine)
        origin = to_voxels[:3, :3] @ plane.origin + to_voxels[:3, 3]
        steps = to_voxels[:3, :3] @ np.array([plane.to_next_column, plane.to_next_row]).T
        self._check(origin, steps, slice_.shape)
        first, whole = np.rint(origin).astype(np.intp), np.rint(steps).astype(np.intp)
        along_columns, along_rows = (int(np.flatnonzero(step)[0]) for step in whole.T)
        axis = 3 - along_columns - along_rows
        rows, columns = slice_.shape
        return Placed(
            axis,
            int(first[axis]),
            first[along_rows] + whole[along_rows, 1] * np.arange(rows),
            first[along_columns] + whole[along_columns, 0] * np.arange(columns),
            transposed=along_rows > along_columns,
        )

    def _check(self, origin: Vector, steps: NDArray[np.float64], shape: tuple[int, int]) -> None:
        """Raise an `UnusableError` unless the slice's four corners coincide with voxels."""
        rows, columns = shape
        whole = np.rint(steps)
        if (whole.T @ whole).tolist() != [[1.0, 0.0], [0.0, 1.0]]:
            raise UnusableError("the slice's pixels are not voxels of the mask: not used")
        corners = np.array(list(product((0, columns - 1), (0, rows - 1)))).T
        exact = origin[:, None] + steps @ corners
        nearest = np.rint(origin)[:, None] + whole @ corners
        off = float(np.abs(exact - nearest).max())
        if not off <= _TOLERANCE:
            raise UnusableError(f"the slice lies {off:.2g} voxels off the mask's grid: not used")
        if nearest.min() < 0 or (nearest.max(axis=1) >= self.shape).any():
            raise UnusableError("the slice reaches out of the mask's grid: not used")


def _check_in_patient(*millimetres: float) -> None:
    if not all(abs(value) < _FARTHEST for value in millimetres):
        raise UnusableError("lies in no patient: left out")


def sphere_on(slice_: Slice, centre: Sequence[float], radius: float) -> Box | None:
    """Return the box around a sphere's cross-section on a slice, or None if there is none."""
    _check_in_patient(*centre, radius)
    plane = _Plane.of(slice_)
    point = np.array(centre, dtype=np.float64)
    distance = float((point - plane.origin) @ plane.normal)
    if not abs(distance) < radius:
        return None
    chord = (radius**2 - distance**2) ** 0.5
    x, y = plane.pixel(point)
    half_width = chord / float(np.linalg.norm(plane.to_next_column))
    half_height = chord / float(np.linalg.norm(plane.to_next_row))
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)


def solid_on(slice_: Slice, low: Sequence[float], high: Sequence[float]) -> Box | None:
    """Return the box around a 3D box's cross-section on a slice, or None if there is none.

    Args:
        slice_: Slice of any orientation.
        low, high: Two opposite corners of the 3D box, whose sides run along the patient's axes.
    """
    _check_in_patient(*low, *high)
    plane = _Plane.of(slice_)
    corners = np.array(list(product(*zip(low, high, strict=True))), dtype=np.float64)
    heights = (corners - plane.origin) @ plane.normal
    cuts = [corner for corner, height in zip(corners, heights, strict=True) if height == 0]
    for one, other in combinations(range(len(corners)), 2):
        # Cuts of diagonals lie within those of the edges, so they do not change the box.
        if heights[one] * heights[other] < 0:
            part = heights[one] / (heights[one] - heights[other])
            cuts.append(corners[one] + part * (corners[other] - corners[one]))
    if not cuts:
        return None
    pixels = np.array([plane.pixel(point) for point in cuts])
    (x0, y0), (x1, y1) = pixels.min(axis=0), pixels.max(axis=0)
    return Box(float(x0), float(y0), float(x1), float(y1))
