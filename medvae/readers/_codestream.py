"""The size that a JPEG or JPEG 2000 codestream claims, read without decoding it."""

from __future__ import annotations

__all__ = ["announced_size"]

_J2K = b"\xff\x4f\xff\x51"
"""The start of a JPEG 2000 codestream and of the segment that states its size."""

_FARTHEST = 2**12
"""Number of bytes at the start of a JP2 file that are searched for the codestream."""

_NOT_FRAMES = {0xC4, 0xC8, 0xCC}
_JPEG_LS = 0xF7


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
