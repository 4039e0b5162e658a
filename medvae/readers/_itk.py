"""NRRD and MetaImage through SimpleITK: the header and the voxels of one file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medvae.readers._decoded import Decoded
from medvae.readers._fingerprint import fingerprint
from medvae.readers._headers import FileHeader, Refused
from medvae.readers._limits import check_volume
from medvae.readers._volume import cut, in_plane_axes, slice_axis, slice_frames

__all__ = ["describe", "open_frames"]

_IMAGE_IO = {b"NRRD": "NrrdImageIO"}


def describe(path: Path, head: bytes) -> FileHeader:
    """Read the header."""
    beside = _detached(path, head)
    reader = _reader(path, head)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise Refused(f"its header cannot be read: {_last_line(error)}") from error
    if reader.GetNumberOfComponents() != 1:
        raise Refused(f"its voxels hold {reader.GetNumberOfComponents()} numbers each, not one")
    shape, affine = _geometry(reader)
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise Refused(f"its voxels have the shape {shape}: 2 to 4 dimensions can be read")
    size = int(np.prod(shape, dtype=np.int64)) * _bytes_per_voxel(reader.GetPixelID())
    check_volume(size)
    axis = slice_axis(shape, affine)
    across, down = in_plane_axes(affine, axis)
    return FileHeader(
        format="itk",
        rows=shape[down],
        columns=shape[across],
        uid=fingerprint(path),
        frames=slice_frames(shape, affine, axis),
        beside=beside,
    )


def open_frames(path: Path) -> Callable[[int, int, int], Decoded]:
    """Read the file, for decoding a slice at a time."""
    with path.open("rb") as file:
        reader = _reader(path, file.read(4))
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise Refused(f"its voxels cannot be read: {_last_line(error)}") from error
    voxels: NDArray[Any] = sitk.GetArrayViewFromImage(image).T
    if voxels.ndim == 2:
        voxels = voxels[..., None]
    _, affine = _geometry(reader)

    def decode(frame: int, axis: int, time: int) -> Decoded:
        return Decoded(cut(voxels, affine, frame, axis, time))

    decode.image = image  # type: ignore[attr-defined]  # the view does not keep it alive
    return decode


def _reader(path: Path, head: bytes) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO(_IMAGE_IO.get(head[:4], "MetaImageIO"))
    reader.SetFileName(str(path))
    return reader


def _detached(path: Path, head: bytes) -> str:
    """Return the name of the file beside it that holds the voxels; empty where it does itself.

    A header can name any file there is: only one in its own folder is followed.
    """
    for line in head.split(b"\n"):
        name, _, value = line.replace(b"=", b":", 1).partition(b":")
        if name.strip().lower() in (b"elementdatafile", b"data file", b"datafile"):
            target = value.strip().decode("utf-8", "replace")
            if target.upper() == "LOCAL":
                return ""
            if Path(target).name != target or target.upper().startswith("LIST") or "%" in target:
                raise Refused("its voxels are not in one file beside it: write them into one file")
            if not (path.parent / target).is_file():
                raise Refused(f"the file of its voxels, {target}, is not beside it")
            return target
    return ""


def _geometry(reader: sitk.ImageFileReader) -> tuple[tuple[int, ...], NDArray[np.float64]]:
    """Return the shape, with three dimensions at least, and the affine to LPS."""
    shape, count = tuple(reader.GetSize()), reader.GetDimension()
    directions = np.array(reader.GetDirection()).reshape(count, count)
    n = min(count, 3)
    affine = np.eye(4)
    affine[:n, :n] = (directions @ np.diag(reader.GetSpacing()))[:n, :n]
    affine[:n, 3] = reader.GetOrigin()[:n]
    return (*shape, 1) if count == 2 else shape, affine


def _bytes_per_voxel(pixel_id: int) -> int:
    return sitk.GetArrayViewFromImage(sitk.Image([1, 1], pixel_id)).itemsize


def _last_line(error: RuntimeError) -> str:
    return str(error).strip().splitlines()[-1][:200]
