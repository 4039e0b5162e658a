"""Checks that the pixel data a DICOM header announces is complete, without decoding it."""

from __future__ import annotations

import struct
from typing import BinaryIO

from pydicom import uid as uids

from medvae.readers._headers import Refused

__all__ = ["check_length", "check_pixel_data"]

_PIXEL_DATA = (0x7FE0, 0x0010)
_ITEM = (0xFFFE, 0xE000)
_END = (0xFFFE, 0xE0DD)
_UNDEFINED = 0xFFFFFFFF


def check_pixel_data(
    file: BinaryIO, size: int, need: int, frames: int, syntax: uids.UID
) -> list[str]:
    """Refuse a file whose pixel data is missing, cut short, or more than its header describes.

    Args:
        file: Open file, positioned where the pixel data element should begin.
        size: Length of the file in bytes.
        need: Number of bytes of pixel data when it is not compressed.
        frames: Number of frames that the header announces.
        syntax: Transfer syntax.

    Returns:
        Flags for a doubtful length.
    """
    order = "<" if syntax.is_little_endian else ">"
    tag = _read(file, order + "HH")
    if tag != _PIXEL_DATA:
        raise Refused("there is no pixel data in it")
    length = _element_length(file, order)
    start = file.tell()
    if syntax.is_compressed:
        _check_fragments(file, size, frames)
        return []
    if length == _UNDEFINED:
        return check_length(min(need, size - start), need, frames)
    return check_length(min(length, size - start), need, frames)


def check_length(have: int, need: int, frames: int) -> list[str]:
    """Refuse uncompressed pixel data that is too short, or too long by a whole frame or more.

    Returns:
        Flags for a doubtful length.
    """
    if have < need:
        raise Refused(f"it is truncated: {have} of {need} bytes of pixel data are there")
    excess = have - need
    if excess <= need % 2:  # an element has an even length
        return []
    if excess >= need // frames:
        raise Refused(
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
            raise Refused(f"it is truncated: compressed pixel data ends {end - size} bytes early")
        file.seek(end)
        fragments += 1
    if item is None or item[:2] != _END:
        raise Refused("it is truncated: the end of its compressed pixel data is missing")
    if fragments < frames:
        raise Refused(f"it is truncated: {fragments} compressed fragments for {frames} frames")


def _read(file: BinaryIO, layout: str) -> tuple[int, ...] | None:
    """Unpack the next values, or return None at the end of the file."""
    length = struct.calcsize(layout)
    data = file.read(length)
    return struct.unpack(layout, data) if len(data) == length else None
