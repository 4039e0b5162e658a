"""The header and the voxels of one NIfTI file."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError
from numpy.typing import NDArray

from medvae.geometry import swap_lps_ras
from medvae.gzips import DAMAGED, GZIP, WholeGzip, holds
from medvae.readers._contract import Decode, Decoded, FileHeader, FileRefused, FileSkipped
from medvae.readers._limits import check_volume, plausible_scale
from medvae.readers._volume import check_complete, cut, size_in_memory, volume_header

_MAGICS_OF_SECOND = (b"n+2\0", b"ni2\0")


def describe(path: Path, head: bytes) -> FileHeader:
    """Read the header and check that all voxels are present."""
    image, _ = _open(path)
    header = image.header
    _check_kind(header)
    shape = _shape(image)
    size = size_in_memory(shape, header.get_data_dtype().itemsize)
    # nibabel resets the offset in the header itself to 0.
    need = int(image.dataobj.offset) + size
    check_complete(holds(path, need) if head[:2] == GZIP else path.stat().st_size, need)
    stated = header.get_dim_info()[2]
    found = volume_header("nifti", path, shape, swap_lps_ras(image.affine), stated)
    found.flags = _geometry_flags(image)
    return found


def open_frames(path: Path) -> Decode:
    """Open the file, and return a function that decodes one slice at a time."""
    image, stream = _open(path)
    proxy = image.dataobj
    check_volume(math.prod(image.shape) * image.header.get_data_dtype().itemsize)
    try:
        voxels: NDArray[Any] = proxy.get_unscaled().reshape(_shape(image), order="F")
        if stream is not None:
            stream.finish()
    except DAMAGED as error:
        raise FileRefused(f"it is truncated or damaged: {error}") from error
    affine = swap_lps_ras(image.affine)

    def decode(frame: int, axis: int, time: int) -> Decoded:
        stored = cut(voxels, affine, frame, axis, time)
        stored = stored.astype(stored.dtype.newbyteorder("="), copy=False)
        return Decoded(stored, slope=float(proxy.slope), intercept=float(proxy.inter))

    return decode


def _open(path: Path) -> tuple[Any, WholeGzip | None]:
    """Return the image, and the stream that it is read from if it is compressed."""
    # nibabel relies on the name of a file; its content is more reliable.
    try:
        file = path.open("rb")
        compressed = file.read(2) == GZIP
        file.seek(0)
        stream = WholeGzip(file) if compressed else None
        opened = stream or file
        second = opened.read(8)[4:] in _MAGICS_OF_SECOND
        kind = nibabel.Nifti2Image if second else nibabel.Nifti1Image
        opened.seek(0)
        _check_scale(kind.header_class(opened.read(kind.header_class.sizeof_hdr), check=False))
        opened.seek(0)
        return kind.from_file_map({"image": nibabel.FileHolder(str(path), opened)}), stream
    except (HeaderDataError, WrapStructError, nibabel.filebasedimages.ImageFileError) as error:
        raise FileRefused(f"its NIfTI header is invalid: {error}") from error
    except DAMAGED as error:
        raise FileRefused(f"it is truncated or damaged: {error}") from error


def _shape(image: Any) -> tuple[int, ...]:
    """Return the shape, with three dimensions, or four if there are several time points."""
    shape = [int(n) for n in image.header.get_data_shape()]
    if len(shape) == 2:
        shape.append(1)
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    return tuple(shape)


def _check_scale(header: Any) -> None:
    """Refuse a scale that would not give usable numbers; nibabel does not apply it."""
    for name in ("scl_slope", "scl_inter"):
        value = float(header[name])
        # nibabel itself writes NaN if there is no scale.
        if not math.isnan(value) and not plausible_scale(value):
            raise FileRefused(f"its {name} is {value:g}, which is not a usable number")


def _check_kind(header: Any) -> None:
    if header["magic"].item()[:2] == b"ni":
        raise FileSkipped(
            "it is half of a NIfTI pair (.hdr and .img); convert the pair to one .nii file"
        )
    kind = header.get_data_dtype()
    if kind.fields is not None:
        raise FileRefused("its voxels are colours (RGB); only grayscale images are read")
    if kind.kind not in "iufb":
        raise FileRefused(f"its voxels are of the type {kind}; only real numbers are read")


def _geometry_flags(image: Any) -> list[str]:
    """Return flags for a doubtful orientation."""
    header, flags = image.header, []
    qform, sform = int(header["qform_code"]), int(header["sform_code"])
    if not qform and not sform:
        flags.append("no orientation in the header (neither sform nor qform)")
    if qform and sform and not np.allclose(header.get_qform(), header.get_sform(), atol=1e-2):
        flags.append("sform and qform differ: sform is used")
    axes = image.affine[:3, :3] / np.linalg.norm(image.affine[:3, :3], axis=0)
    if not np.allclose(axes.T @ axes, np.eye(3), atol=1e-2):
        flags.append("sheared voxels")
    return flags
