"""NIfTI: a series as one volume, or as several if its slices lie on no single grid."""

from __future__ import annotations

import gzip
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from medvae.atomic import write_bytes
from medvae.records import Series, Slice
from medvae.writers._grid import Part, regular_parts
from medvae.writers._names import slice_names
from medvae.writers._new_pixels import NewPixels, Scale

__all__ = ["write_nifti"]

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])

_ALIGNED = 2
"""NIfTI's code for coordinates aligned to another file, here the source."""

_LEVEL = 1
"""Compression level, as in nibabel; higher levels hardly shrink noise further."""


def write_nifti(
    folder: Path, series: Series, pixels: Sequence[NewPixels], place: int | None = None
) -> list[Path]:
    """Write a series as ``KEY.nii.gz``, or in parts as ``KEY_1of2.nii.gz`` and so on.

    Slices that are part of a longer series become separate volumes, ``KEY/PLACE_KEY.nii.gz``.

    Voxels are integers with the source's slope and intercept if these give the new values exactly,
    otherwise float32 in real units; they are never inverted. The slices of a series whose position
    in the patient is unknown are stacked in order, without form codes.

    Args:
        folder: Folder to write to.
        series: Series that provides the keys and the geometry.
        pixels: New pixels of each slice of the series.
        place: Position of the first slice, from 1, if the slices are part of a longer series.

    Raises:
        WriteError: The series cannot be represented as volumes, or the file system refuses.
    """
    files = []
    for name, part in _volumes(series, place):
        path = folder / f"{name}.nii.gz"
        own = [pixels[index] for index in part.places]
        data = _encoded(series.slices[part.places[0]], part, own)
        write_bytes(path, gzip.compress(data, _LEVEL, mtime=0))
        files.append(path)
    return files


def _volumes(series: Series, place: int | None) -> Iterator[tuple[str, Part]]:
    """Yield the name and the part of each volume to be written."""
    if place is None:
        parts = regular_parts(series)
        for number, part in enumerate(parts, 1):
            of_all = f"_{number:0{len(str(len(parts)))}}of{len(parts)}" if len(parts) > 1 else ""
            yield f"{series.key}{of_all}", part
        return
    for index, (_, name) in enumerate(slice_names(series, place)):
        (alone,) = regular_parts(replace(series, slices=series.slices[index : index + 1]))
        yield f"{series.key}/{name}", Part(range(index, index + 1), alone.affine)


def _encoded(first: Slice, part: Part, pixels: Sequence[NewPixels]) -> bytes:
    """Return the header and the voxels of a part."""
    voxels, scale = _voxels(pixels)
    header = nibabel.Nifti1Header(endianness="<")
    header.set_data_dtype(voxels.dtype)
    header.set_data_shape(voxels.shape[::-1])
    header.set_dim_info(slice=2)
    header.set_xyzt_units("mm")
    notes = ["written by medvae"]
    if part.affine is None:
        notes.append("place in the patient unknown")
        across, down = (first.geometry.spacing or (1.0, 1.0))[::-1]
        header.set_zooms((across, down, first.geometry.thickness or 1.0))
        # Without form codes, nibabel assumes that columns run to the left, which suits an image,
        # but that rows run to the front. Reversing the rows keeps the image upright.
        voxels = voxels[:, ::-1]
    else:
        header.set_qform(_TO_RAS @ part.affine, _ALIGNED)
        header.set_sform(_TO_RAS @ part.affine, _ALIGNED)
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
        if all(_is_exact(one, scale, first.stored.dtype) for one in pixels):
            return np.stack([one.stored for one in pixels]), scale
    return np.stack([one.values for one in pixels]), Scale(1.0, 0.0)


def _is_exact(pixels: NewPixels, scale: Scale, dtype: np.dtype[Any]) -> bool:
    values = scale.values(pixels.stored).astype(np.float32)
    return pixels.stored.dtype == dtype and bool((values == pixels.values).all())
