"""Gzip streams that are read to their end, where their checksum and length stand."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, cast

__all__ = ["DAMAGED", "GZIP", "WholeGzip", "holds"]

GZIP = b"\x1f\x8b"
"""The first bytes of a gzip stream."""

DAMAGED = (OSError, EOFError, zlib.error)
"""What reading a damaged stream raises."""

_PIECE = 2**20


class WholeGzip(gzip.GzipFile):
    """A gzip stream that takes no more memory than what is asked of it.

    Args:
        file: Stands where the stream begins.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")

    def readinto(self, buffer: object) -> int:
        """Fill a buffer piece by piece; the base class reads it as a whole first, and copies it."""
        view, filled = memoryview(cast(bytearray, buffer)).cast("B"), 0
        while filled < len(view):
            piece = self.read(min(_PIECE, len(view) - filled))
            if not piece:
                break
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def finish(self) -> int:
        """Read what is left, and return how many bytes that were.

        Raises:
            OSError, EOFError, zlib.error: The stream is damaged or ends early: one of ``DAMAGED``.
        """
        rest = 0
        while piece := self.read(_PIECE):
            rest += len(piece)
        return rest


def holds(path: Path, need: int, start: int = 0) -> int:
    """Return how many bytes a stream that ends with the file inflates to, at most ``need``.

    The length that stands at the end of the file is believed where it is what is needed.

    Args:
        path: The file.
        need: How many bytes should be there.
        start: Where the stream begins.
    """
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 4, 0))
        if int.from_bytes(file.read(4), "little") == need % 2**32:
            return need
        # Not plain truth for a file of several members: only reading it through tells.
        file.seek(start)
        size = 0
        try:
            stream = WholeGzip(file)
            while size < need and (piece := stream.read(min(_PIECE, need - size))):
                size += len(piece)
        except DAMAGED:
            pass
        return size
