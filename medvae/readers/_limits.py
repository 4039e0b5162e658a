"""What a file may cost: the limits that keep a hostile or broken one from harming the rest."""

from __future__ import annotations

from collections.abc import Iterable

from medvae.readers._headers import Refused

__all__ = [
    "MAX_BYTES",
    "MAX_PIXELS",
    "MEMORY_PER_WORKER",
    "SECONDS_PER_ANSWER",
    "check_frame",
    "check_geometry",
    "check_volume",
]

MAX_PIXELS = 2**26
"""Pixels of one slice: 8192 x 8192, twice the largest X-ray detectors."""

MAX_BYTES = 2**31
"""Bytes of a volume, or of an inflated file, that has to be held in memory at once."""

MEMORY_PER_WORKER = 3 * 2**31
"""Address space of a worker process: one such volume, its copy and the libraries."""

SECONDS_PER_ANSWER = 20.0
"""How long a worker may take over the header of a file, or over one of its slices."""


def check_frame(rows: int, columns: int) -> None:
    """Refuse slices without pixels, or with more of them than any scanner makes."""
    if rows < 1 or columns < 1:
        raise Refused(f"its size is {rows}x{columns}: there is no picture in it")
    if rows * columns > MAX_PIXELS:
        raise Refused(
            f"its header announces {rows}x{columns} pixels, more than the {MAX_PIXELS} allowed"
        )


def check_geometry(position: Iterable[float], sizes: Iterable[float]) -> None:
    """Refuse a position (mm) beyond any room, and pixels (mm) that no scanner makes."""
    if any(abs(coordinate) > 1e6 for coordinate in position):
        raise Refused("its position lies more than a kilometre away: its header is broken")
    if any(not 1e-4 < size < 1e4 for size in sizes):
        raise Refused("its pixels are no possible size in millimetres: its header is broken")


def check_volume(size: int) -> None:
    """Refuse what would not fit in a worker's memory."""
    if size > MAX_BYTES:
        raise Refused(
            f"it takes {size / 2**30:.1f} GiB in memory, more than the "
            f"{MAX_BYTES / 2**30:.0f} GiB allowed: split it into smaller volumes"
        )
