"""Slices cut from the voxels of a volume, for every format that has an affine."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.readers._headers import FrameHeader, Refused
from medvae.readers._limits import check_frame, check_geometry

__all__ = ["cut", "in_plane_axes", "slice_axis", "slice_frames"]

Affine = NDArray[np.float64]


def slice_axis(shape: tuple[int, ...], affine: Affine, stated: int | None = None) -> int:
    """Return the voxel axis that runs through the slices.

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
    if sizes[coarsest] > 1.2 * np.delete(sizes, coarsest).max():
        return coarsest
    return int(np.argmax(np.abs(affine[2, :3]) / sizes))


def in_plane_axes(affine: Affine, axis: int) -> tuple[int, int]:
    """Return the voxel axes of the column index and of the row index of a slice.

    The row index runs along the axis that is less left-to-right (for sagittal slices, less
    front-to-back), so that slices are oriented as usually displayed, though possibly flipped.
    """
    first, second = (i for i in range(3) if i != axis)
    directions = np.abs(affine[:3, :3]) / np.linalg.norm(affine[:3, :3], axis=0)
    sagittal = int(np.argmax(directions[:, axis])) == 0
    across = directions[1 if sagittal else 0]
    return (first, second) if across[first] >= across[second] else (second, first)


def slice_frames(shape: tuple[int, ...], affine: Affine, axis: int) -> list[FrameHeader]:
    """Describe the slices of a volume with three dimensions, or four including time.

    Args:
        shape: Number of voxels along x, y, z and, optionally, time.
        affine: Matrix ``[4, 4]`` from voxel indices to LPS millimetres.
        axis: Voxel axis that runs through the slices.
    """
    across, down = in_plane_axes(affine, axis)
    check_frame(shape[down], shape[across])
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and sizes.all()):
        raise Refused("its header gives no usable voxel size or orientation")
    for index in (0, shape[axis] - 1):
        check_geometry(affine[:3, axis] * index + affine[:3, 3], sizes)
    frames = []
    for time in range(shape[3] if len(shape) > 3 else 1):
        for index in range(shape[axis]):
            frames.append(
                FrameHeader(
                    frame=index,
                    axis=axis,
                    time=time,
                    position=_triple(affine[:3, axis] * index + affine[:3, 3]),
                    along_row=_triple(affine[:3, across] / sizes[across]),
                    along_column=_triple(affine[:3, down] / sizes[down]),
                    spacing=(float(sizes[down]), float(sizes[across])),
                    thickness=float(sizes[axis]),
                    when={"time": str(time)} if len(shape) > 3 else {},
                )
            )
    return frames


def cut(voxels: NDArray[Any], affine: Affine, frame: int, axis: int, time: int) -> NDArray[Any]:
    """Cut one slice, ``[rows, columns]``, from voxels ``[x, y, z]`` or ``[x, y, z, time]``."""
    volume = voxels[..., time] if voxels.ndim > 3 else voxels
    plane = np.moveaxis(volume, axis, 0)[frame]  # np.take would copy the whole volume
    across, down = in_plane_axes(affine, axis)
    return np.ascontiguousarray(plane.T if across < down else plane)


def _triple(vector: Affine) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in vector)
    return (x, y, z)
