"""Pixels that need no decoder, read as they are stored in the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from medvae.readers._decoded import Decoded
from medvae.readers._headers import Refused

__all__ = ["read_plain"]


def read_plain(path: Path, layout: dict[str, Any], frame: int) -> Decoded:
    """Read a frame according to the fields of a ``records.Layout``."""
    rows, columns = layout["shape"]
    dtype, count = np.dtype(layout["dtype"]), rows * columns
    offset = layout["offset"] + frame * count * dtype.itemsize
    stored = np.fromfile(path, dtype, count, offset=offset)
    if stored.size < count:
        raise Refused("it is truncated: it has become shorter since it was scanned")
    if layout["unused"]:
        # Shifting left and right clears the unused bits and restores the sign.
        np.left_shift(stored, layout["unused"], out=stored)
        np.right_shift(stored, layout["unused"], out=stored)
    return Decoded(
        stored.reshape(rows, columns),
        slope=layout["slope"],
        intercept=layout["intercept"],
        padding=layout["padding"],
    )
