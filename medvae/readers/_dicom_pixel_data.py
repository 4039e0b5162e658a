"""Checks that the pixel data of a DICOM file is complete and fits its header, without decoding."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import BinaryIO

from pydicom import dcmread
from pydicom import uid as uids

from medvae.readers._contract import FileRefused
from medvae.readers._limits import memory_per_file

_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = (0xFFFE, 0xE000)
_END = (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF

_J2K = b"\xff\x4f\xff\x51"
"""The start of a JPEG 2000 codestream and of the segment that states its size."""

_FARTHEST = 2**12
"""Number of bytes at the start of a JP2 file that are searched for the codestream."""

_COPIES_OF_INFLATED = 4
"""Number of copies of an inflated file, and of a frame of it, that pydicom holds in memory."""

_NOT_FRAMES = {0xC4, 0xC8, 0xCC}
_JPEG_LS = 0xF7


def check_pixel_data(
    file: BinaryIO, path: Path, need: int, frames: int, syntax: uids.UID
) -> list[str]:
    """Refuse a file whose pixel data is missing, cut short, or more than its header describes.

    Args:
        file: Open file, positioned where the pixel data element should begin.
        path: Path of the file.
        need: Number of bytes of pixel data when it is not compressed.
        frames: Number of frames that the header announces.
        syntax: Transfer syntax.

    Returns:
        Flags for a doubtful length.
    """
    if syntax == uids.DeflatedExplicitVRLittleEndian:
        have = len(dcmread(path, specific_tags=["PixelData"]).get("PixelData") or b"")
        return _check_length(have, need, frames)
    size = path.stat().st_size
    order = "<" if syntax.is_little_endian else ">"
    if _read(file, order + "HH") != _PIXEL_DATA:
        raise FileRefused("it contains no pixel data")
    length = _element_length(file, order)
    if syntax.is_compressed:
        _check_fragments(file, size, frames)
        return []
    stated = need if length == _UNDEFINED else length
    return _check_length(min(stated, size - file.tell()), need, frames)


def _check_length(have: int, need: int, frames: int) -> list[str]:
    """Refuse uncompressed pixel data that is too short, or too long by a whole frame or more."""
    if have < need:
        raise FileRefused(f"it is truncated: only {have} of {need} bytes of pixel data are present")
    excess = have - need
    if excess <= need % 2:  # an element has an even length
        return []
    if excess >= need // frames:
        raise FileRefused(
            f"it holds {have} bytes of pixel data, but its header describes {need}: its size, "
            "bits or number of frames is wrong"
        )
    return [f"{excess} bytes more pixel data than the header describes"]


def _element_length(file: BinaryIO, order: str) -> int:
    """Read the length of the element, whether its VR is explicit or implicit."""
    start = file.tell()
    if file.read(2) in (b"OB", b"OW", b"UN"):
        return (_read(file, order + "2xL") or (0,))[0]
    # Some files hold implicit elements though their transfer syntax is explicit.
    file.seek(start)
    return (_read(file, order + "L") or (0,))[0]


def _check_fragments(file: BinaryIO, size: int, frames: int) -> None:
    """Check that all fragments are whole, at least one per frame, and followed by an end."""
    fragments = -1  # the first item is the offset table
    while (item := _read(file, "<HHL")) is not None and item[:2] == _ITEM:
        end = file.tell() + item[2]
        if end > size:
            raise FileRefused(
                f"it is truncated: compressed pixel data ends {end - size} bytes early"
            )
        file.seek(end)
        fragments += 1
    if item is None or item[:2] != _END:
        raise FileRefused("it is truncated: the end of its compressed pixel data is missing")
    if fragments < frames:
        raise FileRefused(f"it is truncated: {fragments} compressed fragments for {frames} frames")


def _read(file: BinaryIO, layout: str) -> tuple[int, ...] | None:
    """Unpack the next values, or return None at the end of the file."""
    length = struct.calcsize(layout)
    data = file.read(length)
    return struct.unpack(layout, data) if len(data) == length else None


def announced_size(data: bytes) -> tuple[int, int] | None:
    """Return (rows, columns) of a codestream that begins with ``data``, or None if not stated."""
    if data[:2] == b"\xff\xd8":
        return _size_of_jpeg(data)
    start = data[:_FARTHEST].find(_J2K)
    if start < 0:
        return None
    numbers = [int.from_bytes(data[start + at : start + at + 4]) for at in (8, 12, 16, 20)]
    columns, rows, left, top = numbers
    return rows - top, columns - left


def _size_of_jpeg(data: bytes) -> tuple[int, int] | None:
    at = 2
    while data[at : at + 1] == b"\xff":
        marker = data[at + 1] if at + 1 < len(data) else 0
        if marker == 0xFF:  # fill byte
            at += 1
            continue
        if (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES) or marker == _JPEG_LS:
            rows = int.from_bytes(data[at + 5 : at + 7])
            # A height of 0 means that it follows after the first scan.
            return (rows, int.from_bytes(data[at + 7 : at + 9])) if rows else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None


def check_inflated(file: BinaryIO) -> None:
    """Refuse a deflated file that exceeds the limit when pydicom inflates it as a whole."""
    if not _is_deflated(file):
        return
    allowed = memory_per_file() // _COPIES_OF_INFLATED
    inflate, size = zlib.decompressobj(-zlib.MAX_WBITS), 0
    while piece := file.read(2**16):
        while piece:
            try:
                size += len(inflate.decompress(piece, 2**24))
            except zlib.error as error:
                raise FileRefused(f"it is deflated and damaged: {error}") from error
            piece = inflate.unconsumed_tail
            if size > allowed:
                raise FileRefused(
                    f"it is deflated and inflates to more than {allowed // 2**20} MiB"
                )


def _is_deflated(file: BinaryIO) -> bool:
    """Return whether the data after the file meta information is deflated, and seek to it."""
    if file.read(132)[128:] != b"DICM":
        return False
    deflated = False
    while (head := file.read(8))[:2] == b"\x02\0":
        length = int.from_bytes(head[6:8], "little")
        if head[4:6] in (b"OB", b"OW", b"UN", b"UT"):
            length = int.from_bytes(file.read(4), "little")
        value = file.read(min(length, 2**20))
        if head[2:4] == b"\x10\0":
            deflated = value.rstrip(b"\0 ").decode("latin-1") == uids.DeflatedExplicitVRLittleEndian
    file.seek(-len(head), 1)
    return deflated
