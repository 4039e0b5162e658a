"""Gzip streams that are read to their end, where the checksum and the length are stored."""

from __future__ import annotations

import gzip
import zlib
from pathlib import Path
from typing import BinaryIO, cast

__all__ = ["DAMAGED", "GZIP", "WholeGzip", "holds"]

GZIP = b"\x1f\x8b"
"""The first bytes of a gzip stream."""

DAMAGED = (OSError, EOFError, zlib.error)
"""Exceptions that reading a damaged stream can raise."""

_PIECE = 2**20


class WholeGzip(gzip.GzipFile):
    """A gzip stream that uses no more memory than the requested data needs.

    Args:
        file: Binary file, positioned at the start of the stream.
    """

    def __init__(self, file: BinaryIO) -> None:
        super().__init__(fileobj=file, mode="rb")

    def readinto(self, buffer: object) -> int:
        """Fill a buffer piece by piece; the base class would read all of it and then copy it."""
        view, filled = memoryview(cast(bytearray, buffer)).cast("B"), 0
        while filled < len(view):
            piece = self.read(min(_PIECE, len(view) - filled))
            if not piece:
                break
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def finish(self) -> int:
        """Read the rest of the stream and return its number of bytes.

        Raises:
            OSError, EOFError, zlib.error: If the stream is damaged or truncated (see ``DAMAGED``).
        """
        rest = 0
        while piece := self.read(_PIECE):
            rest += len(piece)
        return rest


def holds(path: Path, need: int, start: int = 0) -> int:
    """Return the inflated size in bytes of a stream that ends with the file, at most ``need``.

    The length that is stored at the end of the file is trusted if it matches ``need``.

    Args:
        path: File that contains the stream.
        need: Expected number of bytes.
        start: Offset at which the stream begins.
    """
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - 4, 0))
        if int.from_bytes(file.read(4), "little") == need % 2**32:
            return need
        # For a file of several members the stored length is not the total: read it to the end.
        file.seek(start)
        size = 0
        try:
            stream = WholeGzip(file)
            while size < need and (piece := stream.read(min(_PIECE, need - size))):
                size += len(piece)
        except DAMAGED:
            pass
        return size
