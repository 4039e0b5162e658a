"""Headers and slices of volumes, for every format that has voxels and an affine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medvae.geometry import Affine, in_plane_axes, planes_of_volume, slice_axis
from medvae.readers._contract import FileHeader, FileRefused, FrameHeader, fingerprint
from medvae.readers._limits import check_frame, check_geometry, check_volume


def size_in_memory(shape: tuple[int, ...], bytes_per_voxel: int) -> int:
    """Return the number of bytes that voxels take, and check that these can be read.

    Raises:
        FileRefused: If the voxels are not those of a volume, or do not fit in memory.
    """
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise FileRefused(f"its voxels have the shape {shape}; only 2 to 4 dimensions can be read")
    size = math.prod(shape) * bytes_per_voxel
    check_volume(size)
    return size


def check_complete(have: int, need: int) -> None:
    """Refuse a file that ends before its voxels do."""
    if have < need:
        raise FileRefused(f"it is truncated: only {have} of {need} bytes are present")


def volume_header(
    format_name: str, path: Path, shape: tuple[int, ...], affine: Affine, stated: int | None = None
) -> FileHeader:
    """Return the header of a volume with three dimensions, or four including time.

    Args:
        format_name: Name of the format.
        path: Path of the file.
        shape: Number of voxels along x, y, z and, optionally, time.
        affine: Affine from voxel indices to LPS.
        stated: Voxel axis that runs through the slices, if the file states it.
    """
    axis = slice_axis(shape, affine, stated)
    across, down = in_plane_axes(affine, axis)
    check_frame(shape[down], shape[across])
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if not (np.isfinite(affine).all() and sizes.all()):
        raise FileRefused("its header gives no usable voxel size or orientation")
    for index in (0, shape[axis] - 1):
        check_geometry(affine[:3, axis] * index + affine[:3, 3], sizes)
    planes = planes_of_volume(affine, axis, shape[axis])
    times = [{"time": str(time)} for time in range(shape[3])] if len(shape) > 3 else [{}]
    return FileHeader(
        format=format_name,
        rows=shape[down],
        columns=shape[across],
        uid=fingerprint(path),
        frames=[
            FrameHeader(frame=index, axis=axis, time=time, geometry=plane, when=when)
            for time, when in enumerate(times)
            for index, plane in enumerate(planes)
        ],
    )


def cut(voxels: NDArray[Any], affine: Affine, frame: int, axis: int, time: int) -> NDArray[Any]:
    """Cut one slice, ``[rows, columns]``, from voxels ``[x, y, z]`` or ``[x, y, z, time]``."""
    volume = voxels[..., time] if voxels.ndim > 3 else voxels
    plane = np.moveaxis(volume, axis, 0)[frame]  # np.take would copy the whole volume
    across, down = in_plane_axes(affine, axis)
    return np.array(plane.T if across < down else plane, order="C")  # may be a read-only view
