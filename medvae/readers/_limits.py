"""Limits on the memory, time and values of a file, against hostile or broken files."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Iterable

from medvae.machine import machine_memory
from medvae.readers._contract import FileRefused

_MAX_PIXELS = 2**26
"""Most pixels of one slice: 8192 x 8192, twice the size of the largest X-ray detectors."""

_BYTES_PER_PIXEL = 16
"""Memory that decoding one pixel of a slice may take, including all copies."""

_MAX_WORKERS = 8

_SMALLEST_SHARE = 5 * 2**28
"""Least memory per worker, in bytes: room for a 1 GB volume. With less, fewer are started."""

_LARGEST_SCALE = 1e12
"""No scanner needs such a large slope or intercept, and float32 could not hold the result."""

_WIDEST_WINDOW = 1e6
"""Widest plausible window; no supported image spans more, in its own units."""

LIBRARIES = 3 * 2**28
"""Address space that Python and the decoders take before they read any file, in bytes."""

SECONDS_PER_ANSWER = 20.0
"""Processor time that a worker may take to read a header or to decode one slice."""

_SECONDS_PER_GIB = 60.0
"""Processor time added for each GiB of a volume that has to be read as a whole."""


def default_workers() -> int:
    """Return the default number of workers: at most one per processor, fewer if memory is short."""
    fitting = memory_per_worker(1) // _SMALLEST_SHARE
    return max(1, min(os.cpu_count() or 1, _MAX_WORKERS, fitting))


def memory_per_worker(count: int) -> int:
    """Return how many bytes of memory a file may take in each of ``count`` workers.

    The workers share half of the machine's memory evenly.
    """
    return machine_memory() // 2 // count


def memory_per_file() -> int:
    """Return how many bytes of memory one file may take in this process."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    return memory_per_worker(1) if limit == resource.RLIM_INFINITY else max(limit - LIBRARIES, 0)


def check_frame(rows: int, columns: int) -> None:
    """Refuse slices without pixels, or with more than any scanner makes or memory can hold."""
    if rows < 1 or columns < 1:
        raise FileRefused(f"its size is {rows}x{columns}, so it contains no image")
    allowed = min(_MAX_PIXELS, memory_per_file() // _BYTES_PER_PIXEL)
    if rows * columns > allowed:
        raise FileRefused(
            f"its header states {rows}x{columns} pixels; at most {allowed} are allowed"
        )


def check_geometry(position: Iterable[float], sizes: Iterable[float]) -> None:
    """Refuse an implausible position (mm), and pixel sizes (mm) that no scanner produces."""
    if any(abs(coordinate) > 1e6 for coordinate in position):
        raise FileRefused(
            "its position is over a kilometre from the origin, so its header is invalid"
        )
    if any(not 1e-4 < size < 1e4 for size in sizes):
        raise FileRefused("its pixel size in millimetres is impossible, so its header is invalid")


def plausible_scale(value: float) -> bool:
    """Return whether a slope or an intercept is plausible; NaN is not."""
    return abs(value) < _LARGEST_SCALE


def plausible_window(center: float, width: float) -> bool:
    """Return whether a display window is plausible."""
    return abs(center) <= _WIDEST_WINDOW and 0 < width <= _WIDEST_WINDOW


def plausible_thickness(thickness: float) -> bool:
    """Return whether a slice thickness, in millimetres, is plausible."""
    return 1e-3 <= thickness <= 1e3


def check_volume(size: int) -> None:
    """Refuse a volume that does not fit in a worker's memory; extend the time limit otherwise.

    Args:
        size: Number of bytes that have to be in memory at once.
    """
    allowed = memory_per_file()
    if size > allowed:
        raise FileRefused(
            f"it takes {size / 2**30:.1f} GiB in memory, more than the {allowed / 2**30:.1f} GiB "
            "that each reading process may use; use fewer workers, or split the file"
        )
    left, _ = signal.getitimer(signal.ITIMER_PROF)
    if left:
        signal.setitimer(signal.ITIMER_PROF, left + _SECONDS_PER_GIB * size / 2**30)
