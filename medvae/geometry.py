"""Boxes on slices, planes of slices in the patient, and the affines of volumes.

Coordinates on a slice are (x, y) in pixel edges: x increases with the column, y with the row,
and the pixel at row 0, column 0 covers the square from (0, 0) to (1, 1). Positions in space
are in millimetres in the patient's LPS system (x to the left, y to the back, z to the head), and
the index of a pixel or voxel refers to its centre.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Affine",
    "Box",
    "Geometry",
    "Vector",
    "in_plane_axes",
    "planes_of_volume",
    "slice_axis",
    "swap_lps_ras",
]

Vector = tuple[float, float, float]

Affine = NDArray[np.float64]
"""Matrix ``[4, 4]`` from voxel indices to millimetres."""

_LPS_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_CLEARLY_LARGER = 1.2
"""Ratio above which the largest side of a voxel is taken for the distance between slices."""


class Box(NamedTuple):
    """A box on a slice, in pixel edges."""

    x0: float
    y0: float
    x1: float
    y1: float

    @property
    def width(self) -> float:
        """The extent along x."""
        return self.x1 - self.x0

    @property
    def height(self) -> float:
        """The extent along y."""
        return self.y1 - self.y0

    @property
    def area(self) -> float:
        """The area in pixels."""
        return self.width * self.height

    def iou(self, other: Box) -> float:
        """Return the intersection over union with another box, or 0 if both are empty."""
        width = max(0.0, min(self.x1, other.x1) - max(self.x0, other.x0))
        height = max(0.0, min(self.y1, other.y1) - max(self.y0, other.y0))
        common = width * height
        union = self.area + other.area - common
        return common / union if union > 0 else 0.0


@dataclass(frozen=True)
class Geometry:
    """The plane of a slice in the patient, as far as its file states it.

    Attributes:
        spacing: Distances between rows and between columns in millimetres, in DICOM's order.
        position: Centre of the first pixel.
        along_row: Unit vector along which the column index increases.
        along_column: Unit vector along which the row index increases.
        thickness: Thickness of the slice in millimetres.
    """

    spacing: tuple[float, float] | None = None
    position: Vector | None = None
    along_row: Vector | None = None
    along_column: Vector | None = None
    thickness: float | None = None

    @property
    def normal(self) -> Vector | None:
        """The unit vector perpendicular to the slice."""
        if self.along_row is None or self.along_column is None:
            return None
        # NumPy takes far longer for two vectors, and headers come by the thousand.
        (a, b, c), (d, e, f) = self.along_row, self.along_column
        return (b * f - c * e, c * d - a * f, a * e - b * d)

    def affine(self, depth: float = 1.0) -> Affine | None:
        """Return the matrix from column, row and slice to millimetres, or None if it is unknown.

        Args:
            depth: Distance along the normal from one slice to the next, in millimetres.
        """
        normal = self.normal
        if normal is None or self.spacing is None or self.position is None:
            return None
        length = np.linalg.norm(normal)
        if not length:
            return None
        affine = np.eye(4)
        affine[:3, 0] = np.multiply(self.along_row or (), self.spacing[1])
        affine[:3, 1] = np.multiply(self.along_column or (), self.spacing[0])
        affine[:3, 2] = np.divide(normal, length) * depth
        affine[:3, 3] = self.position
        return affine


def swap_lps_ras(affine: Affine) -> Affine:
    """Convert an affine to LPS, as in DICOM, to one to RAS, as in NIfTI, or back."""
    swapped: Affine = _LPS_RAS @ affine
    return swapped


def slice_axis(shape: tuple[int, ...], affine: Affine, stated: int | None = None) -> int:
    """Return the voxel axis that runs through the slices of a volume.

    It is an axis with a single voxel, if there is one, since the volume then holds a single slice;
    else the axis that the header states, else the axis with clearly the largest voxels, else the
    axis nearest to the patient's long axis.
    """
    if 1 in shape[:3]:
        return shape.index(1)
    if stated is not None:
        return stated
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    coarsest = int(np.argmax(sizes))
    if sizes[coarsest] > _CLEARLY_LARGER * np.delete(sizes, coarsest).max():
        return coarsest
    return int(np.argmax(np.abs(affine[2, :3]) / sizes))


def in_plane_axes(affine: Affine, axis: int) -> tuple[int, int]:
    """Return the voxel axes of the column index and of the row index of the slices of a volume.

    The row index runs along the axis that is less left-to-right (for sagittal slices, less
    front-to-back), so that slices are oriented as usually displayed, though possibly flipped.

    Args:
        affine: Affine of the volume.
        axis: Voxel axis that runs through the slices.
    """
    first, second = (i for i in range(3) if i != axis)
    directions = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    sagittal = int(np.argmax(directions[:, axis])) == 0
    across = directions[1 if sagittal else 0]
    return (first, second) if across[first] >= across[second] else (second, first)


def planes_of_volume(affine: Affine, axis: int, count: int) -> list[Geometry]:
    """Return the planes of the slices of a volume.

    Args:
        affine: Affine of the volume to LPS.
        axis: Voxel axis that runs through the slices.
        count: Number of slices.
    """
    across, down = in_plane_axes(affine, axis)
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    first = Geometry(
        spacing=(float(sizes[down]), float(sizes[across])),
        along_row=_vector(affine[:3, across] / sizes[across]),
        along_column=_vector(affine[:3, down] / sizes[down]),
        thickness=float(sizes[axis]),
    )
    positions = (affine[:3, axis] * index + affine[:3, 3] for index in range(count))
    return [replace(first, position=_vector(position)) for position in positions]


def _vector(array: NDArray[np.float64]) -> Vector:
    x, y, z = array.tolist()
    return (x, y, z)
