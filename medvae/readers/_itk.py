"""The header and the voxels of one NRRD or MetaImage file, read through SimpleITK."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from medvae.geometry import Affine
from medvae.gzips import DAMAGED, WholeGzip, holds
from medvae.readers._contract import Decode, Decoded, FileHeader, FileRefused, fingerprint
from medvae.readers._limits import check_volume
from medvae.readers._volume import check_complete, cut, size_in_memory, volume_header

_LONGEST_HEADER = 2**20

_END_OF_NRRD = re.compile(rb"\n\r?\n")
_END_OF_META = b"ElementDataFile"


@dataclass
class _VoxelData:
    """Location of the voxels, according to the text of the header.

    Attributes:
        header: Number of bytes that the header takes.
        target: Name of the file that holds the voxels; empty if it is the file of the header.
        start: Minimum number of bytes in that file before the voxels.
        packed: Minimum number of bytes that the voxels take; None if they are stored as they are.
        stream: Kind of compressed stream that holds the voxels, if any.
        lines: Number of lines before a compressed stream, after ``start``.
        skipped: Number of inflated bytes before the voxels.
    """

    header: int
    target: str = ""
    start: int = 0
    packed: int | None = 0
    stream: Literal["", "zlib", "gzip"] = ""
    lines: int = 0
    skipped: int = 0


def describe(path: Path, head: bytes) -> FileHeader:
    """Read the header."""
    layout, voxels, reader = _open(path)
    with _refusing("header", "a field of it is missing or wrong"):
        reader.ReadImageInformation()
    if reader.GetNumberOfComponents() != 1:
        raise FileRefused(
            f"each of its voxels holds {reader.GetNumberOfComponents()} numbers instead of one"
        )
    shape, affine = _geometry(reader)
    _check_whole(voxels, layout, size_in_memory(shape, _bytes_per_voxel(reader)))
    found = volume_header("itk", path, shape, affine)
    if voxels != path:
        found.beside = voxels.name
        found.uid += fingerprint(voxels)
    return found


def open_frames(path: Path) -> Decode:
    """Read the file, and return a function that decodes one slice at a time."""
    layout, voxels, reader = _open(path)
    with _refusing("voxels", "they are damaged or do not match the header"):
        reader.ReadImageInformation()
        shape, affine = _geometry(reader)
        size = math.prod(shape) * _bytes_per_voxel(reader)
        check_volume(size)
        _check_inflates(voxels, layout, size)
        image = reader.Execute()

    def decode(frame: int, axis: int, time: int) -> Decoded:
        # The view does not keep the image alive.
        view: NDArray[Any] = sitk.GetArrayViewFromImage(image).T.reshape(shape, order="F")
        return Decoded(cut(view, affine, frame, axis, time))

    return decode


@contextmanager
def _refusing(what: str, otherwise: str) -> Iterator[None]:
    """Refuse a file that SimpleITK cannot read, with the line in which it states why, if any."""
    try:
        yield
    except RuntimeError as error:
        line = str(error).strip().splitlines()[-1][:200]
        why = otherwise if line == "Reason: Success" else line
        raise FileRefused(f"its {what} cannot be read: {why}") from error


def _open(path: Path) -> tuple[_VoxelData, Path, sitk.ImageFileReader]:
    """Return the layout, from the whole header, the file of the voxels, and a reader."""
    with path.open("rb") as file:
        data = file.read(_LONGEST_HEADER + 1)
    nrrd = data.startswith(b"NRRD")
    layout = _voxel_data_of_nrrd(data) if nrrd else _voxel_data_of_meta(data)
    if layout.header > _LONGEST_HEADER:
        raise FileRefused(f"its header is longer than {_LONGEST_HEADER // 2**20} MiB")
    reader = sitk.ImageFileReader()
    reader.SetImageIO("NrrdImageIO" if nrrd else "MetaImageIO")
    reader.SetFileName(str(path))
    return layout, _file_of_voxels(path, layout.target), reader


def _voxel_data_of_nrrd(data: bytes) -> _VoxelData:
    """Read lines of ``field: value`` up to the blank line; ``key:=value`` lines are ignored."""
    end = _END_OF_NRRD.search(data)
    size = end.end() if end else len(data)
    fields: dict[str, str] = {}
    for line in re.split(rb"\r\n?|\n", data[:size]):
        name, separator, value = line.partition(b": ")
        field = _text(name).replace(" ", "").lower()
        if field == "datafile" and field in fields:
            raise FileRefused("its header names the file of its voxels twice")
        if separator:
            fields[field] = _text(value)
    target, encoding = fields.get("datafile", ""), fields.get("encoding", "").lower()
    lines, skipped = _count(fields.get("lineskip")), _count(fields.get("byteskip"))
    start = 0 if target else size
    if encoding in ("gz", "gzip"):
        return _VoxelData(size, target, start, 0, "gzip", lines, skipped)
    return _VoxelData(size, target, *((start + skipped, None) if encoding == "raw" else (0, 0)))


def _voxel_data_of_meta(data: bytes) -> _VoxelData:
    """Read lines of ``field = value``, the last of which names the file of the voxels."""
    found = data.find(_END_OF_META)
    if found < 0:
        return _VoxelData(len(data))
    size = data.find(b"\n", found) + 1 or len(data)
    # The library treats a colon like an equals sign.
    text = data[:size].removesuffix(b"\n")
    lines = [re.split(rb"[=:]", line, maxsplit=1) for line in text.split(b"\n")]
    fields = {_text(line[0]): _text(line[-1]) for line in lines}
    if lines[-1][0].strip() != _END_OF_META:
        raise FileRefused("its header names ElementDataFile within another field")
    target = fields["ElementDataFile"]
    if target.upper() == "LOCAL":
        target = ""
    start = _count(fields.get("HeaderSize")) or (0 if target else size)
    if not _is_true(fields.get("CompressedData", "False")):
        packed = None if _is_true(fields.get("BinaryData", "True")) else 0
        return _VoxelData(size, target, start, packed)
    if packed := _count(fields.get("CompressedDataSize")):
        return _VoxelData(size, target, start, packed, "zlib")
    raise FileRefused("its voxels are compressed, but its header gives no CompressedDataSize")


def _text(data: bytes) -> str:
    return data.strip().decode("utf-8", "replace")


def _count(text: str | None) -> int:
    """Return a count as an integer, or 0 if the header gives none or counts from the end."""
    return int(text) if text and re.fullmatch(r"[0-9]{1,18}", text) else 0


def _is_true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")


def _file_of_voxels(path: Path, target: str) -> Path:
    """Return the file that holds the voxels.

    A header can name any file; only a file in the folder of the header is accepted.
    """
    if not target:
        return path
    if Path(target).name != target or target.upper().startswith("LIST") or "%" in target:
        raise FileRefused(
            "its voxels are not in one file in the same folder; save the volume as one file"
        )
    if not (path.parent / target).is_file():
        raise FileRefused(f"the file with its voxels, {target}, is not in the same folder")
    return path.parent / target


def _check_whole(voxels: Path, layout: _VoxelData, size: int) -> None:
    """Refuse a file that ends before its voxels do, as far as the header shows."""
    need = layout.start + (size if layout.packed is None else layout.packed)
    have = voxels.stat().st_size
    if have >= need and layout.stream == "gzip":
        need = layout.skipped + size
        with voxels.open("rb") as file:
            have = holds(voxels, need, _go_to_stream(file, layout))
    check_complete(have, need)


def _check_inflates(voxels: Path, layout: _VoxelData, size: int) -> None:
    """Refuse damaged voxels, for which SimpleITK silently returns zeros or other numbers."""
    if not layout.stream:
        return
    need = layout.skipped + size
    with voxels.open("rb") as file:
        _go_to_stream(file, layout)
        try:
            if layout.stream == "gzip":
                inflated, whole = WholeGzip(file).finish(), True
            else:
                inflated, whole = _inflated(file, layout.packed or 0, need)
        except DAMAGED as error:
            raise FileRefused(f"it is truncated or damaged: {error}") from error
    if inflated < need or (layout.stream == "zlib" and inflated > need) or not whole:
        raise FileRefused(f"it is truncated or damaged: {inflated} of {need} bytes can be inflated")


def _go_to_stream(file: BinaryIO, layout: _VoxelData) -> int:
    """Seek to the start of a compressed stream, and return its offset."""
    file.seek(layout.start)
    for _ in range(layout.lines):
        if not file.readline():
            break
    return file.tell()


def _inflated(file: BinaryIO, packed: int, enough: int) -> tuple[int, bool]:
    """Return the number of bytes that a zlib stream inflates to, and whether it is complete."""
    stream, inflated = zlib.decompressobj(zlib.MAX_WBITS | 32), 0  # zlib or gzip
    while inflated <= enough and (piece := file.read(min(packed, 2**16))):
        packed -= len(piece)
        inflated += len(stream.decompress(piece))
    return inflated, stream.eof


def _geometry(reader: sitk.ImageFileReader) -> tuple[tuple[int, ...], Affine]:
    """Return the shape, with at least three dimensions, and the affine to LPS."""
    shape, count = tuple(reader.GetSize()), reader.GetDimension()
    directions = np.array(reader.GetDirection()).reshape(count, count)
    n = min(count, 3)
    affine = np.eye(4)
    affine[:n, :n] = (directions @ np.diag(reader.GetSpacing()))[:n, :n]
    affine[:n, 3] = reader.GetOrigin()[:n]
    return (*shape, 1) if count == 2 else shape, affine


def _bytes_per_voxel(reader: sitk.ImageFileReader) -> int:
    return sitk.GetArrayViewFromImage(sitk.Image([1, 1], reader.GetPixelID())).itemsize
