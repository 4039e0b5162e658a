"""The header and the pixels of one PNG, JPEG or TIFF picture."""

from __future__ import annotations

import mmap
import os
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from medvae.readers._contract import (
    Decode,
    Decoded,
    FileHeader,
    FileRefused,
    FrameHeader,
    fingerprint,
)
from medvae.readers._limits import check_frame

# Sizes are checked in this module, against its own limit, before anything is decoded.
Image.MAX_IMAGE_PIXELS = None

_FORMATS = ("PNG", "JPEG", "TIFF")
_GRAY = {"1", "L", "I", "F", "I;16", "I;16B", "I;16L"}
_ORIENTATION = 0x0112

# TIFF tags.
_BITS, _COMPRESSION, _PHOTOMETRIC = 258, 259, 262
_STRIPS, _TILES = (273, 279), (324, 325)
_UNCOMPRESSED = 1
_WHITE_IS_ZERO = 0
_PRIVATE = 32768
_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8}
"""Bytes per number, by TIFF type code."""


def describe(path: Path, head: bytes) -> FileHeader:
    """Read the header; a colour picture is decoded to check whether it is in fact gray."""
    _check_whole(path, head)
    with _open(path) as picture:
        columns, rows = picture.size
        check_frame(rows, columns)
        pages = int(getattr(picture, "n_frames", 1))
        turned = picture.getexif().get(_ORIENTATION, 1) != 1
        inverted = _is_inverted(picture)
        for page in range(pages):
            picture.seek(page)
            if _is_inverted(picture) != inverted:
                raise FileRefused(
                    f"zero is white on either its first page or page {page + 1}, not on both"
                )
            if picture.size != (columns, rows):
                raise FileRefused(f"its page {page + 1} differs in size from its first one")
            if not _is_there(picture, path.stat().st_size) or picture.mode not in _GRAY:
                _stored(picture)
    return FileHeader(
        format="picture",
        rows=rows,
        columns=columns,
        uid=fingerprint(path),
        inverted=inverted,
        frames=[FrameHeader(frame=page, stack=f"{rows}x{columns}") for page in range(pages)],
        flags=["an EXIF tag that rotates the image is ignored"] if turned else [],
    )


def open_frames(path: Path) -> Decode:
    """Open the file, and return a function that decodes one page at a time."""
    picture = _open(path)

    def decode(frame: int, axis: int, time: int) -> Decoded:
        picture.seek(frame)
        return Decoded(_stored(picture))

    return decode


def _open(path: Path) -> ImageFile.ImageFile:
    try:
        return Image.open(path, formats=_FORMATS)
    except (OSError, SyntaxError, ValueError) as error:
        raise FileRefused(
            f"it cannot be read as an image: {error}".replace(str(path), "it")
        ) from error


def _stored(picture: ImageFile.ImageFile) -> NDArray[Any]:
    """Decode a page, ``[rows, columns]``; a colour picture must in fact be gray."""
    bits = _bits(picture)
    if picture.mode not in _GRAY and bits > 8:
        raise FileRefused(
            f"it has {bits} bits per colour, which would be reduced to 8; save it as 16-bit "
            "grayscale"
        )
    try:
        if picture.mode in _GRAY:
            stored = np.array(picture)
            if bits <= 8 and _is_inverted(picture):
                stored = ~stored  # Pillow inverts only these
            if picture.mode == "L" and bits < 8:
                stored //= 255 // (2**bits - 1)  # Pillow scales them to 0 to 255
            return stored.astype(np.uint8 if stored.dtype == bool else stored.dtype, copy=False)
        colours = np.array(picture.convert("RGBA"))
    except (OSError, SyntaxError, ValueError) as error:
        raise FileRefused(f"it is truncated or damaged: {error}") from error
    gray = colours[..., :1]
    if (colours[..., 1:3] != gray).any() or (colours[..., 3] != 255).any():
        raise FileRefused(f"it is a colour image ({picture.mode}); only grayscale images are read")
    return colours[..., 0].copy()


def _is_inverted(picture: ImageFile.ImageFile) -> bool:
    """Return whether low values are displayed bright, as in MONOCHROME1."""
    return isinstance(picture, TiffImageFile) and (
        picture.tag_v2.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    )


def _bits(picture: ImageFile.ImageFile) -> int:
    """Return the number of bits per value in the file, which the mode of the page may hide."""
    if isinstance(picture, TiffImageFile):
        return int(max(picture.tag_v2.get(_BITS, (1,))))
    if picture.format != "PNG":
        return 8
    with Path(os.fsdecode(picture.filename)).open("rb") as file:
        head = file.read(25)
    if head[12:16] != b"IHDR":
        raise FileRefused("it cannot be read as an image: its first chunk is not IHDR")
    return head[24]


def _check_whole(path: Path, head: bytes) -> None:
    """Refuse a file that ends too early; Pillow detects other damage."""
    ends = _png_ends if head[:1] == b"\x89" else _jpeg_ends if head[:1] == b"\xff" else _tiff_ends
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        if not ends(data):
            raise FileRefused("it is truncated: the end of the file is missing")


def _png_ends(data: mmap.mmap) -> bool:
    """Return whether the chunks lead to the last one."""
    at = 8
    while (end := at + 12 + int.from_bytes(data[at : at + 4])) <= len(data):
        kind = data[at + 4 : at + 8]
        if kind == b"IEND" or not kind.isalpha():
            return True
        at = end
    return False


def _jpeg_ends(data: mmap.mmap) -> bool:
    """Return whether an end marker follows the start of the image, not only in a thumbnail."""
    at = 2
    while data[at : at + 1] == b"\xff" and data[at + 1 : at + 2] != b"\xda":
        # Fill bytes of 0xFF may precede a marker.
        filled = data[at + 1 : at + 2] == b"\xff"
        at += 1 if filled else 2 + int.from_bytes(data[at + 2 : at + 4])
    return at < len(data) and data.rfind(b"\xff\xd9", at) >= 0


def _tiff_ends(data: mmap.mmap) -> bool:
    """Return whether the directories of all pages, and the values of their tags, are present."""
    order: Literal["little", "big"] = "little" if data[:2] == b"II" else "big"
    big = int.from_bytes(data[2:4], order) == 43
    count, entry, offset = (8, 20, 8) if big else (2, 12, 4)

    def number(at: int, size: int) -> int:
        return int.from_bytes(data[at : at + size], order)

    def end_of_value(tag: int) -> int:
        size = _BYTES.get(number(tag + 2, 2), 0) * number(tag + 4, offset)
        # A private tag may point to data that is no longer there.
        if size <= offset or number(tag, 2) >= _PRIVATE:
            return tag + entry
        return number(tag + 4 + offset, offset) + size

    seen: set[int] = set()
    at = offset  # where the offset of the next directory is
    while at + offset <= len(data):
        directory = number(at, offset)
        if not directory or directory in seen:
            return True
        seen.add(directory)
        first = directory + count
        at = first + entry * number(directory, count)
        tags = range(first, min(at, len(data)), entry)
        if any(end_of_value(tag) > len(data) for tag in tags):
            return False
    return False


def _is_there(picture: ImageFile.ImageFile, size: int) -> bool:
    """Return whether the pixels of a page certainly lie within a file of the given size.

    If that is doubtful, they have to be decoded: the last strip of an uncompressed TIFF may be
    shorter than announced.
    """
    if not isinstance(picture, TiffImageFile):
        return True
    tags = picture.tag_v2
    offsets, counts = (tags.get(a, tags.get(b, ())) for a, b in zip(_STRIPS, _TILES, strict=True))
    try:
        there = max(int(at) + int(n) for at, n in zip(offsets, counts, strict=True)) <= size
    except (TypeError, ValueError):
        there = False
    if not there and tags.get(_COMPRESSION, _UNCOMPRESSED) != _UNCOMPRESSED:
        raise FileRefused("it is truncated: not all of its pixels are in the file")
    return there
