"""Slices in space: which voxels of a mask their pixels are, and where they cut a sphere or box."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.geometry import Affine, Box
from medvae.labels._match import UnusableError
from medvae.records import Slice

# In voxels. Allows for rounding in headers; a larger offset would shift a mask.
_TOLERANCE = 0.1
# In millimetres. The origin of scanner coordinates is in or near the patient.
_FARTHEST = 1e5

Points = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Placed:
    """The voxels of a grid that correspond to the pixels of a slice.

    Attributes:
        first: Indices of the voxel of the first pixel.
        steps: Steps along the three voxel axes, ``[3, 2]``, to the next column and the next row.
        shape: Numbers of rows and columns of the slice.
    """

    first: NDArray[np.intp]
    steps: NDArray[np.intp]
    shape: tuple[int, int]

    @property
    def plane(self) -> tuple[int, int]:
        """The voxel axis that runs through the slice, and the index of the slice along it."""
        axis = int(np.flatnonzero(~self.steps.any(axis=1))[0])
        return axis, int(self.first[axis])

    def take(self, volume: NDArray[Any]) -> NDArray[Any]:
        """Return the slice's part of a volume as ``[rows, columns]``."""
        row, column = np.indices(self.shape, sparse=True)
        part: NDArray[Any] = volume[
            tuple(
                first + to_column * column + to_row * row
                for first, (to_column, to_row) in zip(self.first, self.steps, strict=True)
            )
        ]
        return part


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Voxel grid of a mask in space.

    Attributes:
        shape: Number of voxels along each of the three axes.
        affine: Affine from voxel indices to LPS.
    """

    shape: tuple[int, ...]
    affine: Affine

    def place(self, slice_: Slice) -> Placed:
        """Return the voxels that correspond to the slice's pixels.

        Raises:
            UnusableError: The pixels do not coincide with voxels of the grid.
        """
        plane = _plane(slice_)
        if not np.isfinite(self.affine).all() or not np.linalg.det(self.affine):
            raise UnusableError("the mask's position in the patient is unknown; ignored")
        in_voxels = (np.linalg.inv(self.affine) @ plane)[:3]
        first, steps = in_voxels[:, 3:], in_voxels[:, :2]
        nearest, whole = np.rint(first), np.rint(steps)
        if (whole.T @ whole).tolist() != [[1.0, 0.0], [0.0, 1.0]]:
            raise UnusableError("the slice's pixels are not voxels of the mask; ignored")
        rows, columns = slice_.shape
        corners = np.array(list(product((0, columns - 1), (0, rows - 1)))).T
        at_corners = nearest + whole @ corners
        off = float(np.abs(first + steps @ corners - at_corners).max())
        if not off <= _TOLERANCE:
            raise UnusableError(
                f"the slice lies {off:.2g} voxels away from the mask's grid; ignored"
            )
        if at_corners.min() < 0 or (at_corners.max(axis=1) >= self.shape).any():
            raise UnusableError("the slice extends beyond the mask's grid; ignored")
        return Placed(nearest[:, 0].astype(np.intp), whole.astype(np.intp), slice_.shape)

    def places(self, slices: Iterable[Slice]) -> dict[Slice, Placed]:
        """Return the voxels of each slice whose pixels coincide with voxels."""
        found = {}
        for slice_ in slices:
            with suppress(UnusableError):
                found[slice_] = self.place(slice_)
        return found


def _plane(slice_: Slice) -> Affine:
    """Return the affine from column, row and millimetres along the normal of a slice to LPS."""
    affine = slice_.geometry.affine()
    if affine is None:
        raise UnusableError("the slice's position in the patient is unknown; ignored")
    return affine


def _heights(plane: Affine, points: Points) -> Points:
    """Return the distances of points, ``[N, 3]``, from a slice, signed along its normal."""
    heights: Points = (points - plane[:3, 3]) @ plane[:3, 2]
    return heights


def _pixels(plane: Affine, points: Points) -> Points:
    """Return the projections of points, ``[N, 3]``, on a slice, as (x, y) in pixel edges."""
    in_plane = np.linalg.solve(plane[:3, :3], (points - plane[:3, 3]).T)[:2].T
    return in_plane.astype(np.float64) + 0.5


def _check_in_patient(*millimetres: float) -> None:
    if not all(abs(value) < _FARTHEST for value in millimetres):
        raise UnusableError("lies too far away to be in a patient; ignored")


def sphere_on(slice_: Slice, centre: Sequence[float], radius: float) -> Box | None:
    """Return the box around a sphere's cross-section on a slice, or None if there is none."""
    _check_in_patient(*centre, radius)
    plane = _plane(slice_)
    point = np.array([centre], dtype=np.float64)
    (distance,) = _heights(plane, point).tolist()
    if not abs(distance) < radius:
        return None
    chord = (radius**2 - distance**2) ** 0.5
    x, y = _pixels(plane, point)[0].tolist()
    half_width, half_height = (chord / np.linalg.norm(plane[:3, :2], axis=0)).tolist()
    return Box(x - half_width, y - half_height, x + half_width, y + half_height)


def solid_on(slice_: Slice, sides: Sequence[tuple[float, float]]) -> Box | None:
    """Return the box around a 3D box's cross-section on a slice, or None if there is none.

    Args:
        slice_: Slice of any orientation.
        sides: First and last coordinate of the 3D box along each of the patient's axes.
    """
    _check_in_patient(*chain.from_iterable(sides))
    plane = _plane(slice_)
    corners = np.array(list(product(*sides)), dtype=np.float64)
    heights = _heights(plane, corners)
    # Cuts of diagonals lie within those of the edges, so they do not change the box.
    one, other = np.triu_indices(len(corners), 1)
    one, other = np.stack((one, other))[:, heights[one] * heights[other] < 0]
    part = heights[one] / (heights[one] - heights[other])
    between = corners[one] + part[:, None] * (corners[other] - corners[one])
    cuts = np.concatenate((corners[heights == 0], between))
    if not len(cuts):
        return None
    pixels = _pixels(plane, cuts)
    return Box(*pixels.min(axis=0).tolist(), *pixels.max(axis=0).tolist())
