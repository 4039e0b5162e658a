"""NIfTI: a series as one volume, or as several if its slices lie on no single grid."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_bytes
from medvae.errors import WriteError
from medvae.geometry import Affine, swap_lps_ras
from medvae.records import Series, Slice
from medvae.writers._new_pixels import NewPixels, Scale, slice_names

GridPart = tuple[range, Affine | None]
"""Places of adjacent slices in their series, and the affine of their volume, if it is known."""

_ALIGNED = 2
"""NIfTI's code for coordinates aligned to another file, here the source."""

_LEVEL = 1
"""Compression level, as in nibabel; higher levels hardly shrink noise further."""

_IN_PLANE = 0.1
"""Tolerated in-plane shift in pixels, from rounding in headers. More would shift the image."""

_UNEVEN, _UNEVEN_MM = 0.02, 0.01
"""Unevenness of slice gaps, as a fraction and in mm; above both, readers call a series uneven."""

_SHEAR = 0.01
"""Cosine of the angle between rows and columns above which they are not perpendicular."""


def write(
    folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
) -> list[Path]:
    """Write a series as ``KEY.nii.gz``, or in parts as ``KEY_1of2.nii.gz`` and so on.

    Slices that are part of a longer series become separate volumes, ``KEY/PLACE_KEY.nii.gz``.

    Voxels are integers with the source's slope and intercept if these give the new values exactly,
    otherwise float32 in real units; they are never inverted. The slices of a series whose position
    in the patient is unknown are stacked in order, without form codes.

    The arguments are those of ``FormatWriter``.

    Raises:
        WriteError: The series cannot be represented as volumes, or the file system refuses.
    """
    files = []
    for name, (places, affine) in _volumes(series, place):
        path = folder / f"{name}.nii.gz"
        own = [pixels[index] for index in places]
        data = _encoded(series.slices[places[0]], affine, own)
        write_bytes(path, gzip.compress(data, _LEVEL, mtime=0))
        files.append(path)
    return files


def _volumes(series: Series, place: int | None) -> Iterator[tuple[str, GridPart]]:
    """Yield the name and the part of each volume to be written."""
    if place is None:
        parts = regular_parts(series)
        for number, part in enumerate(parts, 1):
            of_all = f"_{number:0{len(str(len(parts)))}}of{len(parts)}" if len(parts) > 1 else ""
            yield f"{series.key}{of_all}", part
        return
    for index, (_, name) in enumerate(slice_names(series, place)):
        ((_, affine),) = regular_parts(replace(series, slices=series.slices[index : index + 1]))
        yield f"{series.key}/{name}", (range(index, index + 1), affine)


def _encoded(first: Slice, affine: Affine | None, pixels: Sequence[NewPixels]) -> bytes:
    """Return the header and the voxels of a volume."""
    voxels, scale = _voxels(pixels)
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape[::-1])
    header.set_dim_info(slice=2)
    header.set_xyzt_units("mm")
    notes = ["written by medvae"]
    if affine is None:
        notes.append("place in the patient unknown")
        across, down = (first.geometry.spacing or (1.0, 1.0))[::-1]
        header.set_zooms((across, down, first.geometry.thickness or 1.0))
        # Without form codes, nibabel assumes that columns run to the left, which suits an image,
        # but that rows run to the front. Reversing the rows keeps the image upright.
        voxels = voxels[:, ::-1]
    else:
        header.set_qform(swap_lps_ras(affine), _ALIGNED)
        header.set_sform(swap_lps_ras(affine), _ALIGNED)
    if first.inverted:
        notes.append("low values are shown bright")
    header["descrip"] = "; ".join(notes)
    header["scl_slope"], header["scl_inter"] = scale.slope, scale.intercept
    header["vox_offset"] = header.single_vox_offset
    no_extension = bytes(4)
    little = np.ascontiguousarray(voxels, voxels.dtype.newbyteorder("<"))
    return b"".join((header.binaryblock, no_extension, little.data))


def _voxels(pixels: Sequence[NewPixels]) -> tuple[NDArray[Any], Scale]:
    """Return voxels, ``[slices, rows, columns]``, and the scale from voxels to values."""
    first = pixels[0]
    if first.scale is not None:
        # The header stores both in 32 bits, so readers get the values that these give.
        slope, intercept = np.float32(first.scale.slope), np.float32(first.scale.intercept)
        scale = Scale(float(slope), float(intercept))
        if all(
            one.stored.dtype == first.stored.dtype
            and (scale.values(one.stored).astype(np.float32) == one.values).all()
            for one in pixels
        ):
            return np.stack([one.stored for one in pixels]), scale
    return np.stack([one.values for one in pixels]), Scale(1.0, 0.0)


def regular_parts(series: Series) -> list[GridPart]:
    """Split a series wherever it leaves a regular grid with right angles.

    A volume has one distance between slices and one direction through them. Viewers refuse
    sheared voxels or silently straighten them, so a series with missing, uneven or tilted slices
    becomes several parts, down to single slices if necessary: no slice is moved, left out or
    invented. A series whose position is unknown is one part.

    Returns:
        For each part, the places of its slices in the series, and the affine from column, row and
        slice to LPS; None if it is unknown.

    Raises:
        WriteError: The rows and columns of the slices are not at right angles.
    """
    slices = series.slices
    planes = [native.geometry.affine() for native in slices]
    known = [plane for plane in planes if plane is not None]
    if len(known) < len(planes):
        return [(range(len(slices)), None)]
    along_row, along_column = known[0][:3, :2].T / np.linalg.norm(known[0][:3, :2], axis=0)[:, None]
    if abs(along_row @ along_column) > _SHEAR:
        raise WriteError(
            "its rows and columns are not at right angles, which most readers of NIfTI misplace; "
            "choose png",
            where=f"series {series.key}",
        )
    return _runs(np.stack(known), slices[0].shape, slices[0].geometry.thickness)


def _runs(planes: Affine, shape: tuple[int, int], thickness: float | None) -> list[GridPart]:
    """Return the longest possible parts, starting from the first of the planes ``[N, 4, 4]``."""
    gaps = np.abs(np.diff(planes[:, :3, 3] @ planes[0, :3, 2]))
    # Take one of the actual gaps; the mean of the two middle gaps may not be among them.
    usual = float(np.percentile(gaps, 50, method="lower")) if len(gaps) else 0.0
    parts: list[GridPart] = []
    start = 0
    for stop in range(1, len(planes) + 1):
        if stop == len(planes) or not _is_regular(planes[start : stop + 1], shape, usual):
            affine = _grid(planes[start:stop], thickness or usual or 1.0)
            parts.append((range(start, stop), affine))
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
