"""Which slices of a series lie on one regular grid, and where that grid lies in the patient."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.errors import WriteError
from medvae.records import Geometry, Series

__all__ = ["Part", "regular_parts"]

_IN_PLANE = 0.1
"""Tolerated in-plane shift in pixels, from rounding in headers. More would shift the image."""

_UNEVEN, _UNEVEN_MM = 0.02, 0.01
"""Unevenness of slice gaps, as a fraction and in mm; above both, readers call a series uneven."""

_SHEAR = 0.01
"""Cosine of the angle between rows and columns above which they are not perpendicular."""

Affine = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Part:
    """Adjacent slices of a series that form one volume.

    Attributes:
        places: Positions of the slices in the series.
        affine: Matrix, ``[4, 4]``, from column, row and slice to LPS millimetres; None if unknown.
    """

    places: range
    affine: Affine | None


def regular_parts(series: Series) -> list[Part]:
    """Split a series wherever it leaves a regular grid with right angles.

    A volume has one distance between slices and one direction through them. Viewers refuse
    sheared voxels or silently straighten them, so a series with missing, uneven or tilted slices
    becomes several parts, down to single slices if necessary: no slice is moved, left out or
    invented. A series whose position is unknown is one part.

    Raises:
        WriteError: The rows and columns of the slices are not at right angles.
    """
    slices = series.slices
    planes = [_plane(native.geometry) for native in slices]
    known = [plane for plane in planes if plane is not None]
    if len(known) < len(planes):
        return [Part(range(len(slices)), None)]
    along_row, along_column = known[0][:3, :2].T / np.linalg.norm(known[0][:3, :2], axis=0)[:, None]
    if abs(along_row @ along_column) > _SHEAR:
        raise WriteError(
            "its rows and columns are not at right angles, which most readers of NIfTI misplace: "
            "write it as PNG",
            where=f"series {series.key}",
        )
    return _runs(np.stack(known), slices[0].shape, slices[0].geometry.thickness)


def _plane(geometry: Geometry) -> Affine | None:
    """Return the affine from column, row and millimetres along the normal to LPS."""
    normal, spacing, position = geometry.normal, geometry.spacing, geometry.position
    if normal is None or spacing is None or position is None:
        return None
    plane = np.eye(4)
    plane[:3, 0] = np.multiply(geometry.along_row or (), spacing[1])
    plane[:3, 1] = np.multiply(geometry.along_column or (), spacing[0])
    plane[:3, 2] = np.array(normal) / np.linalg.norm(normal)
    plane[:3, 3] = position
    return plane


def _runs(planes: Affine, shape: tuple[int, int], thickness: float | None) -> list[Part]:
    """Return the longest possible parts, starting from the first of the planes ``[N, 4, 4]``."""
    gaps = np.abs(np.diff(planes[:, :3, 3] @ planes[0, :3, 2]))
    # Take one of the actual gaps; the mean of the two middle gaps may not be among them.
    usual = float(np.percentile(gaps, 50, method="lower")) if len(gaps) else 0.0
    parts, start = [], 0
    for stop in range(1, len(planes) + 1):
        if stop == len(planes) or not _is_regular(planes[start : stop + 1], shape, usual):
            affine = _grid(planes[start:stop], thickness or usual or 1.0)
            parts.append(Part(range(start, stop), affine))
            start = stop
    return parts


def _grid(planes: Affine, thickness: float) -> Affine:
    """Return the grid that extends at right angles from the first plane to the last one."""
    affine: Affine = planes[0].copy()
    count = len(planes)
    if count > 1:
        thickness = float((planes[-1] - planes[0])[:3, 3] @ affine[:3, 2]) / (count - 1)
    affine[:3, 2] *= thickness
    return affine


def _is_regular(planes: Affine, shape: tuple[int, int], usual: float) -> bool:
    """Return whether the corners of all slices lie on one grid with the usual gap."""
    if usual < _UNEVEN_MM:
        return False
    affine = _grid(planes, usual)
    gap = float(np.linalg.norm(affine[:3, 2]))
    uneven = max(_UNEVEN * usual, _UNEVEN_MM)
    if abs(gap - usual) > uneven:
        return False
    rows, columns = shape
    corners: NDArray[Any] = np.array(list(product((0, columns - 1), (0, rows - 1), (0,), (1,)))).T
    index = np.linalg.inv(affine) @ planes @ corners
    index[:, 2] -= np.arange(len(planes))[:, None]
    off = np.abs(index - corners)[:, :3].max(axis=(0, 2))
    return bool((off <= (_IN_PLANE, _IN_PLANE, uneven / gap)).all())
